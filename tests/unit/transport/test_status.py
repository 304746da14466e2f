"""Statuses to errors: one table."""

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from isthmus.transport import errors
from isthmus.transport.status import error_from_rpc, error_from_status

TABLE = {
    grpc.StatusCode.INVALID_ARGUMENT: (errors.InvalidRequestError, False),
    grpc.StatusCode.UNAUTHENTICATED: (errors.UnauthenticatedError, False),
    grpc.StatusCode.PERMISSION_DENIED: (errors.PermissionDeniedError, False),
    grpc.StatusCode.NOT_FOUND: (errors.NotFoundError, False),
    grpc.StatusCode.ALREADY_EXISTS: (errors.AlreadyExistsError, False),
    grpc.StatusCode.ABORTED: (errors.ConflictError, False),
    grpc.StatusCode.FAILED_PRECONDITION: (errors.PreconditionFailedError, False),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (errors.ResourceExhaustedError, True),
    grpc.StatusCode.UNAVAILABLE: (errors.ConnectionLostError, True),
    grpc.StatusCode.CANCELLED: (errors.ConnectionLostError, True),
    grpc.StatusCode.DEADLINE_EXCEEDED: (errors.DeadlineExceededError, False),
    grpc.StatusCode.UNIMPLEMENTED: (errors.UnsupportedError, False),
    grpc.StatusCode.INTERNAL: (errors.GatewayInternalError, False),
    grpc.StatusCode.UNKNOWN: (errors.GatewayInternalError, False),
    grpc.StatusCode.DATA_LOSS: (errors.GatewayInternalError, False),
    grpc.StatusCode.OUT_OF_RANGE: (errors.InvalidRequestError, False),
}


def status(code: grpc.StatusCode, *details: object) -> bytes:
    """Return a serialized status."""
    made = status_pb2.Status(code=code.value[0], message="it happened")
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)  # type: ignore[arg-type]
        made.details.append(packed)
    serialized: bytes = made.SerializeToString()
    return serialized


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_error_has_its_type_when_code_is_known(code: grpc.StatusCode) -> None:
    """Every code of gRPC has a row, and every error says what to do."""
    expected, retryable = TABLE[code]
    error = error_from_status(status(code))
    assert type(error) is expected
    assert error.retryable is retryable
    assert str(error) == f"it happened; {expected.advice}"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_advice_is_about_starts_when_an_operation_is_meant(code: grpc.StatusCode) -> None:
    """Whoever fetched a keyset has nothing to attach to, and no id to repeat."""
    error = error_from_status(status(code))
    for word in ("same id", "operation", "a start", "another id"):
        assert word not in str(error)
    expected = error.advice_on_operation or error.advice
    assert error.of_operation() is error
    assert str(error) == f"it happened; {expected}"


def test_advice_of_the_gateway_is_kept_when_an_operation_is_meant() -> None:
    """It knows better."""
    info = error_details_pb2.ErrorInfo(reason="CHANGED", domain="isthmus", metadata={"fix": "Do this."})
    error = error_from_status(status(grpc.StatusCode.ABORTED, info))
    assert str(error.of_operation()) == "it happened [CHANGED]. Do this."


def test_details_are_kept_when_the_domain_is_ours() -> None:
    """Reason, fix, delay; reasons of others are not mistaken for ours."""
    info = error_details_pb2.ErrorInfo(reason="RATE", domain="isthmus", metadata={"fix": "slow down"})
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    error = error_from_status(status(grpc.StatusCode.RESOURCE_EXHAUSTED, info, retry))
    assert (error.reason, error.retry_after_seconds) == ("RATE", 1.5)
    assert str(error) == "it happened [RATE]; slow down"
    foreign = error_details_pb2.ErrorInfo(reason="KEY_RETIRED", domain="example.com")
    assert error_from_status(status(grpc.StatusCode.ABORTED, foreign)).reason == ""


def test_retired_key_has_an_error_of_its_own_when_reported() -> None:
    """The recipient's or one's own, whatever the code."""
    for reason in ("KEY_RETIRED", "SENDER_KEY_UNKNOWN"):
        info = error_details_pb2.ErrorInfo(reason=reason, domain="isthmus")
        for code in (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION):
            assert type(error_from_status(status(code, info))) is errors.KeyRetiredError


def test_expired_operation_has_an_error_of_its_own_when_reported() -> None:
    """Whoever minds it only as a state that does not allow it need not know of it."""
    info = error_details_pb2.ErrorInfo(reason="OPERATION_EXPIRED", domain="isthmus")
    error = error_from_status(status(grpc.StatusCode.FAILED_PRECONDITION, info))
    assert type(error) is errors.OperationExpiredError
    assert isinstance(error, errors.PreconditionFailedError)
    assert not error.retryable


def test_garbage_is_an_internal_error_when_received() -> None:
    """A gateway can send anything."""
    assert type(error_from_status(b"\xff\xff")) is errors.GatewayInternalError


class FailedRpc:
    """What gRPC raises."""

    def __init__(self, details: bytes | None) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return the text."""
        return "connection refused"

    def trailing_metadata(self) -> list[tuple[str, str | bytes]] | None:
        """Return the trailers."""
        return None if self._details is None else [("grpc-status-details-bin", self._details)]


def test_trailers_win_when_present() -> None:
    """Details say more than the code."""
    assert type(error_from_rpc(FailedRpc(None))) is errors.ConnectionLostError
    assert "connection refused" in str(error_from_rpc(FailedRpc(None)))
    assert type(error_from_rpc(FailedRpc(status(grpc.StatusCode.NOT_FOUND)))) is errors.NotFoundError


def test_address_is_named_when_nobody_answers_there() -> None:
    """Sockets mean little to people; what the gateway itself says stays as it is."""
    lost = error_from_rpc(FailedRpc(None), address="gw.example.com:7243")
    assert lost.message == "cannot reach gw.example.com:7243: connection refused"
    busy = error_from_rpc(FailedRpc(status(grpc.StatusCode.UNAVAILABLE)), address="gw.example.com:7243")
    assert busy.message == "it happened"


def test_ca_file_is_the_advice_when_the_certificate_is_not_trusted() -> None:
    """The gateway runs, and its address is right: neither has to be checked."""
    handshake = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
    )
    error = error_from_rpc(handshake, address="https://gw.example.com")
    assert error.retryable
    assert "ISTHMUS_CA_FILE" in str(error)
    assert "check the address" not in str(error)


def test_advice_is_this_ends_own_when_no_credential_was_sent() -> None:
    """The gateway speaks of metadata; people have profiles."""
    info = error_details_pb2.ErrorInfo(
        reason="CREDENTIAL_MISSING", domain="isthmus", metadata={"fix": "Send one metadata entry."}
    )
    error = error_from_status(status(grpc.StatusCode.UNAUTHENTICATED, info))
    assert "metadata" not in str(error)
    other = error_details_pb2.ErrorInfo(reason="OTHER", domain="isthmus", metadata={"fix": "Do this."})
    assert str(error_from_status(status(grpc.StatusCode.NOT_FOUND, other))) == "it happened [OTHER]. Do this."
    assert "ISTHMUS_CONFIG" in str(error)


def test_connection_is_lost_when_grpc_itself_says_internal() -> None:
    """A write that meets the end of its call is no failure of the gateway's."""
    ended = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Internal error from Core"
    )
    assert type(error_from_rpc(ended)) is errors.ConnectionLostError
    said = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="it failed"
    )
    assert type(error_from_rpc(said)) is errors.GatewayInternalError
