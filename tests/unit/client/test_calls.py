"""Starts, results, attaches and cancels through a gateway in memory."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import nexusrpc
import pytest
from tests.unit.client.conftest import Charge, Payments, Receipt, Running, connect
from tests.unit.client.fake_gateway import RefusalError

from isthmus.client import (
    Client,
    ClientOutbound,
    HandleInput,
    Interceptor,
    StartInput,
    SyncClient,
)
from isthmus.client.errors import (
    AlreadyExistsError,
    AttestedHandlerError,
    AttestedOperationError,
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    OperationCanceledError,
    OperationTimedOutError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UnprovenOutcomeError,
    UnverifiedAnswerError,
)
from isthmus.keys.errors import TrustError
from isthmus.v1 import operation_pb2
from isthmus.wire.limits import MAX_BODY_BYTES
from isthmus.wire.names import parse_operation_id
from isthmus.wire.public_key import KeyKind

ORDER = Charge(order="42", cents=300)
PAID = Receipt(order="42", paid=300)


async def test_result_arrives_typed_when_operation_succeeds(client: Client) -> None:
    """Dataclass in, dataclass out."""
    payments = client.create_nexus_client("payments", Payments)
    assert await payments.execute_operation(Payments.charge, ORDER, id="order-42") == PAID


async def test_operation_is_found_when_given_by_name(client: Client) -> None:
    """A name works like the attribute; without the class the result is plain JSON."""
    assert await client.create_nexus_client("payments", Payments).execute_operation("charge", ORDER) == PAID
    by_name = client.create_nexus_client("payments", "Payments")
    assert await by_name.execute_operation("charge", ORDER) == {"order": "42", "paid": 300}


def test_result_arrives_typed_when_client_is_sync(sync_client: SyncClient) -> None:
    """The same surface without an event loop."""
    payments = sync_client.create_nexus_client("payments", Payments)
    assert payments.execute_operation(Payments.charge, ORDER) == PAID
    handle = payments.start_operation(Payments.charge, ORDER, id="a")
    assert handle.result() == PAID
    assert handle.describe().waiting == "no_poller"
    again = sync_client.get_operation_handle(handle.operation_id, result_type=Receipt)
    assert again.result() == PAID


async def test_handle_of_another_process_verifies_when_made_from_id(client: Client) -> None:
    """The id alone is enough: request proof, own signature, request digest."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.charge, ORDER, id="order-42")
    restarted = client.get_operation_handle(handle.operation_id, result_type=Receipt)
    assert await restarted.result() == PAID
    by_id = payments.get_operation_handle(Payments.charge, id="order-42")
    assert by_id.operation_id == handle.operation_id
    assert await by_id.result() == PAID


async def test_second_start_attaches_when_id_is_used_again(client: Client, running: Running) -> None:
    """Same id and input: one operation, whatever is sealed."""
    payments = client.create_nexus_client("payments", Payments)
    first = await payments.start_operation(Payments.charge, ORDER, id="order-42")
    second = await payments.start_operation(Payments.charge, ORDER, id="order-42")
    assert first.operation_id == second.operation_id
    assert await second.result() == PAID
    assert len(running.gateway.operations) == 1


async def test_conflict_is_raised_when_id_is_used_with_another_input(client: Client) -> None:
    """The client itself compares the fingerprint that its namespace signed."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.start_operation(Payments.charge, ORDER, id="order-42")
    with pytest.raises(ConflictError, match="another input"):
        await payments.start_operation(Payments.charge, replace(ORDER, cents=1), id="order-42")
    await payments.start_operation(Payments.charge, replace(ORDER, cents=1), id="order-42", fingerprint=False)


async def test_input_is_refused_when_it_is_larger_than_an_operation_carries(
    client: Client, running: Running
) -> None:
    """An error of this package that says what to do instead; a label that breaks the rules is one, too."""
    payments = client.create_nexus_client("payments", "Payments")
    with pytest.raises(PayloadTooLargeError, match=r"4 MiB.*pass a reference"):
        await payments.execute_operation("charge", {"order": "x" * MAX_BODY_BYTES})
    with pytest.raises(ConfigurationError, match="header is not valid"):
        await payments.execute_operation("charge", ORDER, labels={"": "x" * 100_000})
    assert not running.gateway.operations


async def test_called_method_is_named_when_a_keyword_is_unknown(
    client: Client, sync_client: SyncClient
) -> None:
    """As Python does it for a function of one's own."""
    payments = client.create_nexus_client("payments", "Payments")
    sync_payments = sync_client.create_nexus_client("payments", "Payments")
    wrong: Any = {"timeout": 3}
    with pytest.raises(TypeError, match=r"^execute_operation\(\) got an unexpected .* 'timeout'"):
        await payments.execute_operation("charge", ORDER, **wrong)
    with pytest.raises(TypeError, match=r"^start_operation\(\) got"):
        await payments.start_operation("charge", ORDER, **wrong)
    with pytest.raises(TypeError, match=r"^execute_operation\(\) got"):
        sync_payments.execute_operation("charge", ORDER, **wrong)
    with pytest.raises(TypeError, match=r"^start_operation\(\) got"):
        sync_payments.start_operation("charge", ORDER, **wrong)


async def test_existing_operation_is_refused_when_policy_is_reject(client: Client) -> None:
    """Somebody else's start under the id is an error."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.start_operation(Payments.charge, ORDER, id="a", reuse_policy="reject")
    with pytest.raises(AlreadyExistsError):
        await payments.start_operation(Payments.charge, ORDER, id="a", reuse_policy="reject")


async def test_own_start_is_recognized_when_answer_was_lost_under_reject(
    client: Client, running: Running
) -> None:
    """The repeated bytes find the operation that they created."""
    running.gateway.broken_answers = 1
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.charge, ORDER, id="a", reuse_policy="reject")
    assert await handle.result() == PAID


async def test_next_generation_starts_when_handler_signed_the_failure(
    client: Client, running: Running
) -> None:
    """restart_if_failed needs the handler's word."""
    attempts: list[object] = []

    def flaky(value: dict[str, object]) -> dict[str, object]:
        attempts.append(value)
        if len(attempts) == 1:
            raise nexusrpc.OperationError("no funds", state=nexusrpc.OperationErrorState.FAILED)
        return {"order": value["order"], "paid": 1}

    running.gateway.handlers["fail"] = flaky
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(AttestedOperationError):
        await payments.execute_operation(Payments.fail, ORDER, id="a", reuse_policy="restart_if_failed")
    paid = await payments.execute_operation(Payments.fail, ORDER, id="a", reuse_policy="restart_if_failed")
    assert paid.paid == 1
    assert len(running.gateway.operations) == 2


async def test_nothing_restarts_when_only_the_gateway_says_failed(client: Client, running: Running) -> None:
    """An unproven ending never permits another generation."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER, id="a")
    running.gateway.state(parse_operation_id(handle.operation_id), operation_pb2.STATEMENT_KIND_TERMINATED)
    with pytest.raises(UnprovenOutcomeError, match="terminated"):
        await payments.execute_operation(Payments.hang, ORDER, id="a", reuse_policy="restart_if_failed")
    assert len(running.gateway.operations) == 1


async def test_exception_arrives_with_causes_when_handler_raises(client: Client, running: Running) -> None:
    """Type, message, retryability and cause chain, attested."""
    cards: dict[str, str] = {}

    def broken(value: dict[str, str]) -> object:
        try:
            return cards[value["order"]]
        except KeyError as error:
            raise nexusrpc.HandlerError("no card", type="NOT_FOUND") from error

    running.gateway.handlers["fail"] = broken
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(nexusrpc.HandlerError, match="no card") as caught:
        await payments.execute_operation(Payments.fail, ORDER)
    assert isinstance(caught.value, AttestedHandlerError)
    assert caught.value.type is nexusrpc.HandlerErrorType.NOT_FOUND
    assert caught.value.attested
    assert caught.value.operation_id.startswith("op-")
    assert "KeyError" in str(caught.value.__cause__)


async def test_cancel_is_proven_when_own_cancel_comes_back(client: Client) -> None:
    """CANCELED by the gateway counts with the caller's own signed cancel."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    await client.get_operation_handle(handle.operation_id).cancel()
    with pytest.raises(OperationCanceledError) as caught:
        await handle.result()
    assert caught.value.state is nexusrpc.OperationErrorState.CANCELED


async def test_cancel_is_unproven_when_nobody_asked_for_it(client: Client, running: Running) -> None:
    """CANCELED without a cancel is the gateway's word only."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    running.gateway.state(parse_operation_id(handle.operation_id), operation_pb2.STATEMENT_KIND_CANCELED)
    with pytest.raises(UnprovenOutcomeError, match="canceled"):
        await handle.result()


@pytest.mark.parametrize(
    ("timeout_ms", "error"), [(1, OperationTimedOutError), (60_000, UnprovenOutcomeError)]
)
async def test_timeout_is_believed_when_own_deadline_has_passed(
    client: Client, running: Running, timeout_ms: int, error: type[Exception]
) -> None:
    """TIMED_OUT before its time is unproven."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(
        Payments.hang, ORDER, schedule_to_start_timeout=timedelta(milliseconds=timeout_ms)
    )
    kind = operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_START
    running.gateway.state(parse_operation_id(handle.operation_id), kind)
    with pytest.raises(error):
        await handle.result()


async def test_result_of_another_operation_is_refused_when_served(client: Client, running: Running) -> None:
    """An outcome answers the very request."""
    payments = client.create_nexus_client("payments", Payments)
    first = await payments.start_operation(Payments.charge, ORDER, id="a")
    other = running.gateway.operations[parse_operation_id(first.operation_id)].ending
    second = await payments.start_operation(Payments.hang, ORDER, id="b")
    running.gateway.operations[parse_operation_id(second.operation_id)].ending = other
    with pytest.raises(UnverifiedAnswerError):
        await second.result()


async def test_request_of_a_stranger_is_refused_when_attached(client: Client, running: Running) -> None:
    """The gateway cannot hand out another request under this id."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.start_operation(Payments.charge, ORDER, id="a")

    def tamper(status: operation_pb2.OperationStatus) -> None:
        status.request.body_digest = bytes(32)

    running.gateway.tamper = tamper
    with pytest.raises(UnverifiedAnswerError):
        await payments.start_operation(Payments.charge, ORDER, id="a")


async def test_attach_is_refused_when_gateway_shows_no_request(client: Client, running: Running) -> None:
    """Attached without proof is no answer."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.start_operation(Payments.charge, ORDER, id="a")
    running.gateway.tamper = lambda status: status.ClearField("request")
    with pytest.raises(UnverifiedAnswerError):
        await payments.start_operation(Payments.charge, ORDER, id="a")


async def test_nothing_is_sent_when_endpoint_is_not_pinned(client: Client, running: Running) -> None:
    """Whose endpoint it is, the pins say."""
    with pytest.raises(TrustError):
        await client.create_nexus_client("elsewhere", Payments).start_operation(Payments.charge, ORDER)
    assert running.gateway.starts == []


async def test_request_is_sealed_again_when_key_was_retired(client: Client, running: Running) -> None:
    """KEY_RETIRED: newest keyset, another sealing."""
    gateway = running.gateway
    payments = client.create_nexus_client("payments", Payments)
    await payments.execute_operation(Payments.charge, ORDER)
    gateway.handler.rotate(KeyKind.ENCRYPTION)
    gateway.publish()
    client.key_directory._cache._interval_ms = 0
    gateway.refusals.append(RefusalError(grpc.StatusCode.ABORTED, "KEY_RETIRED"))
    refreshed = gateway.caller.refreshed
    assert await payments.execute_operation(Payments.charge, ORDER) == PAID
    assert len(set(gateway.starts)) == 3
    assert gateway.caller.refreshed > refreshed


async def test_outcome_is_verified_when_handler_rotated_its_signing_key(
    client: Client, running: Running
) -> None:
    """A running client follows rotation without restart."""
    gateway = running.gateway
    payments = client.create_nexus_client("payments", Payments)
    await payments.execute_operation(Payments.charge, ORDER)
    gateway.handler.rotate(KeyKind.SIGNING)
    gateway.publish()
    client.key_directory._cache._interval_ms = 0
    assert await payments.execute_operation(Payments.charge, ORDER) == PAID


async def test_error_says_what_to_do_when_gateway_refuses(client: Client, running: Running) -> None:
    """Reason, and the fix that the gateway names."""
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.PERMISSION_DENIED, "POLICY"))
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(PermissionDeniedError, match="try this") as caught:
        await payments.start_operation(Payments.charge, ORDER)
    assert caught.value.reason == "POLICY"


async def test_wait_ends_when_its_timeout_is_over(client: Client) -> None:
    """The operation goes on; the wait does not."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    with pytest.raises(DeadlineExceededError):
        await handle.result(timeout=timedelta(milliseconds=50))


async def test_waiter_wakes_when_operation_ends_later(client: Client, running: Running) -> None:
    """Long poll."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    waiting = asyncio.create_task(handle.result())
    await asyncio.to_thread(
        running.gateway.complete, parse_operation_id(handle.operation_id), {"order": "42", "paid": 300}
    )
    assert await waiting == PAID


async def test_interceptors_wrap_calls_when_given(running: Running) -> None:
    """The first one is the outermost; it sees starts and results, and may change them."""
    seen: list[str] = []

    class Noting(ClientOutbound):
        """A layer with a name."""

        def __init__(self, next: ClientOutbound, name: str) -> None:  # noqa: A002
            super().__init__(next)
            self.name = name

        async def execute_operation(self, input: StartInput) -> Any:  # noqa: A002, ANN401
            seen.append(self.name)
            labeled = replace(input, options=replace(input.options, labels={"purpose": "billing"}))
            return await super().execute_operation(labeled)

        async def get_result(self, input: HandleInput) -> Any:  # noqa: A002, ANN401
            seen.append(f"{self.name} result of {input.known.shown_id[:3]}")
            return await super().get_result(input)

    class Named(Interceptor):
        """Makes a layer with a name."""

        def __init__(self, name: str) -> None:
            self.name = name

        def intercept_client(self, next: ClientOutbound) -> ClientOutbound:  # noqa: A002
            return Noting(next, self.name)

    gateway = running.gateway
    async with await connect(running, Named("outer"), Named("inner")) as client:
        payments = client.create_nexus_client("payments", Payments)
        assert await payments.execute_operation(Payments.charge, ORDER, id="a") == PAID
        assert await payments.get_operation_handle(Payments.charge, id="a").result() == PAID
    assert seen == ["outer", "inner", "outer result of op-", "inner result of op-"]
    (operation,) = gateway.operations.values()
    assert operation.header.labels == (("purpose", "billing"),)


async def test_unknown_operation_is_not_found_when_asked_for(client: Client) -> None:
    """NOT_FOUND arrives as such."""
    with pytest.raises(NotFoundError):
        await client.get_operation_handle("op-" + "a" * 26).result()


async def test_deadline_is_exceeded_when_start_is_acknowledged_too_late(
    client: Client, running: Running
) -> None:
    """A start that was repeated until its own time was over is no invalid request."""
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_EXPIRED"))
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(DeadlineExceededError, match="not acknowledged within its timeout"):
        await payments.start_operation(
            Payments.charge, ORDER, id="a", schedule_to_close_timeout=timedelta(milliseconds=1)
        )


async def test_request_is_invalid_when_gateway_calls_a_fresh_start_expired(
    client: Client, running: Running
) -> None:
    """Then a clock is wrong, and repeating does not help."""
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_EXPIRED"))
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(InvalidRequestError, match="MESSAGE_EXPIRED"):
        await payments.start_operation(Payments.charge, ORDER, id="a")
