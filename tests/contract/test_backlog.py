"""Open operations, counted in groups by the store."""

from tests.contract.commands import completing, inserting
from tests.contract.samples import HANDLER, NOW, QUEUE, key, operation, seconds

from isthmus.gateway.core.operation import AttemptEnd, State
from isthmus.gateway.ports import Store, WaitingGroup


async def busy(store: Store, after: str = "", limit: int = 100) -> list[str]:
    """Return the endpoints with open operations."""
    return list(await store.read(lambda reader: reader.busy_endpoints(after, limit)))


async def groups(store: Store, endpoint: str, limit: int = 100) -> list[WaitingGroup]:
    """Return the groups of an endpoint, the largest first."""
    found = await store.read(lambda reader: reader.waiting_groups(endpoint, NOW, limit))
    return sorted(found, key=lambda group: -group.operations)


async def test_endpoint_is_busy_when_it_has_open_operations(store: Store) -> None:
    """By name, each once, in pages; what has ended does not count."""
    assert await busy(store) == []
    await store.transact(
        inserting(
            operation(1, endpoint="b"),
            operation(2, endpoint="b"),
            operation(3, endpoint="a"),
            operation(4, endpoint="c"),
            operation(5, endpoint="ä"),
        )
    )
    await store.transact(completing(key(4)))
    assert await busy(store) == ["a", "b", "ä"]
    assert await busy(store, "a") == ["b", "ä"]
    assert await busy(store, limit=1) == ["a"]


async def test_operations_are_grouped_when_their_fate_is_the_same(store: Store) -> None:
    """By caller, queue, state and how the last attempt ended; and whether its next attempt has its time."""
    failed = {"last_attempt_end": AttemptEnd.FAILED, "last_attempt_error": "UNAVAILABLE", "attempt": 1}
    await store.transact(
        inserting(
            operation(1, state_since=NOW - seconds(5)),
            operation(2, state_since=NOW - seconds(7)),
            operation(3, state_since=NOW - seconds(6)),
            operation(4, key=key(4, "other")),
            operation(5, state=State.STARTED),
            operation(6, next_attempt_at=NOW + seconds(1), **failed),
            operation(7, next_attempt_at=NOW, state_since=NOW - seconds(60), **failed),
            operation(8, task_queue="second"),
            operation(9, endpoint="elsewhere"),
            operation(10, state=State.DISPATCHED, session_id=b"s" * 16),
        )
    )
    found = await groups(store, "invoices")
    assert found[0] == WaitingGroup(
        endpoint="invoices",
        handler=HANDLER,
        task_queue=QUEUE.task_queue,
        caller="data",
        state=State.SCHEDULED,
        last_attempt_end=None,
        is_key_missing=False,
        is_delayed=False,
        operations=3,
        since=NOW - seconds(7),
    )
    assert [group.operations for group in found] == [3, 1, 1, 1, 1, 1, 1]
    after_failure = {group.is_delayed: group.since for group in found if group.last_attempt_end is not None}
    # What was delayed waits in line since its time came.
    assert after_failure == {True: NOW, False: NOW}
    assert {group.state for group in found} == {State.SCHEDULED, State.STARTED, State.DISPATCHED}
    assert {group.task_queue for group in found} == {QUEUE.task_queue, "second"}
    assert {group.caller for group in found} == {"data", "other"}


async def test_missing_key_sets_operations_apart(store: Store) -> None:
    """Those whose worker lacked a key are a group of their own."""
    for number, error in enumerate(("KEY_UNAVAILABLE", "E2E_REJECTED", "E2E_REJECTED"), 1):
        await store.transact(
            inserting(
                operation(
                    number,
                    next_attempt_at=NOW + seconds(1),
                    last_attempt_end=AttemptEnd.REJECTED,
                    last_attempt_error=error,
                )
            )
        )
    found = await groups(store, "invoices")
    assert [(group.operations, group.is_key_missing) for group in found] == [(2, False), (1, True)]


async def test_no_more_are_looked_at_when_the_limit_is_reached(store: Store) -> None:
    """Counting takes bounded time, however many are open."""
    await store.transact(inserting(*(operation(number) for number in range(1, 8))))
    assert [group.operations for group in await groups(store, "invoices", limit=5)] == [5]
