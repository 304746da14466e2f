"""Several gateways' stores on one PostgreSQL database: nothing is lost, done twice, skipped or reordered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.contract.commands import completing, starting
from tests.contract.lost_answers import LostAnswers
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    QUEUE,
    complete,
    endpoint,
    key,
    operation,
    record,
    session,
    started,
)

from isthmus.gateway.commands.expire_operations import expire_operations
from isthmus.gateway.commands.lease_tasks import Offer, lease_tasks
from isthmus.gateway.commands.worker_sessions import lose_sessions
from isthmus.gateway.core.errors import AlreadyExistsError, ConfigurationError, InDoubtError, UnavailableError
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.ports import (
    AuditAppended,
    AuditFilter,
    Command,
    OperationClosed,
    RegistryChanged,
    Signal,
    TaskInterrupted,
    TasksReady,
    UnitOfWork,
)
from isthmus.gateway.steady_clock import SteadyClock
from isthmus.gateway.store import audit_events, operations, registry, retention, tasks
from isthmus.gateway.store.postgresql import PostgresqlSnapshots, PostgresqlStore
from isthmus.gateway.store.postgresql_connection import PostgresqlConnection, connect
from isthmus.gateway.store.postgresql_transactions import COMMIT_ORDER_LOCK
from isthmus.gateway.store.statements import ManyRows, Query

pytestmark = pytest.mark.usefixtures("postgresql_databases")


@pytest.fixture
async def stores(postgresql_dsn: str) -> AsyncIterator[tuple[PostgresqlStore, PostgresqlStore]]:
    """The stores of two gateways on one database."""
    first, second = PostgresqlStore(postgresql_dsn), PostgresqlStore(postgresql_dsn)
    await first.open()
    await second.open()
    yield first, second
    await first.close()
    await second.close()


Both = tuple[PostgresqlStore, PostgresqlStore]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - other threads and the server change it
            await asyncio.sleep(0.01)


def set_for_database(dsn: str, setting: str, value: str) -> None:
    """Change a default of the database, for connections to come."""
    name = str(conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)
            )
        )


@pytest.mark.parametrize(
    ("setting", "value"), [("synchronous_commit", "off"), ("default_transaction_read_only", "on")]
)
async def test_store_refuses_to_open_when_commits_could_be_lost(
    postgresql_dsn: str, setting: str, value: str
) -> None:
    """Whoever set it, and wherever: the connection itself says what holds."""
    set_for_database(postgresql_dsn, setting, value)
    with pytest.raises(ConfigurationError) as refused:
        await PostgresqlStore(postgresql_dsn).open()
    assert refused.value.reason == "STORE_NOT_DURABLE"
    assert value in str(refused.value)


async def test_store_says_that_it_cannot_reach_the_database_without_its_password() -> None:
    """The message helps, and gives nothing away."""
    store = PostgresqlStore("host=127.0.0.1 port=1 user=isthmus password=hunter2 dbname=isthmus")
    with pytest.raises(UnavailableError) as refused:
        await store.open()
    assert "hunter2" not in str(refused.value) + str(refused.value.fix) + repr(store)


async def test_no_update_is_lost_when_two_gateways_change_one_operation(stores: Both) -> None:
    """Each command sees what the one before it committed, wherever that ran."""
    await stores[0].transact(starting(operation(1)))

    def advance(unit: UnitOfWork) -> int:
        before = unit.operation(key(1))
        assert before is not None
        unit.update_operation(operation(1, attempt=before.attempt + 1))
        return before.attempt + 1

    attempts = await asyncio.gather(*(stores[turn % 2].transact(advance) for turn in range(200)))
    assert sorted(attempts) == list(range(1, 201))


async def test_one_start_wins_when_two_gateways_start_the_same_operation(stores: Both) -> None:
    """The other one finds it, as if it had come later."""
    for number in range(1, 21):
        results = await asyncio.gather(
            *(store.transact(starting(operation(number))) for store in stores), return_exceptions=True
        )
        assert [type(result) for result in results if result is not None] == [AlreadyExistsError]


async def test_no_endpoint_is_overwritten_when_two_gateways_change_it(stores: Both) -> None:
    """A change that was decided on what was there before is decided again."""
    await stores[0].transact(lambda unit: unit.put_endpoint(endpoint(max_open_operations=0)))

    def advance(unit: UnitOfWork) -> None:
        before = unit.endpoint(ENDPOINT)
        assert before is not None
        unit.put_endpoint(endpoint(max_open_operations=before.max_open_operations + 1))

    await asyncio.gather(*(stores[turn % 2].transact(advance) for turn in range(40)))
    after = await stores[1].read(lambda reader: reader.endpoint(ENDPOINT))
    assert after is not None
    assert after.max_open_operations == 40


def put_session(session_id: bytes, unit: UnitOfWork) -> None:
    """Open a session."""
    unit.put_worker_session(session(session_id))


def leasing(session_id: bytes) -> Command[list[int]]:
    """Lease up to eight tasks to a session, and return the numbers of their operations."""

    def command(unit: UnitOfWork) -> list[int]:
        offers = [Offer(session=session(session_id), count=8)]
        (leased,), _ = lease_tasks(unit, QUEUE, offers=offers, rotation=Rotation(), now=NOW)
        return [int.from_bytes(entry.task.key.operation_id) for entry in leased]

    return command


async def test_no_task_is_leased_twice_when_two_gateways_serve_a_queue(stores: Both) -> None:
    """Each task goes to one session, and all of them go."""
    ids = (b"1" * 16, b"2" * 16)
    for session_id in ids:
        await stores[0].transact(partial(put_session, session_id))
    await asyncio.gather(*(stores[0].transact(starting(operation(number))) for number in range(1, 101)))

    async def serve(store: PostgresqlStore, session_id: bytes) -> list[int]:
        leased: list[int] = []
        while await store.read(lambda reader: reader.has_ready_tasks(QUEUE, NOW)):
            leased += await store.transact(leasing(session_id))
        return leased

    first, second = await asyncio.gather(*map(serve, stores, ids))
    assert sorted(first + second) == list(range(1, 101))


async def test_nothing_is_leased_when_another_gateway_lost_the_session(stores: Both) -> None:
    """A gateway that believes in a session asks the database before it leases."""
    await stores[0].transact(lambda unit: unit.put_worker_session(session()))
    assert await stores[0].transact(lambda unit: unit.may_lease(session().session_id))
    late = session().expires_at
    lost = await stores[1].transact(lambda unit: lose_sessions(unit, now=late, limit=9, jitter=lambda: 0.0))
    assert lost == (session(),)
    assert not await stores[0].transact(lambda unit: unit.may_lease(session().session_id))


async def test_each_timeout_happens_once_when_every_gateway_looks_for_them(stores: Both) -> None:
    """Whoever comes second finds nothing left."""
    due = operation(1).schedule_to_close_at
    await asyncio.gather(*(stores[0].transact(starting(operation(number))) for number in range(1, 31)))
    ended = await asyncio.gather(
        *(
            stores[turn % 2].transact(lambda unit: len(expire_operations(unit, now=due, limit=7)))
            for turn in range(20)
        )
    )
    assert sum(ended) == 30


def append(connection: psycopg.Connection[Any], type_: str) -> None:
    """Append a record as a gateway does, and leave the transaction open."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_ORDER_LOCK,))
    connection.execute(
        "INSERT INTO audit_events (recorded_at, type, caller, handler, actor, endpoint, event)"
        " VALUES (1, %s, '', '', '', '', '')",
        (type_,),
    )


async def test_no_record_is_skipped_when_a_transaction_stays_open_across_a_poll(
    stores: Both, postgresql_dsn: str
) -> None:
    """A reader with a cursor meets the slow record in its place, and what came after it behind it."""
    await stores[0].transact(lambda unit: unit.append_audit(record(started(operation(1)))))
    with psycopg.connect(postgresql_dsn) as slow:
        append(slow, "slow")
        later = asyncio.ensure_future(
            stores[1].transact(lambda unit: unit.append_audit(record(started(operation(2)))))
        )
        first_poll = await stores[0].read(lambda reader: reader.audit_events(AuditFilter()))
        cursor = first_poll[-1].position
        slow.commit()
    await later
    second_poll = await stores[0].read(lambda reader: reader.audit_events(AuditFilter(after=cursor)))
    whole = await stores[0].read(lambda reader: reader.audit_events(AuditFilter()))
    assert len(first_poll) == 1
    assert len(second_poll) == 2
    assert [*first_poll, *second_poll] == list(whole)
    assert second_poll[0].event == b""


async def test_no_ending_is_skipped_in_the_feed_when_a_commit_stays_open_across_polls(
    stores: Both, postgresql_dsn: str
) -> None:
    """The gateway that is numbered first takes longest: whoever follows the feed meanwhile meets both."""
    await stores[0].transact(starting(operation(1), operation(2)))
    with psycopg.connect(postgresql_dsn, autocommit=True) as server:
        server.execute("CREATE SEQUENCE turns")
        server.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(CASE nextval(''turns'') WHEN 1 THEN 0.5 ELSE 0 END); RETURN NULL; END'"
        )
        server.execute("CREATE TRIGGER slow AFTER INSERT ON audit_events EXECUTE FUNCTION linger()")

    async def feed(after: int) -> list[int]:
        page = await stores[0].read(lambda reader: reader.feed_records(CALLER, after, 100))
        return [entry.position for entry in page]

    began = (await feed(0))[-1]
    ends = asyncio.gather(*(stores[nth].transact(completing(key(nth + 1))) for nth in range(2)))
    followed, polls = [began], 0
    while not ends.done():
        followed += await feed(followed[-1])
        polls += 1
        await asyncio.sleep(0.02)
    await ends
    followed += await feed(followed[-1])
    assert polls > 10
    assert followed == [began, *await feed(began)]
    assert len(followed) == 3


async def test_log_keeps_its_order_when_two_gateways_write_and_a_reader_follows(stores: Both) -> None:
    """What a follower collects page by page is the whole log, as it is at the end."""
    followed: list[int] = []
    done = asyncio.Event()

    async def follow() -> None:
        while not done.is_set() or await take():
            await take()

    async def take() -> int:
        after = followed[-1] if followed else 0
        page = await stores[0].read(lambda reader: reader.audit_events(AuditFilter(after=after, limit=50)))
        followed.extend(event.position for event in page)
        return len(page)

    follower = asyncio.ensure_future(follow())
    await asyncio.gather(
        *(stores[number % 2].transact(starting(operation(number))) for number in range(1, 301))
    )
    done.set()
    await follower
    whole = await stores[1].read(lambda reader: reader.audit_events(AuditFilter(limit=1000)))
    assert followed == [event.position for event in whole]
    assert len(followed) == 300


def end(number: int, unit: UnitOfWork) -> None:
    """End an operation, and tell it."""
    after = complete(unit, key(number), b"sealed")
    unit.signal(OperationClosed(operation=after, outcome=b"sealed"))


async def test_other_gateways_hear_when_one_commits(stores: Both) -> None:
    """Keys travel, content is read; ends come to those who wait, and nothing comes back to its sender."""
    heard: list[Signal] = []
    own: list[Signal] = []
    stores[1].subscribe_to_others(heard.extend, lambda: [key(1)])
    stores[0].subscribe_to_others(own.extend, lambda: [key(1)])
    ready = TasksReady(queue=QUEUE, ready_at=NOW)
    stop = TaskInterrupted(session_id=b"s" * 16, key=key(1), attempt=3, cancel=None)
    changed = RegistryChanged(namespace=HANDLER, endpoint=ENDPOINT)

    def tell(unit: UnitOfWork) -> None:
        for signal in (ready, stop, changed):
            unit.signal(signal)

    for number in (1, 2):
        await stores[0].transact(starting(operation(number)))
        await stores[0].transact(partial(end, number))
    await stores[0].transact(tell)
    await until(lambda: changed in heard)
    assert [signal for signal in heard if isinstance(signal, OperationClosed)] == [
        OperationClosed(operation=await_operation(heard), outcome=b"sealed")
    ]
    assert await_operation(heard).key == key(1)
    assert {type(signal) for signal in heard} >= {AuditAppended, OperationClosed}
    assert ready in heard
    assert stop in heard
    assert own == []


def await_operation(heard: list[Signal]) -> Any:  # noqa: ANN401 - of whichever end was heard
    """Return the operation of the first end."""
    return next(signal.operation for signal in heard if isinstance(signal, OperationClosed))


def cut_connections(dsn: str) -> None:
    """End every connection to the database, as a restart of the server does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_store_works_again_when_its_connections_were_cut(stores: Both, postgresql_dsn: str) -> None:
    """Work is refused, not lost; then everything goes on by itself, what was missed is told."""
    heard: list[Signal] = []
    await stores[0].transact(starting(operation(1)))
    stores[1].subscribe_to_others(heard.extend, lambda: [key(1)])
    cut_connections(postgresql_dsn)
    await until_committed(stores[0], operation_number=2)
    await stores[0].transact(completing(key(1)))
    await until(lambda: any(isinstance(signal, RegistryChanged) and not signal.namespace for signal in heard))
    await until_committed(stores[1], operation_number=3)
    assert await stores[1].can_commit()
    await until(lambda: any(isinstance(signal, AuditAppended) for signal in heard))


async def until_committed(store: PostgresqlStore, operation_number: int) -> None:
    """Start an operation as a caller does that is told to come again."""
    async with asyncio.timeout(30):
        while True:
            try:
                await store.transact(starting(operation(operation_number)))
            except UnavailableError:
                await asyncio.sleep(0.05)
            except AlreadyExistsError:
                return
            else:
                return


async def test_other_gateways_go_on_when_one_stops_in_the_middle(stores: Both, postgresql_dsn: str) -> None:
    """A transaction that nobody continues is ended by the server, and its locks with it."""
    with connect(postgresql_dsn, purpose="stuck").raw as stuck:
        stuck.execute("SET idle_in_transaction_session_timeout = '300ms'")
        stuck.execute("BEGIN")
        stuck.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_ORDER_LOCK,))
        await stores[0].transact(starting(operation(1)))
        with pytest.raises(psycopg.Error):
            stuck.execute("SELECT 1")


async def test_command_waits_for_its_operation_when_another_gateway_has_it(
    stores: Both, postgresql_dsn: str
) -> None:
    """Also when it asks for an operation that nobody had announced."""
    await stores[0].transact(starting(operation(1)))
    with connect(postgresql_dsn, purpose="stuck").raw as stuck:
        stuck.execute("SET idle_in_transaction_session_timeout = '300ms'")
        stuck.execute("BEGIN")
        stuck.execute("SELECT 1 FROM operations FOR NO KEY UPDATE")
        found = await stores[0].transact(lambda unit: unit.operation(key(1)))
        assert found == operation(1)
        with pytest.raises(psycopg.Error):
            stuck.execute("SELECT 1")


@pytest.mark.parametrize(("seconds", "said"), [(2.5, "2.5 s ahead of"), (-90_000.0, "90000.0 s behind")])
async def test_gateway_is_refused_when_its_clock_is_not_that_of_the_database(
    stores: Both, seconds: float, said: str
) -> None:
    """It would time out what the others run, early or late."""

    class Wrong:
        def now(self) -> datetime:
            """Return another time."""
            return datetime.now(UTC) + timedelta(seconds=seconds)

    with pytest.raises(ConfigurationError, match=said) as refused:
        await stores[0].check_clock(Wrong())
    assert refused.value.reason == "STORE_CLOCK_DIFFERS"
    await stores[0].check_clock(SteadyClock())


async def test_gateway_is_refused_when_it_has_another_key_than_the_others(stores: Both) -> None:
    """The first one pins it; the same again is fine."""
    await stores[0].pin("statement-key.pem", "one")
    await stores[1].pin("statement-key.pem", "one")
    with pytest.raises(ConfigurationError) as refused:
        await stores[1].pin("statement-key.pem", "another")
    assert "statement-key.pem" in str(refused.value.fix)


QUERIES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": query
    for module in (operations, tasks, registry, retention)
    for name, query in vars(module).items()
    if name.isupper() and isinstance(query, Query)
}
WRITES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": statement.text(64)
    for module in (operations, tasks, registry, audit_events, retention)
    for name, statement in vars(module).items()
    if isinstance(statement, ManyRows)
}


@pytest.fixture(scope="module", params=[0, 200], ids=["empty", "small"])
def planning(postgresql_databases: Any, request: pytest.FixtureRequest) -> Any:  # noqa: ANN401
    """A connection as the writer has it, to a database of which the server knows no statistics yet."""
    dsn = postgresql_databases.create()

    async def fill() -> None:
        store = PostgresqlStore(dsn)
        await store.open()
        for number in range(request.param):
            await store.transact(starting(operation(number)))
        await store.close()

    asyncio.run(fill())
    connection = connect(dsn, purpose="plans")
    connection.raw.execute("SET plan_cache_mode = force_generic_plan")
    yield connection
    connection.close()
    postgresql_databases.drop(dsn)


@pytest.mark.parametrize("query", [*QUERIES.values(), *WRITES.values()], ids=[*QUERIES, *WRITES])
def test_statement_uses_an_index_when_it_was_planned_on_a_small_table(planning: Any, query: Query) -> None:  # noqa: ANN401
    """The plan that is kept is one for large tables: it goes through no table, and through no whole index."""
    text = query.postgresql
    parts = text.split("%s")
    numbered = "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]
    planning.raw.execute(f"PREPARE planned AS {numbered}".encode(), prepare=False)
    try:
        nulls = ", ".join(["NULL"] * (len(parts) - 1))
        call = f"EXPLAIN EXECUTE planned({nulls})" if nulls else "EXPLAIN EXECUTE planned"
        steps = [row[0] for row in planning.raw.execute(call.encode(), prepare=False).fetchall()]
    finally:
        planning.raw.execute("DEALLOCATE planned", prepare=False)
    assert [step for step in steps if "Seq Scan" in step] == [], "\n".join(steps)
    # Who wants the first few in the order of an index reads no more of it.
    around = zip(["", *steps], steps, [*steps[1:], ""], strict=False)
    whole = [
        step
        for above, step, below in around
        if "Index" in step and " using " in step and "Index Cond" not in below and "Limit" not in above
    ]
    assert whole == [], "\n".join(steps)
    if "operations.operation_id = " in text:
        # An index that begins with a namespace finds all that it ever called.
        used = [step for step in steps if " on operations" in step]
        assert all("operations_by_id" in step for step in used), "\n".join(steps)


def prepared(connection: PostgresqlConnection) -> set[str]:
    """Return the statements that the server keeps for a connection."""
    rows = connection.raw.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall()
    return {name for (name,) in rows}


def test_statements_stay_prepared_when_a_query_ends(postgresql_dsn: str) -> None:
    """Also one that raised; the driver forgets them all after a ROLLBACK."""
    snapshots = PostgresqlSnapshots(postgresql_dsn)
    connection = snapshots.connect()
    assert snapshots.read(connection, lambda reader: reader.operation(key(1))) is None
    before = prepared(connection)
    with pytest.raises(ZeroDivisionError):
        snapshots.read(connection, lambda reader: (reader.operation(key(1)), 1 // 0))
    assert snapshots.read(connection, lambda reader: reader.operation(key(1))) is None
    assert before
    assert prepared(connection) == before
    snapshots.close(connection)


def test_statements_stay_prepared_when_something_is_rolled_back(postgresql_dsn: str) -> None:
    """A whole transaction, or a command of it."""
    connection = connect(postgresql_dsn, purpose="test")

    def undo() -> None:
        for statement in ("BEGIN", "SAVEPOINT command", "ROLLBACK TO command", "RELEASE command", "ROLLBACK"):
            connection.execute(statement)

    undo()
    before = prepared(connection)
    undo()
    assert len(before) == 3
    assert prepared(connection) == before
    connection.close()


async def test_commit_is_in_doubt_when_its_answer_is_lost(
    postgresql_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there; who waits for what it ended is told; the next commit works."""
    answers = LostAnswers(postgresql_dsn, monkeypatch)
    store = PostgresqlStore(postgresql_dsn)
    await store.open()
    heard: list[Signal] = []
    store.subscribe_to_others(heard.extend, lambda: {key(1)})
    await store.transact(starting(operation(1)))
    answers.is_next_lost = True
    with pytest.raises(InDoubtError):
        await store.transact(completing(key(1)))
    ended = await store.read(lambda reader: reader.operation(key(1)))
    assert ended is not None
    assert ended.closed_at is not None
    await store.transact(starting(operation(2)))
    await until(lambda: any(isinstance(signal, OperationClosed) for signal in heard))
    await store.close()
