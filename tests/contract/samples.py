"""Plain values to store: everything that a test does not care about is filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from isthmus.endpoints.endpoint import (
    AllowRule,
    CircuitSettings,
    Endpoint,
    FairWeight,
    RecordTerms,
    RetrySettings,
)
from isthmus.endpoints.versions import VersionSettings, VersionShare
from isthmus.gateway.core.audit_record import (
    Actor,
    AuditRecord,
    Happening,
    OperationEnded,
    OperationStarted,
    ref,
)
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.ports import (
    EnvelopeSlot,
    Namespace,
    QueueKey,
    StoredEndpointRecord,
    StoredKeyset,
    Task,
    TaskKind,
    UnitOfWork,
    WorkerSession,
)
from isthmus.wire.header import Direction
from isthmus.wire.names import EndpointName, NamespaceName, OperationId

NOW = datetime(2030, 5, 17, 12, 30, 45, 123_456, tzinfo=UTC)
CALLER = NamespaceName("data")
HANDLER = NamespaceName("billing")
ENDPOINT = EndpointName("invoices")
QUEUE = QueueKey(namespace=HANDLER, task_queue="default")
ACTOR = Actor(namespace=CALLER, principal="data/etl")
SESSION = b"s" * 16


def seconds(count: float) -> timedelta:
    """Return so many seconds."""
    return timedelta(seconds=count)


def key(number: int, caller: str = CALLER) -> OperationKey:
    """Return the key of the operation with this number."""
    return OperationKey(caller=NamespaceName(caller), operation_id=OperationId(number.to_bytes(16)))


def operation(number: int = 1, **changes: Any) -> Operation:
    """Return an operation that waits for a worker."""
    values: dict[str, Any] = {
        "key": key(number),
        "handler": HANDLER,
        "endpoint": ENDPOINT,
        "service": "Invoices",
        "operation": "create",
        "task_queue": QUEUE.task_queue,
        "principal": "data/etl",
        "request_digest": number.to_bytes(32),
        "request_bytes": 1_500,
        "scheduled_at": NOW,
        "schedule_to_close_at": NOW + timedelta(hours=24),
        "state": State.SCHEDULED,
        "state_since": NOW,
    }
    return Operation(**(values | changes))


def succeeded(before: Operation, at: datetime = NOW) -> Operation:
    """Return the operation after its result came."""
    return structs.replace(
        before,
        state=State.SUCCEEDED,
        state_since=at,
        closed_at=at,
        outcome=Direction.RESULT,
        outcome_digest=b"o" * 32,
        outcome_bytes=1_700,
    )


def task(number: int = 1, **changes: Any) -> Task:
    """Return the start task of the operation with this number, waiting and ready."""
    values: dict[str, Any] = {
        "key": key(number),
        "kind": TaskKind.START,
        "queue": QUEUE,
        "attempt": 0,
        "ready_at": NOW,
    }
    return Task(**(values | changes))


def session(session_id: bytes = SESSION, **changes: Any) -> WorkerSession:
    """Return a session that has half a minute to live."""
    values: dict[str, Any] = {
        "session_id": session_id,
        "queue": QUEUE,
        "principal": "billing/worker",
        "identity": "worker-1@host",
        "version": "1.2.3",
        "expires_at": NOW + seconds(30),
    }
    return WorkerSession(**(values | changes))


def namespace(name: str = CALLER) -> Namespace:
    """Return a namespace."""
    return Namespace(name=NamespaceName(name), description=f"the {name} team", created_at=NOW)


def endpoint(name: str = ENDPOINT, **changes: Any) -> Endpoint:
    """Return an endpoint with a value in every field."""
    values: dict[str, Any] = {
        "name": EndpointName(name),
        "namespace": HANDLER,
        "task_queue": QUEUE.task_queue,
        "description": "creates invoices",
        "allow": (AllowRule(namespace=CALLER), AllowRule(namespace=HANDLER, service="S", operation="o")),
        "retry": RetrySettings(initial_interval=seconds(2.5), max_attempts=7, park_when_exhausted=False),
        "max_payload_bytes": 65_536,
        "max_schedule_to_close": timedelta(days=3, microseconds=1),
        "fair_weights": (FairWeight(namespace=CALLER, weight=5),),
        "max_operations_per_second": 7_000,
        "max_open_operations": 9_000,
        "retention": timedelta(days=90),
        "circuit": CircuitSettings(failures=3, open_for=seconds(7.25)),
        "versions": VersionSettings(ramp=(VersionShare(version="2.0 β", percent=10),), pin=True),
        "record": RecordTerms(version=3, recipients=(HANDLER, "escrow"), contract_hash=b"c" * 32),
        "etag": "e1",
        "created_at": NOW,
        "updated_at": NOW + seconds(1),
    }
    return Endpoint(**(values | changes))


def endpoint_record(version: int = 1, of: str = HANDLER, name: str = ENDPOINT) -> StoredEndpointRecord:
    """Return a record of an endpoint."""
    return StoredEndpointRecord(
        endpoint=EndpointName(name),
        namespace=NamespaceName(of),
        version=version,
        record=f"record {version}".encode(),
        message=f"signed record {version}".encode(),
        published_at=NOW + seconds(version),
    )


def keyset(version: int = 1, of: str = CALLER) -> StoredKeyset:
    """Return a keyset."""
    return StoredKeyset(
        namespace=NamespaceName(of),
        version=version,
        keyset=f"keyset {version}".encode(),
        message=f"what vouches for {version}".encode(),
        published_at=NOW,
    )


def record(happening: Happening, at: datetime = NOW, actor: Actor = ACTOR) -> AuditRecord:
    """Return an audit record."""
    return AuditRecord(occurred_at=at, actor=actor, happening=happening)


def started(of: Operation) -> OperationStarted:
    """Return what the log says of an accepted start."""
    return OperationStarted(
        operation=ref(of), request_digest=of.request_digest, request_bytes=of.request_bytes, rule="allow[0]"
    )


def ended(of: Operation) -> OperationEnded:
    """Return what the log says of an outcome."""
    return OperationEnded(
        operation=ref(of),
        state=of.state,
        request_digest=of.request_digest,
        outcome_digest=of.outcome_digest,
        outcome_bytes=of.outcome_bytes,
        statement=of.statement,
        attempts=of.attempt,
    )


def start(unit: UnitOfWork, of: Operation, request: bytes = b"sealed request") -> None:
    """Write what an accepted start writes: operation, request, task and audit record."""
    unit.insert_operation(of, request)
    unit.put_task(
        Task(
            key=of.key,
            kind=TaskKind.START,
            queue=QueueKey(namespace=of.handler, task_queue=of.task_queue),
            attempt=0,
            ready_at=of.scheduled_at,
        )
    )
    unit.append_audit(record(started(of)))


def complete(unit: UnitOfWork, of: OperationKey, outcome: bytes = b"sealed outcome") -> Operation:
    """Write what an outcome writes: operation, outcome and audit record; the task is gone."""
    before = unit.operation(of)
    assert before is not None
    after = succeeded(before)
    unit.update_operation(after)
    unit.put_envelope(of, EnvelopeSlot.OUTCOME, outcome)
    unit.remove_task(of, TaskKind.START)
    unit.remove_task(of, TaskKind.CANCEL)
    unit.append_audit(record(ended(after), actor=Actor(namespace=after.handler, principal="billing/worker")))
    return after
