"""What the gateway tells about an operation, for people and for dashboards."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.v1 import operation_pb2
from isthmus.wire.names import format_operation_id

PublicState = Literal["running", "succeeded", "failed", "canceled"]
_STATE_PREFIX = "OPERATION_STATE_"
_CAUSE_PREFIX = "WAITING_CAUSE_"
_PUBLIC: dict[str, PublicState] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "timed_out": "failed",
    "denied": "failed",
    "canceled": "canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDescription:
    """Where an operation is in its life. The gateway's word: only ``result()`` verifies how it ended."""

    operation_id: str
    endpoint: str
    service: str
    operation: str
    caller_namespace: str
    handler_namespace: str
    task_queue: str
    principal: str
    state: str
    """As the gateway names it: ``scheduled``, ``dispatched``, ``started``, ``parked``, ``succeeded`` …"""
    attempt: int
    cancel_requested: bool
    waiting: str
    """What it waits for, for example ``no_poller``; empty when it ended."""
    waiting_since: datetime | None
    waiting_reason: str
    """One sentence: what it waits for and what would end that."""
    waiting_until: datetime | None
    """When that ends at the latest: its next attempt, or its first timeout."""
    worker: str
    """Name of the worker that runs it; empty while none does."""
    last_heartbeat_at: datetime | None
    """When the attempt that runs last said that it lives; None if it never did."""
    last_attempt_error: str
    scheduled_at: datetime | None
    closed_at: datetime | None
    next_attempt_at: datetime | None
    schedule_to_close_at: datetime | None

    @property
    def status(self) -> PublicState:
        """The state in the words of Nexus."""
        return _PUBLIC.get(self.state, "running")


def public_state(name: str) -> tuple[str, PublicState]:
    """Return the name of a state on the wire as people see it, and in the words of Nexus."""
    state = name.removeprefix(_STATE_PREFIX).lower()
    return state, _PUBLIC.get(state, "running")


def describe(operation: operation_pb2.Operation) -> OperationDescription:
    """Return an operation as people see it."""
    state = operation_pb2.OperationState.Name(operation.state)
    waiting = operation_pb2.WaitingCause.Name(operation.waiting).removeprefix(_CAUSE_PREFIX).lower()
    return OperationDescription(
        operation_id=format_operation_id(operation.operation_id),
        endpoint=operation.endpoint,
        service=operation.service,
        operation=operation.operation,
        caller_namespace=operation.caller_namespace,
        handler_namespace=operation.handler_namespace,
        task_queue=operation.task_queue,
        principal=operation.principal,
        state=state.removeprefix(_STATE_PREFIX).lower(),
        attempt=operation.attempt,
        cancel_requested=operation.cancel_requested,
        waiting="" if waiting == "unspecified" else waiting,
        waiting_since=_time(operation, "waiting_since"),
        waiting_reason=operation.waiting_reason,
        waiting_until=_time(operation, "waiting_until"),
        worker=operation.worker,
        last_heartbeat_at=_time(operation, "last_heartbeat_at"),
        last_attempt_error=operation.last_attempt_error,
        scheduled_at=_time(operation, "scheduled_at"),
        closed_at=_time(operation, "closed_at"),
        next_attempt_at=_time(operation, "next_attempt_at"),
        schedule_to_close_at=_time(operation, "schedule_to_close_at"),
    )


def _time(operation: operation_pb2.Operation, name: str) -> datetime | None:
    if not operation.HasField(name):  # type: ignore[arg-type]
        return None
    timestamp: Timestamp = getattr(operation, name)
    return timestamp.ToDatetime(tzinfo=UTC)
