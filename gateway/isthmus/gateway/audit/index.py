"""What an audit record can be found by: the columns beside its bytes."""

from typing import assert_never

from isthmus.gateway.core.audit_record import (
    AttemptEnded,
    AuditRecord,
    AuthenticationFailed,
    CancelRequested,
    CircuitClosed,
    CircuitOpened,
    CursorChanged,
    EndpointChanged,
    EndpointRecordPublished,
    EventPublished,
    HandlerStarted,
    KeysetPublished,
    LateOutcomeRefused,
    MessagesRewrapped,
    NamespaceCreated,
    OperationEnded,
    OperationRedriven,
    OperationsExpired,
    OperationStarted,
    RequestDenied,
    SignalReceived,
    StoreRestored,
    TaskDispatched,
)
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value
from isthmus.wire.names import NamespaceName, OperationId

TYPES = {
    OperationStarted: "operation_started",
    RequestDenied: "request_denied",
    TaskDispatched: "task_dispatched",
    AttemptEnded: "attempt_ended",
    HandlerStarted: "handler_started",
    CancelRequested: "cancel_requested",
    SignalReceived: "signal_received",
    OperationEnded: "operation_ended",
    OperationRedriven: "operation_redriven",
    CircuitOpened: "circuit_opened",
    CircuitClosed: "circuit_closed",
    LateOutcomeRefused: "late_outcome_refused",
    OperationsExpired: "operations_expired",
    NamespaceCreated: "namespace_created",
    EndpointChanged: "endpoint_changed",
    CursorChanged: "cursor_changed",
    EventPublished: "event_published",
    KeysetPublished: "keyset_published",
    EndpointRecordPublished: "endpoint_record_published",
    MessagesRewrapped: "messages_rewrapped",
    AuthenticationFailed: "authentication_failed",
    StoreRestored: "store_restored",
}
"""Name of each happening: that of its field in ``isthmus.v1.AuditEvent``."""


class AuditIndex(Value):
    """Filters that a record answers to. Empty text means that the record has no such thing.

    ``caller`` is also the namespace that an administrative event is about: the one that may read it.
    """

    type: str
    caller: str = ""
    handler: str = ""
    actor: str = ""
    endpoint: str = ""
    operation: OperationKey | None = None


def index_audit_record(record: AuditRecord) -> AuditIndex:
    """Return what a record can be found by."""
    happening = record.happening
    kind = TYPES[type(happening)]
    actor = record.actor.namespace
    match happening:
        case (
            OperationStarted(operation=about)
            | TaskDispatched(operation=about)
            | AttemptEnded(operation=about)
            | HandlerStarted(operation=about)
            | CancelRequested(operation=about)
            | SignalReceived(operation=about)
            | OperationEnded(operation=about)
            | OperationRedriven(operation=about)
            | LateOutcomeRefused(operation=about)
        ):
            return AuditIndex(
                type=kind,
                caller=about.key.caller,
                handler=about.handler,
                actor=actor,
                endpoint=about.endpoint,
                operation=about.key,
            )
        case RequestDenied():
            return AuditIndex(
                type=kind,
                handler=happening.handler,
                actor=actor,
                endpoint=happening.endpoint,
                operation=_denied_operation(record, happening),
            )
        case EndpointChanged():
            return AuditIndex(
                type=kind,
                caller=happening.namespace,
                handler=happening.other,
                actor=actor,
                endpoint=happening.endpoint,
            )
        case CircuitOpened() | CircuitClosed():
            return AuditIndex(
                type=kind,
                caller=happening.caller,
                handler=happening.handler,
                actor=actor,
                endpoint=happening.endpoint,
            )
        case OperationsExpired() | EndpointRecordPublished():
            return AuditIndex(type=kind, caller=happening.namespace, actor=actor, endpoint=happening.endpoint)
        case NamespaceCreated() | KeysetPublished() | MessagesRewrapped() | StoreRestored() | CursorChanged():
            return AuditIndex(type=kind, caller=happening.namespace, actor=actor)
        case EventPublished():
            return AuditIndex(
                type=kind,
                caller=happening.reader,
                handler=happening.publisher,
                actor=actor,
                endpoint=happening.endpoint,
            )
        case AuthenticationFailed():
            return AuditIndex(type=kind, actor=actor)
        case _:
            assert_never(happening)


def _denied_operation(record: AuditRecord, denied: RequestDenied) -> OperationKey | None:
    """Return what the refused request named: ids are unique within the namespace that made the request."""
    if not denied.operation_id:
        return None
    return OperationKey(
        caller=NamespaceName(record.actor.namespace), operation_id=OperationId(denied.operation_id)
    )
