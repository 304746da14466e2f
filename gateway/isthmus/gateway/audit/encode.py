"""Encode an audit record as the exact bytes that are stored, exported and hashed.

The bytes are a serialized ``isthmus.v1.AuditEvent``. They are deterministic: the messages have no map and no
unknown field, fields are written in the order of their numbers, and nothing but the record goes into them.
Once written they are never encoded again, so a later release may add fields without changing what older
leaves hash to.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

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
    Happening,
    KeysetPublished,
    LateOutcomeRefused,
    MessagesRewrapped,
    NamespaceCreated,
    OperationEnded,
    OperationRedriven,
    OperationRef,
    OperationsExpired,
    OperationStarted,
    RequestDenied,
    SignalReceived,
    StoreRestored,
    TaskDispatched,
)
from isthmus.gateway.core.operation import State, Statement
from isthmus.v1.audit_pb2 import AuditEvent
from isthmus.v1.audit_pb2 import OperationRef as RefMessage
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
    # Filled in place: messages that are made first and copied in cost twice as much, and every step of every
    # operation passes here.
    event = AuditEvent()
    event.occurred_at_ms = _milliseconds(record.occurred_at)
    event.actor = record.actor.principal or GATEWAY_ACTOR
    event.actor_namespace = record.actor.namespace
    happening = record.happening
    _FILL[type(happening)](event, happening)
    return event.SerializeToString(deterministic=True)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def _refer(message: RefMessage, operation: OperationRef) -> None:
    message.caller_namespace = operation.key.caller
    message.operation_id = operation.key.operation_id
    message.handler_namespace = operation.handler
    message.endpoint = operation.endpoint
    message.service = operation.service
    message.operation = operation.operation


def _operation_started(event: AuditEvent, happening: OperationStarted) -> None:
    message = event.operation_started
    _refer(message.operation, happening.operation)
    message.request_digest = happening.request_digest
    message.request_bytes = happening.request_bytes
    message.rule = happening.rule
    if happening.labels:
        message.labels.extend(f"{name}={value}" for name, value in happening.labels)
    message.session_id = happening.session_id
    message.worker = happening.worker


def _request_denied(event: AuditEvent, happening: RequestDenied) -> None:
    message = event.request_denied
    message.action = happening.action
    message.endpoint = happening.endpoint
    message.handler_namespace = happening.handler
    message.service = happening.service
    message.operation = happening.operation
    message.operation_id = happening.operation_id
    message.digest = happening.digest
    message.rule = happening.rule


def _task_dispatched(event: AuditEvent, happening: TaskDispatched) -> None:
    message = event.task_dispatched
    _refer(message.operation, happening.operation)
    message.attempt = happening.attempt
    message.session_id = happening.session_id
    message.worker = happening.worker


def _attempt_ended(event: AuditEvent, happening: AttemptEnded) -> None:
    message = event.attempt_ended
    _refer(message.operation, happening.operation)
    message.attempt = happening.attempt
    message.cause = happening.cause
    message.error_type = happening.error_type
    if happening.next_attempt_at is not None:
        message.next_attempt_at_ms = _milliseconds(happening.next_attempt_at)


def _handler_started(event: AuditEvent, happening: HandlerStarted) -> None:
    message = event.handler_started
    _refer(message.operation, happening.operation)
    message.attempt = happening.attempt


def _cancel_requested(event: AuditEvent, happening: CancelRequested) -> None:
    message = event.cancel_requested
    _refer(message.operation, happening.operation)
    message.digest = happening.digest


def _signal_received(event: AuditEvent, happening: SignalReceived) -> None:
    message = event.signal_received
    _refer(message.operation, happening.operation)
    message.digest = happening.digest
    message.signal_bytes = happening.signal_bytes
    message.number = happening.number


def _operation_ended(event: AuditEvent, happening: OperationEnded) -> None:
    message = event.operation_ended
    _refer(message.operation, happening.operation)
    message.state = _STATES[happening.state]
    message.request_digest = happening.request_digest
    message.outcome_digest = happening.outcome_digest
    message.outcome_bytes = happening.outcome_bytes
    message.statement = _STATEMENTS[happening.statement]
    message.attempts = happening.attempts
    message.reason = happening.reason


def _operation_redriven(event: AuditEvent, happening: OperationRedriven) -> None:
    message = event.operation_redriven
    _refer(message.operation, happening.operation)
    message.attempts = happening.attempts
    message.error_type = happening.error_type


def _circuit_opened(event: AuditEvent, happening: CircuitOpened) -> None:
    message = event.circuit_opened
    message.endpoint = happening.endpoint
    message.handler_namespace = happening.handler
    message.task_queue = happening.task_queue
    message.caller_namespace = happening.caller
    message.failures = happening.failures
    message.error_type = happening.error_type
    message.until_ms = _milliseconds(happening.until)


def _circuit_closed(event: AuditEvent, happening: CircuitClosed) -> None:
    message = event.circuit_closed
    message.endpoint = happening.endpoint
    message.handler_namespace = happening.handler
    message.task_queue = happening.task_queue
    message.caller_namespace = happening.caller
    message.cause = happening.cause


def _late_outcome_refused(event: AuditEvent, happening: LateOutcomeRefused) -> None:
    message = event.late_outcome_refused
    _refer(message.operation, happening.operation)
    message.attempt = happening.attempt
    message.outcome_digest = happening.outcome_digest


def _operations_expired(event: AuditEvent, happening: OperationsExpired) -> None:
    message = event.operations_expired
    message.endpoint = happening.endpoint
    message.namespace = happening.namespace
    message.operations = happening.operations
    message.closed_until_ms = _milliseconds(happening.closed_until)


def _namespace_created(event: AuditEvent, happening: NamespaceCreated) -> None:
    event.namespace_created.namespace = happening.namespace


def _endpoint_changed(event: AuditEvent, happening: EndpointChanged) -> None:
    message = event.endpoint_changed
    message.endpoint = happening.endpoint
    message.namespace = happening.namespace
    message.change = happening.change
    message.fields.extend(happening.fields)
    message.other_namespace = happening.other


def _cursor_changed(event: AuditEvent, happening: CursorChanged) -> None:
    message = event.cursor_changed
    message.namespace = happening.namespace
    message.cursor = happening.cursor
    message.change = happening.change


def _event_published(event: AuditEvent, happening: EventPublished) -> None:
    message = event.event_published
    message.event_id = happening.event_id
    message.endpoint = happening.endpoint
    message.publisher_namespace = happening.publisher
    message.reader_namespace = happening.reader
    message.name = happening.name
    message.digest = happening.digest
    message.event_bytes = happening.event_bytes
    message.rule = happening.rule


def _keyset_published(event: AuditEvent, happening: KeysetPublished) -> None:
    message = event.keyset_published
    message.namespace = happening.namespace
    message.version = happening.version
    message.keyset_hash = happening.keyset_hash
    message.root_fingerprint = happening.root_fingerprint


def _endpoint_record_published(event: AuditEvent, happening: EndpointRecordPublished) -> None:
    message = event.endpoint_record_published
    message.endpoint = happening.endpoint
    message.namespace = happening.namespace
    message.version = happening.version
    message.record_hash = happening.record_hash
    message.task_queue = happening.task_queue
    message.required_recipients.extend(happening.required_recipients)


def _messages_rewrapped(event: AuditEvent, happening: MessagesRewrapped) -> None:
    message = event.messages_rewrapped
    message.namespace = happening.namespace
    message.messages = happening.messages
    message.key_id = happening.key_id


def _authentication_failed(event: AuditEvent, happening: AuthenticationFailed) -> None:
    message = event.authentication_failed
    message.reason = happening.reason
    message.source = happening.source
    message.count = happening.count


def _store_restored(event: AuditEvent, happening: StoreRestored) -> None:
    message = event.store_restored
    message.namespace = happening.namespace
    message.backup_taken_at_ms = _milliseconds(happening.taken_at)
    message.last_position = happening.last_position


# Each function takes its own kind of happening, which a mapping's type cannot say; a test holds the keys
# against all kinds.
_FILL: Mapping[type[Happening], Callable[[AuditEvent, Any], None]] = {
    OperationStarted: _operation_started,
    RequestDenied: _request_denied,
    TaskDispatched: _task_dispatched,
    AttemptEnded: _attempt_ended,
    HandlerStarted: _handler_started,
    CancelRequested: _cancel_requested,
    SignalReceived: _signal_received,
    OperationEnded: _operation_ended,
    OperationRedriven: _operation_redriven,
    CircuitOpened: _circuit_opened,
    CircuitClosed: _circuit_closed,
    LateOutcomeRefused: _late_outcome_refused,
    OperationsExpired: _operations_expired,
    NamespaceCreated: _namespace_created,
    EndpointChanged: _endpoint_changed,
    CursorChanged: _cursor_changed,
    EventPublished: _event_published,
    KeysetPublished: _keyset_published,
    EndpointRecordPublished: _endpoint_record_published,
    MessagesRewrapped: _messages_rewrapped,
    AuthenticationFailed: _authentication_failed,
    StoreRestored: _store_restored,
}
