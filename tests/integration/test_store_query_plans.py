"""Every query finds its rows through an index, in the order in which it returns them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.contract.samples import NOW

from isthmus.gateway.core.operation import State
from isthmus.gateway.ports import AuditFilter, OperationFilter, QueueKey
from isthmus.gateway.store import (
    audit_events,
    backlog,
    circuits,
    feed,
    operation_tokens,
    operations,
    registry,
    retention,
    sealed_messages,
    tasks,
)
from isthmus.gateway.store.migrate import migrate
from isthmus.gateway.store.schema_transaction import SqliteFile
from isthmus.gateway.store.statements import ManyRows, Row
from isthmus.wire.names import NamespaceName

KEYED = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in (
        operations,
        tasks,
        registry,
        audit_events,
        backlog,
        retention,
        operation_tokens,
        circuits,
        feed,
        sealed_messages,
    )
    for name, text in vars(module).items()
    if name.isupper() and isinstance(text, str) and text.startswith(("SELECT", "WITH"))
}
WRITES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": statement
    for module in (operations, tasks, registry, audit_events, retention, operation_tokens, circuits, feed)
    for name, statement in vars(module).items()
    if isinstance(statement, ManyRows)
}
SMALL = ("CONSTANT", "changed", "wanted", "anon_", "in_line", "busy")
SLOW: dict[str, list[str]] = {
    # A bounded number of rows that an index found.
    backlog.SELECT_GROUPS: ["USE TEMP B-TREE FOR GROUP BY"],
    # All of a table that is empty while nothing is wrong.
    circuits.LIST: ["SCAN circuits"],
    # A handful of versions for each endpoint about which something is signed.
    sealed_messages.SELECT_RECORDS: ["SCAN endpoint_records"],
}
LISTINGS = [
    OperationFilter(),
    OperationFilter(before=7),
    *(
        structs.replace(wanted, before=before, states=states)
        for wanted in (
            OperationFilter(caller="a"),
            OperationFilter(handler="a"),
            OperationFilter(endpoint="a"),
            OperationFilter(caller="a", handler="b", endpoint="c"),
        )
        for before in (None, 7)
        for states in (frozenset[State](), frozenset({State.FAILED, State.PARKED}))
    ),
]
PAGES = [
    structs.replace(wanted, since=since, until=until, after=5)
    for wanted in (
        AuditFilter(),
        AuditFilter(namespace="a"),
        AuditFilter(endpoint="a"),
        AuditFilter(namespace="a", endpoint="b"),
        AuditFilter(operation_id=b"a" * 16),
        AuditFilter(operation_id=b"a" * 16, namespace="a", endpoint="b"),
        AuditFilter(types=frozenset({"operation_started"})),
    )
    for since in (None, NOW)
    for until in (None, NOW)
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an empty database of the current schema."""
    migrate(SqliteFile(tmp_path / "isthmus.db"))
    opened = sqlite3.connect(tmp_path / "isthmus.db")
    yield opened
    opened.close()


def plan(connection: sqlite3.Connection, query: str) -> list[str]:
    """Return the steps of SQLite's plan."""
    parameters = (None,) * query.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]


def slow_steps(steps: list[str]) -> list[str]:
    """Return the steps that look at every row of a table, or sort what they found.

    A scan of the rows of a VALUES list or of a bounded subquery is none, nor is a step of a
    walk along an index.
    """
    return [
        step
        for step in steps
        if "USE TEMP B-TREE" in step
        or "AUTOMATIC" in step
        or (step.startswith("SCAN") and not any(small in step for small in SMALL))
    ]


@pytest.mark.parametrize("query", KEYED.values(), ids=KEYED.keys())
def test_query_uses_an_index_when_it_is_planned(connection: sqlite3.Connection, query: str) -> None:
    """No query of the request path scans or sorts."""
    assert slow_steps(plan(connection, query)) == SLOW.get(query, [])


def test_open_operations_are_found_without_the_ended_ones_when_it_is_planned(
    connection: sqlite3.Connection,
) -> None:
    """A backlog is as quick to look at whatever the endpoint has served before."""
    steps = plan(connection, operations.SELECT_OPEN)
    assert steps == ["SEARCH operations USING INDEX operations_open_by_endpoint (endpoint=? AND rowid>?)"]


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("rows", [1, 2, 64])
def test_write_uses_the_key_when_it_is_planned(
    connection: sqlite3.Connection, statement: ManyRows, rows: int
) -> None:
    """Updates and deletes of many rows look each one up."""
    assert slow_steps(plan(connection, statement.text(rows))) == []


def test_retention_costs_the_same_when_more_is_kept(connection: sqlite3.Connection) -> None:
    """Neither what is kept nor what was retired before has to be looked at again."""

    def add_events(first: int, count: int, endpoint: str) -> None:
        connection.executemany(
            "INSERT INTO audit_events VALUES (?, ?, 'operation_ended', '', '', '', ?, ?, NULL, x'')",
            ((number, number, endpoint, number) for number in range(first, first + count)),
        )

    def cost() -> list[int]:
        return [
            steps_taken(connection, retention.SELECT_MARK, ("invoices",)),
            steps_taken(connection, retention.SELECT_FIRST_AFTER, (1_010, 1)),
            steps_taken(connection, retention.SELECT_EVENTS, ("invoices", 1_000, 1_011, 512)),
        ]

    add_events(1_001, 20, "invoices")
    before = cost()
    add_events(1, 1_000, "invoices")
    add_events(2_000, 20_000, "invoices")
    add_events(30_000, 20_000, "reports")
    assert cost() == before


# A set has no order of its own, and the id of a test must be the same in every process.
@pytest.mark.parametrize("wanted", LISTINGS, ids=[str(number) for number in range(len(LISTINGS))])
def test_listing_uses_an_index_when_it_is_planned(
    connection: sqlite3.Connection, wanted: OperationFilter
) -> None:
    """Every filter but that of states narrows what is looked at; the order comes from the index."""
    steps = plan(connection, operations.listing(wanted)[0])
    if wanted == OperationFilter():
        # Newest first, from the end of the table, until the page is full.
        assert steps == ["SCAN operations"]
    else:
        assert slow_steps(steps) == []


@pytest.mark.parametrize("wanted", PAGES, ids=repr)
def test_page_of_the_log_uses_an_index_when_it_is_planned(
    connection: sqlite3.Connection, wanted: AuditFilter
) -> None:
    """However the log is filtered, a page is read from an index in its order.

    The few events of one operation may be sorted: its caller and others may share its id.
    """
    steps = plan(connection, audit_events.page(wanted)[0])
    if wanted.operation_id:
        assert slow_steps(steps) == ["USE TEMP B-TREE FOR ORDER BY"]
        assert any("USING INDEX audit_events_by_operation (operation=?" in step for step in steps)
    else:
        assert slow_steps(steps) == []


def steps_taken(connection: sqlite3.Connection, query: str, parameters: Row) -> int:
    """Return how many steps SQLite's virtual machine takes for a query: a cost without a clock."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    connection.execute(query, parameters).fetchall()
    connection.set_progress_handler(None, 1)
    return steps


def add_waiting_tasks(connection: sqlite3.Connection, caller: str, count: int) -> None:
    """Let ready tasks of a caller wait."""
    first = connection.execute("SELECT coalesce(max(task_id), 0) + 1 FROM tasks").fetchone()[0]
    connection.executemany(
        "INSERT INTO tasks VALUES (?, ?, ?, 'billing', 'default', 0, ?, NULL)",
        ((first + number, caller, b"id", number) for number in range(count)),
    )


def test_count_of_a_caller_looks_at_its_open_operations_only(connection: sqlite3.Connection) -> None:
    """Neither at those that have ended nor at those of other callers."""
    (step,) = plan(connection, operations.COUNT_OPEN_OF_CALLER)
    assert step.endswith("operations_open_by_caller (endpoint=? AND caller=?)")


def test_lease_costs_the_same_when_the_backlog_grows(connection: sqlite3.Connection) -> None:
    """Neither who is in line nor the first tasks of each depend on how much waits."""
    queue = QueueKey(namespace=NamespaceName("billing"), task_queue="default")
    queries = (
        (tasks.SELECT_CALLERS_IN_LINE, tasks.in_line_parameters(queue, NOW, 32)),
        (tasks.SELECT_READY, tasks.ready_parameters(queue, "busy", NOW, 16)),
        (tasks.SELECT_READY, tasks.ready_parameters(queue, "quiet", NOW, 16)),
    )
    add_waiting_tasks(connection, "busy", 100)
    add_waiting_tasks(connection, "quiet", 1)
    before = [steps_taken(connection, query, parameters) for query, parameters in queries]
    add_waiting_tasks(connection, "busy", 20_000)
    assert [steps_taken(connection, query, parameters) for query, parameters in queries] == before


def test_walk_over_callers_ends_when_enough_are_found(connection: sqlite3.Connection) -> None:
    """Who asks for two callers does not pay for all of them."""
    queue = QueueKey(namespace=NamespaceName("billing"), task_queue="default")
    query, parameters = tasks.SELECT_CALLERS_IN_LINE, tasks.in_line_parameters(queue, NOW, 2)
    for number in range(3):
        add_waiting_tasks(connection, f"caller-{number:03}", 1)
    before = steps_taken(connection, query, parameters)
    for number in range(3, 300):
        add_waiting_tasks(connection, f"caller-{number:03}", 1)
    assert steps_taken(connection, query, parameters) == before
