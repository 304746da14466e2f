"""Exceptions to failures and back."""

from itertools import pairwise

import nexusrpc
import pytest

from isthmus.payload import (
    Payload,
    PayloadConversionError,
    RemoteError,
    exception_from_payload,
    failure_payload,
)
from isthmus.payload.failures import CONTENT_TYPE, MAX_BYTES, MAX_DEPTH


def chained(*errors: BaseException) -> BaseException:
    """Make each error the cause of the one before."""
    for effect, cause in pairwise(errors):
        effect.__cause__ = cause
    return errors[0]


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes."""
    found = [error]
    while found[-1].__cause__ is not None:
        found.append(found[-1].__cause__)
    return found


@pytest.mark.parametrize("kind", list(nexusrpc.HandlerErrorType))
@pytest.mark.parametrize("override", [None, True, False])
def test_handler_error_survives_when_sent(
    kind: nexusrpc.HandlerErrorType,
    override: bool | None,  # noqa: FBT001
) -> None:
    """Type, retryability and message."""
    error = nexusrpc.HandlerError("no", type=kind, retryable_override=override)
    back = exception_from_payload(failure_payload(error))
    assert isinstance(back, nexusrpc.HandlerError)
    assert (back.message, back.type, back.retryable_override) == ("no", kind, override)


@pytest.mark.parametrize("state", list(nexusrpc.OperationErrorState))
def test_operation_error_survives_when_sent(state: nexusrpc.OperationErrorState) -> None:
    """State and message."""
    back = exception_from_payload(failure_payload(nexusrpc.OperationError("over", state=state)))
    assert isinstance(back, nexusrpc.OperationError)
    assert (back.message, back.state) == ("over", state)


def test_causes_survive_when_of_any_kind() -> None:
    """Nexus errors as themselves, others as RemoteError with the name of their type."""
    error = chained(
        nexusrpc.OperationError("over", state=nexusrpc.OperationErrorState.FAILED),
        nexusrpc.HandlerError("inner", type="UNAVAILABLE"),
        ValueError("deep"),
    )
    back = causes(exception_from_payload(failure_payload(error)))
    assert isinstance(back[1], nexusrpc.HandlerError)
    assert isinstance(back[2], RemoteError)
    assert (back[2].type_name, back[2].message) == ("ValueError", "deep")
    again = causes(exception_from_payload(failure_payload(back[0])))
    assert [str(error) for error in again] == [str(error) for error in back]


def test_other_exception_becomes_internal_when_raised() -> None:
    """With itself as the cause."""
    back = exception_from_payload(failure_payload(KeyError("k")))
    assert isinstance(back, nexusrpc.HandlerError)
    assert back.type is nexusrpc.HandlerErrorType.INTERNAL
    assert isinstance(back.__cause__, RemoteError)


def test_context_is_sent_when_there_is_no_cause() -> None:
    """As Python shows it; `from None` hides it."""
    error = KeyError("second")
    error.__context__ = ValueError("first")
    assert len(causes(exception_from_payload(failure_payload(error)))) == 3
    error.__suppress_context__ = True
    assert len(causes(exception_from_payload(failure_payload(error)))) == 2


def test_stack_trace_is_sent_only_when_asked_for() -> None:
    """The caller is another team."""
    with pytest.raises(nexusrpc.HandlerError) as caught:
        raise nexusrpc.HandlerError("no", type="INTERNAL")
    assert exception_from_payload(failure_payload(caught.value)).stack_trace is None
    shown = exception_from_payload(failure_payload(caught.value, stack_traces=True)).stack_trace
    assert shown is not None
    assert "test_failures.py" in shown


def test_foreign_failure_survives_when_it_is_the_original() -> None:
    """What came from another Nexus implementation is handed on: metadata, details, its causes."""
    original = nexusrpc.Failure(
        message="far",
        metadata={"type": "temporal.api.failure.v1.Failure"},
        details={"code": 7},
        cause=nexusrpc.Failure(message="farther"),
    )
    error = nexusrpc.HandlerError("far", type="BAD_REQUEST", original_failure=original)
    back = exception_from_payload(failure_payload(error))
    assert back.original_failure is not None
    assert back.original_failure.details == {"code": 7}
    assert back.original_failure.metadata == original.metadata
    assert isinstance(back.__cause__, RemoteError)
    assert back.__cause__.message == "farther"


def test_failure_is_bounded_when_chain_is_endless_or_huge() -> None:
    """Cycles end, depth and size have limits."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert len(causes(exception_from_payload(failure_payload(first)))) == 3
    deep = chained(*[ValueError("x" * 100_000) for _ in range(500)])
    payload = failure_payload(deep)
    assert len(payload.data) <= MAX_BYTES
    assert len(causes(exception_from_payload(payload))) == MAX_DEPTH


def test_text_is_mended_when_it_is_no_unicode() -> None:
    """A lone surrogate does not stop an error on its way."""
    assert "?" in str(exception_from_payload(failure_payload(ValueError("\ud800"))).__cause__)


def test_subclasses_are_raised_when_factories_are_given() -> None:
    """The outermost exception only."""

    class OwnError(nexusrpc.HandlerError):
        """A subclass."""

    error = chained(nexusrpc.HandlerError("a", type="INTERNAL"), nexusrpc.HandlerError("b", type="INTERNAL"))
    back = exception_from_payload(failure_payload(error), handler_error=OwnError)
    assert type(back) is OwnError
    assert type(back.__cause__) is nexusrpc.HandlerError


@pytest.mark.parametrize(
    "payload",
    [
        Payload(content_type="application/json", data=b"{}"),
        Payload(content_type=CONTENT_TYPE, data=b"\xff"),
        Payload(content_type=CONTENT_TYPE, data=b"\x22\x03[1]"),
        Payload(content_type=CONTENT_TYPE, data=b"\x22\x01{"),
        Payload(content_type=CONTENT_TYPE, data=bytes(MAX_BYTES + 1)),
    ],
)
def test_payload_is_refused_when_it_is_no_failure(payload: Payload) -> None:
    """Whatever the other end sent."""
    with pytest.raises(PayloadConversionError):
        exception_from_payload(payload)
