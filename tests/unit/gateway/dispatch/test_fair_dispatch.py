"""Callers take turns in a backlog: from one lease to the next, and from one poll to the next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.contract.commands import starting
from tests.contract.samples import endpoint, key, operation, session
from tests.integration.sealed_messages import ENDPOINT, HANDLER, queue_key
from tests.unit.gateway.dispatch.test_dispatcher import MemoryOutlet, World

from isthmus.endpoints.endpoint import FairWeight
from isthmus.endpoints.versions import VersionSettings
from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.wire.names import NamespaceName


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A dispatcher on an empty store."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    made = World(store)
    yield made
    await made.dispatcher.close()
    await store.close()


async def put_backlog(world: World, caller: str, count: int) -> None:
    """Let operations of a caller wait: its n-th has the number n."""
    made = [
        operation(
            number,
            key=key(number, caller),
            endpoint=ENDPOINT,
            handler=HANDLER,
            task_queue=queue_key().task_queue,
            scheduled_at=world.clock.now(),
        )
        for number in range(1, count + 1)
    ]
    await world.store.transact(starting(*made))


async def poll(world: World, number: int, grant: int = 1) -> list[tuple[str, int]]:
    """Let a worker that polls come, take what it gets, and leave: caller and number of each operation."""
    live, outlet = await world.connect(number, grant)
    world.dispatcher.disconnect(live)
    gone: list[tuple[str, int]] = []
    while not outlet.tasks.empty():
        of = outlet.tasks.get_nowait().operation.key
        gone.append((of.caller, int.from_bytes(of.operation_id)))
    return gone


async def polled(world: World, count: int, grant: int = 1) -> list[tuple[str, int]]:
    """Let so many polls come, one after the other."""
    return [task for number in range(count) for task in await poll(world, 100 + number, grant)]


def callers(gone: Sequence[tuple[str, int]]) -> str:
    """Return who was served."""
    return "".join(caller for caller, _ in gone)


@pytest.mark.parametrize("quiet", ["a", "m", "z"])
async def test_quiet_caller_is_served_next_when_one_other_has_a_backlog(world: World, quiet: str) -> None:
    """One other caller: two dispatches at most, wherever its name stands."""
    await put_backlog(world, "f", 40)
    assert callers(await polled(world, 3)) == "fff"
    await put_backlog(world, quiet, 1)
    assert (quiet, 1) in await polled(world, 2)
    assert callers(await polled(world, 2)) == "ff"


async def test_turns_go_on_when_each_lease_takes_one_task(world: World) -> None:
    """Whoever was served goes to the end, though pump and session are new at each poll."""
    for caller in "cab":
        await put_backlog(world, caller, 3)
    assert callers(await polled(world, 9)) == "abcabcabc"


async def test_turns_are_the_same_when_one_lease_takes_all(world: World) -> None:
    """In one lease callers take turns, too; who has nothing left is skipped, and nobody else waits for it."""
    await put_backlog(world, "a", 9)
    await put_backlog(world, "b", 1)
    await put_backlog(world, "c", 3)
    gone = await poll(world, 1, grant=12)
    assert callers(gone) == "abcacacaaaaa"
    assert [number for caller, number in gone if caller == "a"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await poll(world, 2, grant=12) == [("a", 9)]


async def test_turn_is_as_long_as_the_weight_when_the_endpoint_gives_one(world: World) -> None:
    """A turn that one lease could not finish goes on in the next one."""
    weighted = endpoint(
        ENDPOINT, namespace=HANDLER, fair_weights=(FairWeight(namespace=NamespaceName("a"), weight=3),)
    )
    await world.store.transact(lambda uow: uow.put_endpoint(weighted))
    await put_backlog(world, "a", 8)
    await put_backlog(world, "b", 4)
    assert callers(await polled(world, 5, grant=2)) == "aaabaaabaa"


async def test_rotation_stays_when_a_lease_fails(world: World) -> None:
    """Only what is committed counts as served."""
    for caller in "ab":
        await put_backlog(world, caller, 3)
    live, _ = await world.connect(1, 0)
    await world.store.close()
    world.dispatcher.grant(live, 1)
    job = world.dispatcher._served[queue_key()].pump._job
    assert job is not None
    with pytest.raises(UnavailableError):
        await job
    assert world.dispatcher._rotations == {}


async def test_turns_go_on_when_workers_come_back_before_a_lease_has_ended(world: World) -> None:
    """The next pump goes on from what the one before it leased, wherever that went."""
    for caller in "ab":
        await put_backlog(world, caller, 3)
    lives = []
    for number in (1, 2):
        opened = session(
            bytes([number]) * 16, queue=queue_key(), principal="w", expires_at=world.leases.expiry()
        )
        await world.leases.open(opened)
        lives.append(LiveSession(opened, MemoryOutlet()))
    first, second = lives
    world.dispatcher.connect(first)
    world.dispatcher.grant(first, 1)
    # It has asked for a lease, and leaves before it has one.
    await asyncio.sleep(0)
    world.dispatcher.disconnect(first)
    world.dispatcher.connect(second)
    world.dispatcher.grant(second, 1)
    await world.looked()
    (leased,) = second.outlet.tasks._queue  # type: ignore[attr-defined]
    assert leased.operation.key.caller == "b"


async def test_nobody_goes_first_when_a_start_that_has_to_wait_is_not_committed_yet(world: World) -> None:
    """A slot that comes free meanwhile is for whoever is in line, and that start is."""
    live, outlet = await world.connect(1, 1)
    at = endpoint(namespace=HANDLER, task_queue=queue_key().task_queue, versions=VersionSettings())
    await world.dispatcher.start(replace(world.start_of(), endpoint=at))
    await outlet.tasks.get()
    starts = [replace(world.start_of({"sender_namespace": caller}), endpoint=at) for caller in "zff"]
    jobs = [asyncio.ensure_future(world.dispatcher.start_all([starts[0]]))]
    world.dispatcher.grant(live, 1)
    jobs += [asyncio.ensure_future(world.dispatcher.start_all([start])) for start in starts[1:]]
    await asyncio.gather(*jobs)
    world.dispatcher.grant(live, 1)
    gone = [(await outlet.tasks.get()).operation.key.caller for _ in range(2)]
    assert "z" in gone
