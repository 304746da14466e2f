"""What waits, summed up from what the store counted."""

from collections.abc import Sequence

from tests.contract.samples import HANDLER, NOW, QUEUE, endpoint, seconds

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.operation import AttemptEnd, State
from isthmus.gateway.core.waiting import WaitingCause
from isthmus.gateway.metrics.backlog import Backlog, summed
from isthmus.gateway.ports import WaitingGroup


def group(operations: int = 1, **changes: object) -> WaitingGroup:
    """Return operations that wait for a worker."""
    values: dict[str, object] = {
        "endpoint": "invoices",
        "handler": HANDLER,
        "task_queue": QUEUE.task_queue,
        "caller": "data",
        "state": State.SCHEDULED,
        "last_attempt_end": None,
        "is_key_missing": False,
        "is_delayed": False,
        "since": NOW,
    }
    return WaitingGroup(operations=operations, **(values | changes))  # type: ignore[arg-type]


def backlog(groups: Sequence[WaitingGroup], *endpoints: Endpoint, pollers: int = 0) -> Backlog:
    """Sum up."""
    return summed(
        endpoints,
        groups,
        is_complete=True,
        pollers=lambda _: pollers,
        held_up=lambda _endpoint, _queue, caller: caller == "poisoned",
    )


def test_backlog_is_zero_when_nothing_waits() -> None:
    """An autoscaler has to see the zero, not a series that is missing."""
    (queue,) = backlog([], endpoint()).queues
    assert (queue.endpoint, queue.operations, queue.since) == ("invoices", 0, None)


def test_callers_add_up_when_several_wait() -> None:
    """What has its time later waits for that, not for a worker; what runs does not wait."""
    found = backlog(
        [
            group(3, since=NOW - seconds(2)),
            group(4, caller="other", since=NOW - seconds(5)),
            group(5, is_delayed=True, last_attempt_end=AttemptEnd.FAILED),
            group(6, is_delayed=True, last_attempt_end=AttemptEnd.REJECTED),
            group(8, is_delayed=True, last_attempt_end=AttemptEnd.REJECTED, is_key_missing=True),
            group(7, state=State.DISPATCHED),
        ],
        endpoint(),
    )
    (queue,) = found.queues
    assert (queue.operations, queue.since) == (7, NOW - seconds(5))
    assert found.causes == {
        ("invoices", WaitingCause.NO_POLLER): 7,
        ("invoices", WaitingCause.BACKOFF): 5,
        ("invoices", WaitingCause.REJECTED): 6,
        ("invoices", WaitingCause.KEY_UNAVAILABLE): 8,
        ("invoices", WaitingCause.RUNNING): 7,
    }


def test_backlog_leaves_out_what_a_circuit_holds_up() -> None:
    """More workers would only fail more often; it has a cause of its own all the same."""
    found = backlog([group(3), group(4, caller="poisoned")], endpoint(), pollers=1)
    assert [queue.operations for queue in found.queues] == [3]
    assert found.causes == {
        ("invoices", WaitingCause.FAIR_SHARE): 3,
        ("invoices", WaitingCause.CIRCUIT_OPEN): 4,
    }


def test_queue_is_counted_when_the_endpoint_left_it() -> None:
    """Operations keep the queue that they began with."""
    found = backlog([group(2, task_queue="before")], endpoint(), pollers=1)
    assert {queue.task_queue: queue.operations for queue in found.queues} == {"default": 0, "before": 2}
    assert found.causes == {("invoices", WaitingCause.FAIR_SHARE): 2}
