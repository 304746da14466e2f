"""The one mapping of errors to statuses."""

import logging

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from isthmus.gateway.api.status import DOMAIN, refusal_of, status_bytes
from isthmus.gateway.core import errors
from isthmus.gateway.core.errors import Code, GatewayError
from isthmus.wire.errors import UnknownSuiteError, WireFormatError

CODES: dict[type[GatewayError], grpc.StatusCode] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.AccessDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.PreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.IllegalEventError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OperationExpiredError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.InDoubtError: grpc.StatusCode.UNAVAILABLE,
}
# Never a client's business: these are hidden like whatever nobody foresaw.
HIDDEN = {GatewayError, errors.BackupError, errors.ConfigurationError}


def details(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """Return the error info of a status."""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def subclasses(of: type[GatewayError]) -> set[type[GatewayError]]:
    """Return every error class below one."""
    return {found for below in of.__subclasses__() for found in {below, *subclasses(below)}}


def test_every_error_has_a_status_when_listed() -> None:
    """An error class that is added has to be added here."""
    mapped = {error for error in subclasses(GatewayError) if error.__module__ == errors.__name__}
    assert mapped == (CODES.keys() | HIDDEN) - {GatewayError}


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_status_says_reason_and_fix_when_error_is_known(
    error: type[GatewayError], code: grpc.StatusCode
) -> None:
    """Code, message, reason, domain and fix all arrive, in the details that every language reads."""
    data = status_bytes(error("it broke", reason="IT_BROKE", fix="Mend it.", retry_after_seconds=1.5))
    status = status_pb2.Status.FromString(data)
    info = details(status)
    assert (status.code, status.message) == (code.value[0], "it broke")
    assert (info.reason, info.domain, dict(info.metadata)) == ("IT_BROKE", DOMAIN, {"fix": "Mend it."})
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


def test_status_has_no_retry_when_repeating_cannot_help() -> None:
    """Retry information is a promise: without one there is none."""
    status = status_pb2.Status.FromString(status_bytes(errors.NotFoundError("gone")))
    assert [detail.type_url.rpartition(".")[2] for detail in status.details] == ["ErrorInfo"]
    assert details(status).reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(WireFormatError("the body is empty"), "WIRE_FORMAT"), (UnknownSuiteError("no"), "UNKNOWN_SUITE")],
)
def test_status_is_invalid_argument_when_bytes_are_malformed(error: WireFormatError, reason: str) -> None:
    """What the wire format refuses is the client's to mend."""
    refusal = refusal_of(error)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert refusal.message == str(error)


@pytest.mark.parametrize(
    "error", [KeyError("secret-path"), GatewayError("secret-path"), errors.ConfigurationError("secret-path")]
)
def test_cause_is_hidden_when_error_was_not_foreseen(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets an incident id and nothing else; the log has the id and the cause."""
    with caplog.at_level(logging.ERROR):
        refusal = refusal_of(error)
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "secret-path" not in refusal.status().SerializeToString().decode("latin-1")
    assert len(refusal.incident) == 16
    assert refusal.incident in caplog.text
    assert "secret-path" in caplog.text


def test_every_code_has_a_status_when_listed() -> None:
    """The names of codes are those of gRPC."""
    from isthmus.gateway.api.status import GRPC_CODES  # noqa: PLC0415 - the table itself

    assert {code: status.name for code, status in GRPC_CODES.items()} == {code: code.value for code in Code}


def test_refusal_is_logged_with_its_fix_when_sent(caplog: pytest.LogCaptureFixture) -> None:
    """One line says what was refused, why, and what would help."""
    with caplog.at_level(logging.INFO):
        status_bytes(errors.ConflictError("it changed", reason="ETAG_MISMATCH", fix="Read it again."))
    (record,) = caplog.records
    assert record.__dict__["reason"] == "ETAG_MISMATCH"
    assert record.__dict__["fix"] == "Read it again."
