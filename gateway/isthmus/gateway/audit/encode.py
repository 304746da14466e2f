"""Encode an audit record as the exact bytes that are stored, exported and hashed.

The bytes are a serialized ``isthmus.v1.AuditEvent``. They are deterministic: the messages have no map and no
unknown field, fields are written in the order of their numbers, and nothing but the record goes into them.
Once written they are never encoded again, so a later release may add fields without changing what older
leaves hash to.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from isthmus.gateway.core.audit_record import (
    AttemptEnded,
    AuditRecord,
    AuthenticationFailed,
    CancelRequested,
    EndpointChanged,
    HandlerStarted,
    Happening,
    KeysetPublished,
    LateOutcomeRefused,
    NamespaceCreated,
    OperationEnded,
    OperationRef,
    OperationStarted,
    RequestDenied,
    TaskDispatched,
)
from isthmus.gateway.core.operation import State, Statement
from isthmus.v1 import audit_pb2
from isthmus.v1.operation_pb2 import OperationState, StatementKind

GATEWAY_ACTOR = "gateway"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_STATES = {state: OperationState.Value(f"OPERATION_STATE_{state.name}") for state in State}
_STATEMENTS: Mapping[Statement | None, StatementKind.ValueType] = {
    None: StatementKind.STATEMENT_KIND_UNSPECIFIED,
    **{statement: StatementKind.Value(f"STATEMENT_KIND_{statement.name}") for statement in Statement},
}


def encode_audit_record(record: AuditRecord) -> bytes:
    """Return the serialized ``isthmus.v1.AuditEvent`` of a record. Equal records give equal bytes."""
    field, message = _event(record.happening)
    actor = record.actor
    event = audit_pb2.AuditEvent(
        occurred_at_ms=_milliseconds(record.occurred_at),
        actor=actor.principal or GATEWAY_ACTOR,
        actor_namespace=actor.namespace,
        **{field: message},
    )
    return event.SerializeToString(deterministic=True)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def _ref(operation: OperationRef) -> audit_pb2.OperationRef:
    return audit_pb2.OperationRef(
        caller_namespace=operation.key.caller,
        operation_id=operation.key.operation_id,
        handler_namespace=operation.handler,
        endpoint=operation.endpoint,
        service=operation.service,
        operation=operation.operation,
    )


def _event(happening: Happening) -> tuple[str, Any]:
    """Return the field of the event's oneof and its message."""
    match happening:
        case (
            OperationStarted()
            | TaskDispatched()
            | AttemptEnded()
            | HandlerStarted()
            | CancelRequested()
            | OperationEnded()
            | LateOutcomeRefused()
        ):
            return _operation_event(happening)
        case RequestDenied():
            return "request_denied", audit_pb2.RequestDenied(
                action=happening.action,
                endpoint=happening.endpoint,
                handler_namespace=happening.handler,
                service=happening.service,
                operation=happening.operation,
                operation_id=happening.operation_id,
                digest=happening.digest,
                rule=happening.rule,
            )
        case NamespaceCreated():
            return "namespace_created", audit_pb2.NamespaceCreated(namespace=happening.namespace)
        case EndpointChanged():
            return "endpoint_changed", audit_pb2.EndpointChanged(
                endpoint=happening.endpoint,
                namespace=happening.namespace,
                change=happening.change,
                fields=happening.fields,
            )
        case KeysetPublished():
            return "keyset_published", audit_pb2.KeysetPublished(
                namespace=happening.namespace,
                version=happening.version,
                keyset_hash=happening.keyset_hash,
                root_fingerprint=happening.root_fingerprint,
            )
        case AuthenticationFailed():
            return "authentication_failed", audit_pb2.AuthenticationFailed(
                reason=happening.reason, source=happening.source, count=happening.count
            )
        case _:
            assert_never(happening)


def _operation_event(
    happening: OperationStarted
    | TaskDispatched
    | AttemptEnded
    | HandlerStarted
    | CancelRequested
    | OperationEnded
    | LateOutcomeRefused,
) -> tuple[str, Any]:
    operation = _ref(happening.operation)
    match happening:
        case OperationStarted():
            return "operation_started", audit_pb2.OperationStarted(
                operation=operation,
                request_digest=happening.request_digest,
                request_bytes=happening.request_bytes,
                rule=happening.rule,
                labels=[f"{name}={value}" for name, value in happening.labels],
            )
        case TaskDispatched():
            return "task_dispatched", audit_pb2.TaskDispatched(
                operation=operation,
                attempt=happening.attempt,
                session_id=happening.session_id,
                worker=happening.worker,
            )
        case AttemptEnded():
            next_at = happening.next_attempt_at
            return "attempt_ended", audit_pb2.AttemptEnded(
                operation=operation,
                attempt=happening.attempt,
                cause=happening.cause,
                error_type=happening.error_type,
                next_attempt_at_ms=0 if next_at is None else _milliseconds(next_at),
            )
        case HandlerStarted():
            return "handler_started", audit_pb2.HandlerStarted(operation=operation, attempt=happening.attempt)
        case CancelRequested():
            return "cancel_requested", audit_pb2.CancelRequested(operation=operation, digest=happening.digest)
        case OperationEnded():
            return "operation_ended", audit_pb2.OperationEnded(
                operation=operation,
                state=_STATES[happening.state],
                request_digest=happening.request_digest,
                outcome_digest=happening.outcome_digest,
                outcome_bytes=happening.outcome_bytes,
                statement=_STATEMENTS[happening.statement],
                attempts=happening.attempts,
            )
        case LateOutcomeRefused():
            return "late_outcome_refused", audit_pb2.LateOutcomeRefused(
                operation=operation, attempt=happening.attempt, outcome_digest=happening.outcome_digest
            )
        case _:
            assert_never(happening)
