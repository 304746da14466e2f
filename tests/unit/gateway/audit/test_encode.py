"""Audit records as bytes: everything is in them, and equal records give equal bytes."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from isthmus.gateway.audit.encode import encode_audit_record
from isthmus.gateway.audit.index import TYPES, index_audit_record
from isthmus.gateway.core.audit_record import (
    GATEWAY,
    Actor,
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
from isthmus.gateway.core.operation import OperationKey, State, Statement
from isthmus.v1.audit_pb2 import AuditEvent
from isthmus.v1.operation_pb2 import OperationState, StatementKind
from isthmus.wire.names import NamespaceName, OperationId

AT = datetime(2030, 5, 17, 12, 30, 45, 123_999, tzinfo=UTC)
AT_MILLISECONDS = 1_905_251_445_123
ACTOR = Actor(namespace="data", principal="data/etl")
KEY = OperationKey(caller=NamespaceName("data"), operation_id=OperationId(b"i" * 16))
REF = OperationRef(key=KEY, handler="billing", endpoint="invoices", service="Invoices", operation="create")
HAPPENINGS: list[Happening] = [
    OperationStarted(
        operation=REF,
        request_digest=b"d" * 32,
        request_bytes=9,
        rule="allow[0]",
        labels=(("a", "1"), ("b", "2")),
        session_id=b"s" * 16,
        worker="w-1",
    ),
    RequestDenied(
        action="start",
        rule="default-deny",
        endpoint="invoices",
        handler="billing",
        service="Invoices",
        operation="create",
        operation_id=b"i" * 16,
        digest=b"d" * 32,
    ),
    TaskDispatched(operation=REF, attempt=2, session_id=b"s" * 16, worker="w-1"),
    AttemptEnded(
        operation=REF,
        attempt=2,
        cause="retryable failure",
        error_type="UNAVAILABLE",
        next_attempt_at=AT + timedelta(seconds=1),
    ),
    HandlerStarted(operation=REF, attempt=3),
    CancelRequested(operation=REF, digest=b"d" * 32),
    SignalReceived(operation=REF, digest=b"d" * 32, signal_bytes=2_000, number=3),
    OperationEnded(
        operation=REF,
        state=State.FAILED,
        request_digest=b"d" * 32,
        outcome_digest=b"o" * 32,
        outcome_bytes=10,
        statement=Statement.EXHAUSTED,
        attempts=4,
        reason="its batch was wrong",
    ),
    OperationRedriven(operation=REF, attempts=4, error_type="UNAVAILABLE"),
    CircuitOpened(
        endpoint="invoices",
        handler="billing",
        task_queue="default",
        caller="data",
        failures=10,
        error_type="UNAVAILABLE",
        until=AT + timedelta(seconds=30),
    ),
    CircuitClosed(
        endpoint="invoices", handler="billing", task_queue="default", caller="data", cause="answered"
    ),
    LateOutcomeRefused(operation=REF, attempt=4, outcome_digest=b"o" * 32),
    OperationsExpired(endpoint="invoices", namespace="billing", operations=200, closed_until=AT),
    NamespaceCreated(namespace="data"),
    EndpointChanged(
        endpoint="invoices", namespace="billing", change="updated", fields=("allow", "retry"), other="data"
    ),
    EventPublished(
        event_id=b"i" * 16,
        endpoint="invoices",
        publisher="billing",
        reader="data",
        name="batch-ready",
        digest=b"d" * 32,
        event_bytes=900,
        rule="allow[0]",
    ),
    CursorChanged(namespace="data", cursor="nightly", change="created"),
    MessagesRewrapped(namespace="data", messages=7, key_id=b"k" * 16),
    EndpointRecordPublished(
        endpoint="invoices",
        namespace="data",
        version=2,
        record_hash=b"e" * 32,
        task_queue="billing",
        required_recipients=("escrow",),
    ),
    KeysetPublished(namespace="data", version=7, keyset_hash=b"h" * 32, root_fingerprint=b"r" * 32),
    AuthenticationFailed(reason="token_expired", source="10.0.0.1", count=5),
    StoreRestored(namespace="data", taken_at=AT, last_position=41),
]


def record(happening: Happening, actor: Actor = ACTOR) -> AuditRecord:
    """Return a record of something that happened."""
    return AuditRecord(occurred_at=AT, actor=actor, happening=happening)


def decoded(happening: Happening, actor: Actor = ACTOR) -> AuditEvent:
    """Return the event that is stored of something that happened."""
    return AuditEvent.FromString(encode_audit_record(record(happening, actor)))


def test_every_happening_is_tried_when_these_tests_run() -> None:
    """A new kind of record cannot be forgotten here, nor in the names of types."""
    kinds = set(get_args(Happening))
    assert {type(happening) for happening in HAPPENINGS} == kinds
    assert set(TYPES) == kinds
    assert set(TYPES.values()) == set(AuditEvent.DESCRIPTOR.fields_by_name) - {
        "occurred_at_ms",
        "actor",
        "actor_namespace",
    }


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda of: type(of).__name__)
def test_event_names_time_actor_and_type_when_it_is_decoded(happening: Happening) -> None:
    """Times are whole milliseconds, never rounded up; the type is the one that filters use."""
    event = decoded(happening)
    assert event.occurred_at_ms == AT_MILLISECONDS
    assert (event.actor, event.actor_namespace) == ("data/etl", "data")
    assert event.WhichOneof("event") == TYPES[type(happening)]


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda of: type(of).__name__)
def test_no_field_is_empty_when_the_record_says_everything(happening: Happening) -> None:
    """Whatever a record can say has a field, and the field is filled in."""
    event = decoded(happening)
    message = getattr(event, TYPES[type(happening)])
    empty = set(message.DESCRIPTOR.fields_by_name) - {field.name for field, _ in message.ListFields()}
    assert empty == set()
    if "operation" in message.DESCRIPTOR.fields_by_name and not isinstance(happening, RequestDenied):
        assert len(message.operation.ListFields()) == len(message.operation.DESCRIPTOR.fields)


@pytest.mark.parametrize("state", list(State))
def test_state_has_its_number_when_an_operation_ended(state: State) -> None:
    """Names are the same in the domain and on the wire."""
    ended = OperationEnded(
        operation=REF,
        state=state,
        request_digest=b"",
        outcome_digest=b"",
        outcome_bytes=0,
        statement=None,
        attempts=1,
    )
    event = decoded(ended).operation_ended
    assert OperationState.Name(event.state) == f"OPERATION_STATE_{state.name}"
    assert event.statement == StatementKind.STATEMENT_KIND_UNSPECIFIED


def test_gateway_is_the_actor_when_it_acts_by_itself() -> None:
    """It has a name, and no namespace."""
    event = decoded(HAPPENINGS[3], GATEWAY)
    assert (event.actor, event.actor_namespace) == ("gateway", "")


def test_bytes_are_equal_when_another_process_encodes_the_record() -> None:
    """Nothing but the record goes into a leaf: no seed, no order of a set."""
    encoded = [encode_audit_record(record(happening)).hex() for happening in HAPPENINGS]
    program = (
        "import test_encode as t; "
        "print(*(t.encode_audit_record(t.record(of)).hex() for of in t.HAPPENINGS), sep='\\n')"
    )
    for seed in ("1", "2"):
        finished = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=__file__.rpartition("/")[0],
            env={"PYTHONHASHSEED": seed},
        )
        assert finished.stdout.split() == encoded


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda of: type(of).__name__)
def test_record_is_indexed_by_whom_it_concerns_when_it_is_stored(happening: Happening) -> None:
    """Operations by both namespaces; administration by the namespace that it is about."""
    index = index_audit_record(record(happening))
    assert index.type == TYPES[type(happening)]
    assert index.actor == "data"
    match happening:
        case RequestDenied():
            assert (index.caller, index.handler, index.endpoint) == ("", "billing", "invoices")
            assert index.operation == KEY
        case NamespaceCreated() | KeysetPublished() | MessagesRewrapped() | StoreRestored() | CursorChanged():
            assert (index.caller, index.handler, index.endpoint) == ("data", "", "")
        case EndpointChanged():
            assert (index.caller, index.handler, index.endpoint) == ("billing", happening.other, "invoices")
        case OperationsExpired():
            assert (index.caller, index.handler, index.endpoint) == ("billing", "", "invoices")
        case EndpointRecordPublished():
            assert (index.caller, index.handler, index.endpoint) == ("data", "", "invoices")
        case CircuitOpened() | CircuitClosed():
            assert (index.caller, index.handler, index.endpoint) == ("data", "billing", "invoices")
            assert index.operation is None
        case EventPublished():
            assert (index.caller, index.handler, index.endpoint) == ("data", "billing", "invoices")
            assert index.operation is None
        case AuthenticationFailed():
            assert (index.caller, index.handler, index.endpoint, index.operation) == ("", "", "", None)
        case _:
            assert (index.caller, index.handler, index.endpoint) == ("data", "billing", "invoices")
            assert index.operation == KEY


def test_denial_names_no_operation_when_none_was_given() -> None:
    """A refused request need not be about one."""
    assert index_audit_record(record(RequestDenied(action="serve", rule="default-deny"))).operation is None
