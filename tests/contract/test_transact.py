"""Commits: all of a command or nothing, results after the commit, signals in order."""

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest
from tests.contract.commands import completing, starting
from tests.contract.conftest import StoreFactory
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    NOW,
    QUEUE,
    complete,
    endpoint,
    key,
    keyset,
    namespace,
    operation,
    record,
    session,
    start,
    started,
    succeeded,
    task,
)

from isthmus.gateway.core.errors import AlreadyExistsError, UnavailableError
from isthmus.gateway.ports import (
    AuditAppended,
    AuditFilter,
    Command,
    EnvelopeSlot,
    OperationFilter,
    Reader,
    RegistryChanged,
    Signal,
    Store,
    TaskKind,
    UnitOfWork,
)

_MORE_THAN_READERS = 16


class SpoiledError(Exception):
    """What a command of a test raises."""


def spoil(unit: UnitOfWork) -> None:
    """Write something of every kind, then raise."""
    start(unit, operation(1))
    unit.put_envelope(key(1), EnvelopeSlot.OUTCOME, b"outcome")
    unit.put_worker_session(session())
    unit.insert_namespace(namespace())
    unit.put_endpoint(endpoint())
    unit.put_keyset(keyset())
    unit.signal(RegistryChanged(namespace="spoiled"))
    raise SpoiledError


def spoil_after_scan(unit: UnitOfWork) -> None:
    """Write, let every query that scans see it, write more, then raise."""
    start(unit, operation(1))
    assert task(1) in unit.ready_tasks(QUEUE, CALLER, NOW, 10)
    assert unit.callers_in_line(QUEUE, NOW, after="", limit=10) == [CALLER]
    assert unit.count_open_operations(ENDPOINT) > 0
    unit.put_worker_session(session())
    assert unit.expired_sessions(session().expires_at, 10) == [session()]
    unit.append_audit(record(started(operation(1))))
    spoil_the_rest(unit)


def spoil_the_rest(unit: UnitOfWork) -> None:
    """Write after a scan, then raise."""
    complete(unit, key(1))
    unit.insert_namespace(namespace())
    unit.signal(RegistryChanged(namespace="spoiled"))
    raise SpoiledError


async def assert_empty(store: Store) -> None:
    """Nothing that `spoil` wrote is there, neither for readers nor for commands."""
    assert await store.read(lambda reader: reader.operation(key(1))) is None
    assert await store.read(lambda reader: reader.list_operations(OperationFilter())) == []
    assert await store.read(lambda reader: reader.has_ready_tasks(QUEUE, NOW)) is False
    assert await store.read(lambda reader: reader.namespace(namespace().name)) is None
    assert await store.read(lambda reader: reader.endpoint(ENDPOINT)) is None
    assert await store.read(lambda reader: reader.keyset(namespace().name)) is None
    assert await store.read(lambda reader: reader.last_audit_position()) == 0
    assert await store.transact(lambda unit: unit.operation(key(1))) is None
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.START)) is None
    assert await store.transact(lambda unit: unit.worker_session(session().session_id)) is None
    assert await store.transact(lambda unit: unit.count_open_operations(ENDPOINT)) == 0


async def hold_the_writer(store: Store) -> tuple[threading.Event, asyncio.Task[None]]:
    """Keep the store busy until the event is set, so that what comes meanwhile shares the next commit."""
    entered, release = threading.Event(), threading.Event()

    def command(_unit: UnitOfWork) -> None:
        entered.set()
        assert release.wait(timeout=30)

    holding = asyncio.ensure_future(store.transact(command))
    await asyncio.to_thread(entered.wait, 30)
    return release, holding


@pytest.mark.parametrize("command", [spoil, spoil_after_scan])
async def test_command_changes_nothing_when_it_raises(store: Store, command: object) -> None:
    """The error is the command's own, and nothing of it stays."""
    assert callable(command)
    with pytest.raises(SpoiledError):
        await store.transact(command)
    await assert_empty(store)


@pytest.mark.parametrize("command", [spoil, spoil_after_scan])
async def test_others_are_not_disturbed_when_a_command_of_their_commit_raises(
    store: Store, command: object
) -> None:
    """Commands before and after one that raises are committed, and do not see what it wrote."""
    assert callable(command)
    release, holding = await hold_the_writer(store)
    before = asyncio.ensure_future(store.transact(starting(operation(7))))
    spoiled = asyncio.ensure_future(store.transact(command))
    seen = asyncio.ensure_future(store.transact(lambda unit: unit.operation(key(1))))
    after = asyncio.ensure_future(store.transact(starting(operation(8))))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, before, after)
    with pytest.raises(SpoiledError):
        await spoiled
    assert await seen is None
    found = await store.read(lambda reader: reader.list_operations(OperationFilter()))
    assert [entry.operation.key for entry in found] == [key(8), key(7)]
    assert len(await store.read(lambda reader: reader.audit_events(AuditFilter()))) == 2


async def test_others_are_not_disturbed_when_a_command_writes_what_cannot_be_stored(store: Store) -> None:
    """Text that is no Unicode fails the command that wrote it, and only that one."""
    release, holding = await hold_the_writer(store)
    good = [asyncio.ensure_future(store.transact(signaling(number))) for number in (1, 2)]
    bad = asyncio.ensure_future(store.transact(starting(operation(3, principal="data/\udce4"))))
    good.append(asyncio.ensure_future(store.transact(signaling(4))))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, *good)
    with pytest.raises(ValueError, match="surrogates"):
        await bad
    found = await store.read(lambda reader: reader.list_operations(OperationFilter()))
    assert [entry.operation.key for entry in found] == [key(4), key(2), key(1)]


async def test_each_has_its_own_outcome_when_commands_are_submitted_together(store: Store) -> None:
    """One future for all: results in the order of the commands, an error in the place of what raised."""
    commands: list[Command[int | None]] = [signaling(7), spoil, signaling(8)]
    first, spoiled, second = await store.submit_all(commands, reads=[key(7), key(8)])
    assert (first, second) == (7, 8)
    assert isinstance(spoiled, SpoiledError)
    found = await store.read(lambda reader: reader.list_operations(OperationFilter()))
    assert [entry.operation.key for entry in found] == [key(8), key(7)]


async def test_others_are_committed_when_one_submitted_with_them_cannot_be_stored(store: Store) -> None:
    """Neither what was submitted together with it suffers, nor what shares the commit."""
    heard: list[Signal] = []
    store.subscribe(heard.extend)
    release, holding = await hold_the_writer(store)
    bad = starting(operation(3, principal="data/\udce4"))
    commands: list[Command[int | None]] = [signaling(1), bad, signaling(2)]
    together = store.submit_all(commands)
    alone = asyncio.ensure_future(store.transact(signaling(4)))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, alone)
    first, spoiled, second = await together
    assert (first, second) == (1, 2)
    assert isinstance(spoiled, ValueError)
    found = await store.read(lambda reader: reader.list_operations(OperationFilter()))
    assert {entry.operation.key for entry in found} == {key(1), key(2), key(4)}
    names = [signal.namespace for signal in heard if isinstance(signal, RegistryChanged)]
    assert sorted(names) == ["1", "2", "4"]


async def test_all_come_back_when_more_are_submitted_than_share_a_commit(store: Store) -> None:
    """However many there are, each is committed, in order."""
    count = 700
    many = store.submit_all([signaling(number) for number in range(1, count)])
    assert await store.transact(signaling(count)) == count
    assert await many == list(range(1, count))
    page = await store.read(lambda reader: reader.list_operations(OperationFilter(limit=2 * count)))
    assert len(page) == count


async def test_nothing_is_submitted_when_the_list_is_empty(store: Store) -> None:
    """It is done at once, as there is nothing to wait for."""
    assert await store.submit_all([]) == []


def signaling(number: int) -> Command[int]:
    """Start an operation and signal its number."""

    def command(unit: UnitOfWork) -> int:
        start(unit, operation(number))
        unit.signal(RegistryChanged(namespace=str(number)))
        return number

    return command


async def test_commands_see_each_other_when_they_share_a_commit(store: Store) -> None:
    """What a command wrote is there for the next one, before anything is committed."""
    release, holding = await hold_the_writer(store)
    commands = [
        store.transact(starting(operation(1), request=b"request")),
        store.transact(completing(key(1), outcome=b"outcome")),
        store.transact(
            lambda unit: (
                unit.operation(key(1)),
                unit.envelope(key(1), EnvelopeSlot.REQUEST),
                unit.envelope(key(1), EnvelopeSlot.OUTCOME),
                unit.task(key(1), TaskKind.START),
                unit.count_open_operations(ENDPOINT),
            )
        ),
    ]
    waiting = [asyncio.ensure_future(command) for command in commands]
    await asyncio.sleep(0)
    release.set()
    *_, seen = await asyncio.gather(holding, *waiting)
    assert seen == (succeeded(operation(1)), b"request", b"outcome", None, 0)


async def test_command_sees_the_same_when_it_says_what_it_reads(store: Store) -> None:
    """The hint changes nothing but speed: for what exists, what does not, and what the same commit makes."""
    await store.transact(lambda unit: start(unit, operation(1)))

    def look(unit: UnitOfWork) -> list[bool]:
        return [unit.operation(key(number)) is not None for number in (1, 2, 3)]

    reads = [key(number) for number in (1, 2, 3, 1)]
    before, _, after = await asyncio.gather(
        store.transact(look, reads=reads),
        store.transact(lambda unit: start(unit, operation(2)), reads=reads),
        store.transact(look, reads=reads),
    )
    assert (before, after) == ([True, False, False], [True, True, False])
    await store.transact(lambda unit: complete(unit, key(2)), reads=reads)
    ended = await store.read(lambda reader: reader.operation(key(2)))
    assert ended is not None
    assert ended.state.is_terminal


async def test_scan_sees_every_change_when_commands_share_a_commit(store: Store) -> None:
    """Queries over tables see the buffered writes of earlier commands, and the command's own."""

    def scan(unit: UnitOfWork) -> tuple[Sequence[object], int]:
        start(unit, operation(2))
        unit.remove_task(key(1), TaskKind.START)
        return unit.ready_tasks(QUEUE, CALLER, NOW, 10), unit.count_open_operations(ENDPOINT)

    release, holding = await hold_the_writer(store)
    first = asyncio.ensure_future(store.transact(starting(operation(1))))
    scanned = asyncio.ensure_future(store.transact(scan))
    again = asyncio.ensure_future(store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10)))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, first)
    assert await scanned == ([task(2)], 2)
    assert await again == [task(2)]


async def test_result_comes_after_the_commit_when_a_command_returns(store: Store) -> None:
    """Whoever has a result finds the changes in a snapshot that was taken before it asked anything else."""
    for number in range(1, 30):
        await store.transact(signaling(number))
        page = await store.read(lambda reader: reader.list_operations(OperationFilter()))
        assert page[0].operation.key == key(number)


async def test_signals_come_before_the_result_when_a_command_is_committed(store: Store) -> None:
    """A listener hears of the commit first, and what it reads then is there."""
    heard: list[Signal] = []
    store.subscribe(heard.extend)
    await store.transact(signaling(5))
    assert heard == [RegistryChanged(namespace="5"), AuditAppended()]


async def test_signals_come_in_the_order_of_commits_when_many_are_sent(store: Store) -> None:
    """Each signal once, in the order in which the commands ran."""
    heard: list[str] = []
    order: list[int] = []

    def listen(signals: Sequence[Signal]) -> None:
        heard.extend(signal.namespace for signal in signals if isinstance(signal, RegistryChanged))

    def recording(number: int) -> Command[int]:
        def command(unit: UnitOfWork) -> int:
            order.append(number)
            return signaling(number)(unit)

        return command

    store.subscribe(listen)
    await asyncio.gather(*(store.transact(recording(number)) for number in range(1, 200)))
    assert heard == [str(number) for number in order]


async def test_commit_stands_when_a_listener_raises(store: Store) -> None:
    """A listener that fails disturbs neither the commands nor the other listeners."""
    heard: list[Signal] = []

    def fail(_signals: Sequence[Signal]) -> None:
        raise SpoiledError

    store.subscribe(fail)
    store.subscribe(heard.extend)
    assert await store.transact(signaling(1)) == 1
    assert heard == [RegistryChanged(namespace="1"), AuditAppended()]


async def test_queries_see_what_is_new_when_queries_before_them_raised(store: Store) -> None:
    """Whichever connection they get: none is left in the transaction of a query that raised."""

    def stumble(reader: Reader) -> None:
        reader.operation(key(1))
        raise SpoiledError

    for number in range(1, 4):
        stumbles = [store.read(stumble) for _ in range(_MORE_THAN_READERS)]
        assert [type(error) for error in await asyncio.gather(*stumbles, return_exceptions=True)] == [
            SpoiledError
        ] * _MORE_THAN_READERS
        await store.transact(starting(operation(number)))
        found = [store.read(lambda reader: reader.operation(key(number))) for _ in range(_MORE_THAN_READERS)]  # noqa: B023
        assert all(await asyncio.gather(*found))


async def test_all_are_committed_once_when_hundreds_run_concurrently(store: Store) -> None:
    """Commands on one record follow each other: no update is lost, and nothing happens twice."""
    await store.transact(starting(operation(1)))

    def advance(unit: UnitOfWork) -> int:
        before = unit.operation(key(1))
        assert before is not None
        attempt = before.attempt + 1
        unit.update_operation(operation(1, attempt=attempt))
        unit.append_audit(record(started(before)))
        return attempt

    attempts = await asyncio.gather(*(store.transact(advance) for _ in range(500)))
    assert sorted(attempts) == list(range(1, 501))
    final = await store.read(lambda reader: reader.operation(key(1)))
    assert final == operation(1, attempt=500)
    events = await store.read(lambda reader: reader.audit_events(AuditFilter(limit=1000)))
    assert len(events) == 501
    assert all(earlier.position < later.position for earlier, later in pairwise(events))


async def test_one_wins_when_many_insert_the_same_operation(store: Store) -> None:
    """An identity is given once."""
    results = await asyncio.gather(
        *(store.transact(starting(operation(1))) for _ in range(50)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in results) == 49


async def test_command_may_commit_when_its_caller_is_cancelled(store: Store) -> None:
    """A caller that goes away harms nobody else."""
    release, holding = await hold_the_writer(store)
    gone = asyncio.ensure_future(store.transact(signaling(1)))
    stays = asyncio.ensure_future(store.transact(signaling(2)))
    await asyncio.sleep(0)
    gone.cancel()
    release.set()
    await holding
    assert await stays == 2
    assert gone.cancelled()


async def test_everything_is_there_when_another_store_opens_it(store_factory: StoreFactory) -> None:
    """What one process committed, the next one finds; and counts on from there."""
    first = store_factory()
    await first.open()
    await asyncio.gather(*(first.transact(signaling(number)) for number in range(1, 20)))
    await first.close()
    second = store_factory()
    await second.open()
    await second.transact(signaling(20))
    found = await second.read(lambda reader: reader.list_operations(OperationFilter(limit=100)))
    assert {entry.operation.key for entry in found} == {key(number) for number in range(1, 21)}
    assert found[0].operation.key == key(20)
    assert await second.read(lambda reader: reader.last_audit_position()) == 20
    await second.close()


async def test_work_is_refused_when_the_store_is_closed(store_factory: StoreFactory) -> None:
    """Before open and after close nothing is accepted; closing twice is no error."""
    store = store_factory()
    with pytest.raises(UnavailableError):
        await store.transact(signaling(1))
    await store.open()
    accepted = [asyncio.ensure_future(store.transact(signaling(number))) for number in range(1, 50)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert await asyncio.gather(*accepted) == list(range(1, 50))
    with pytest.raises(UnavailableError):
        await store.transact(signaling(100))
    with pytest.raises(UnavailableError):
        await store.read(lambda reader: reader.last_audit_position())
