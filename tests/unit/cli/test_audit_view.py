"""Audit events as people and programs read them."""

import json
from typing import Any

import pytest

from isthmus.cli.audit_view import COLUMNS, audit_row, describe_record
from isthmus.cli.output import plain, show
from isthmus.v1 import audit_pb2, audit_service_pb2, operation_pb2

EVENTS = [field.name for field in audit_pb2.AuditEvent.DESCRIPTOR.oneofs_by_name["event"].fields]
REFERENCE = audit_pb2.OperationRef(
    caller_namespace="data-team",
    operation_id=bytes(16),
    handler_namespace="app-team",
    endpoint="payments",
    service="Payments",
    operation="charge",
)


def record(**event: Any) -> audit_service_pb2.AuditRecord:
    """Return an event at its place in the log."""
    message = audit_pb2.AuditEvent(
        occurred_at_ms=1_800_000_000_000, actor="data-team/ada", actor_namespace="data-team", **event
    )
    return audit_service_pb2.AuditRecord(position=7, event=message.SerializeToString())


@pytest.mark.parametrize("name", EVENTS)
def test_event_has_a_row_when_nothing_of_it_is_set(name: str) -> None:
    """Every kind of event, as bare as it can be: a row for people, a document for programs."""
    message = audit_pb2.AuditEvent()
    getattr(message, name).SetInParent()
    found = describe_record(audit_service_pb2.AuditRecord(event=message.SerializeToString()))
    assert found["event"] == name
    row = audit_row(found)
    assert set(row) == set(COLUMNS)
    assert all(isinstance(show(value), str) for value in row.values())
    assert json.loads(json.dumps(found, default=plain))["event"] == name


def test_event_has_a_row_when_a_newer_gateway_wrote_it() -> None:
    """An event of a kind that this version does not know."""
    assert audit_row(describe_record(record()))["what"] == "unknown"


def test_start_names_route_digest_and_rule_when_it_is_shown() -> None:
    """Who, what, where, by which rule."""
    started = audit_pb2.OperationStarted(
        operation=REFERENCE, request_digest=b"\xab" * 32, rule="allow:payments:data-team"
    )
    row = audit_row(describe_record(record(operation_started=started)))
    assert row["who"] == "data-team/ada"
    assert row["route"] == "payments/Payments/charge"
    assert row["digest"] == "abababababab"
    assert row["rule"] == "allow:payments:data-team"
    assert row["operation_id"] == "op-" + "a" * 26
    assert row["ended"] is None


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (operation_pb2.STATEMENT_KIND_UNSPECIFIED, "timed_out"),
        (
            operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE,
            "timed_out (gateway: timed_out_schedule_to_close)",
        ),
    ],
)
def test_ending_says_whose_word_it_is_when_the_gateway_ended_it(
    statement: operation_pb2.StatementKind.ValueType, shown: str
) -> None:
    """An attested ending is the handler's."""
    ended = audit_pb2.OperationEnded(
        operation=REFERENCE, state=operation_pb2.OPERATION_STATE_TIMED_OUT, statement=statement
    )
    assert audit_row(describe_record(record(operation_ended=ended)))["ended"] == shown


def test_denial_names_what_was_asked_when_it_is_shown() -> None:
    """A denial has no operation, but a route."""
    denied = audit_pb2.RequestDenied(
        action="start", endpoint="payments", service="Payments", rule="default-deny"
    )
    row = audit_row(describe_record(record(request_denied=denied)))
    assert (row["what"], row["route"], row["rule"]) == ("denied: start", "payments/Payments", "default-deny")
