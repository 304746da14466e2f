"""One sentence about every operation, whatever it waits for and however it ended."""

from datetime import UTC, datetime

import pytest

from isthmus.cli.operation_document import operation_document
from isthmus.cli.why import why, why_document
from isthmus.v1 import operation_pb2

AT = datetime(2030, 5, 17, 12, 30, 45, tzinfo=UTC)
NAME = "op-aaaaaaaaaaaaaaaaaaaaaaaaaa"
STATEMENTS = {
    None: "failed at 2030-05-17 12:30:45 UTC on attempt 2, by an outcome that billing sealed",
    "DENIED": "because it was not approved",
    "CANCELED": "because data asked for it",
    "TIMED_OUT_SCHEDULE_TO_START": "no worker took it",
    "TIMED_OUT_START_TO_CLOSE": "it ran longer",
    "TIMED_OUT_SCHEDULE_TO_CLOSE": "it lived longer",
    "TERMINATED": f"was terminated at 2030-05-17 12:30:45 UTC by the owner of endpoint invoices or the "
    f"platform (isthmus audit query --operation {NAME} says by whom and why)",
    "EXHAUSTED": "its 2 attempts were used up without an outcome, the last one by UNAVAILABLE",
}


def ended(statement: str | None) -> operation_pb2.Operation:
    """Return an operation that ended."""
    operation = operation_pb2.Operation(
        operation_id=bytes(16),
        caller_namespace="data",
        handler_namespace="billing",
        endpoint="invoices",
        state=operation_pb2.OPERATION_STATE_FAILED,
        attempt=2,
        attempts_spent=2,
        last_attempt_error="UNAVAILABLE",
    )
    operation.closed_at.FromDatetime(AT)
    if statement is not None:
        operation.statement = operation_pb2.StatementKind.Value(f"STATEMENT_KIND_{statement}")
    return operation


def waiting(reason: str) -> operation_pb2.Operation:
    """Return an operation that waits for a worker."""
    operation = operation_pb2.Operation(
        operation_id=bytes(16),
        state=operation_pb2.OPERATION_STATE_SCHEDULED,
        waiting=operation_pb2.WAITING_CAUSE_NO_POLLER,
        waiting_reason=reason,
    )
    operation.waiting_since.FromDatetime(AT)
    return operation


def test_every_statement_is_tried_when_these_tests_run() -> None:
    """A new kind of ending cannot be forgotten here."""
    kinds = {name.removeprefix("STATEMENT_KIND_") for name in operation_pb2.StatementKind.keys()}  # noqa: SIM118
    assert {kind for kind in STATEMENTS if kind} == kinds - {"UNSPECIFIED"}


@pytest.mark.parametrize(("statement", "words"), STATEMENTS.items())
def test_ending_is_one_sentence_when_an_operation_has_ended(statement: str | None, words: str) -> None:
    """How, when, and on whose word."""
    sentence = why(operation_document(ended(statement)))
    assert sentence.startswith(f"{NAME} ")
    assert words in sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()


def test_cause_comes_with_its_time_when_an_operation_waits() -> None:
    """The gateway's own words, in a sentence."""
    assert why(operation_document(waiting("nobody polls"))) == (
        f"{NAME} waits since 2030-05-17 12:30:45 UTC (no poller): nobody polls."
    )


def test_terminal_is_left_alone_when_a_name_tries_to_move_the_cursor() -> None:
    """Workers name themselves."""
    assert why(operation_document(waiting("worker \x1b[2J\nevil runs it"))).isprintable()


def test_cause_is_data_when_a_program_asks() -> None:
    """The same as the sentence, in fields; what there is not is null."""
    document = why_document(operation_document(waiting("nobody polls")))
    assert (document["waiting"], document["waiting_since"]) == ("no_poller", AT)
    assert (document["statement"], document["last_attempt_end"], document["closed_at"]) == (None, None, None)
    assert document["sentence"].startswith(NAME)
