"""Tasks that do not end well: what the caller reads, what the gateway learns, what the log says."""

import asyncio
import logging

import nexusrpc
import pytest
from tests.unit.worker.gateway import Gateway, start_task
from tests.unit.worker.parties import Caller, HandlerClient
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler

from isthmus.payload.failures import exception_from_payload
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction


class Opaque:
    """Has no JSON form."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        """Show what must not be in a log."""
        return self.text


async def answer(
    gateway: Gateway, client: HandlerClient, caller: Caller, raises: Exception
) -> tuple[worker_service_pb2.TaskOutcome, Exception]:
    """Run a handler that raises; return the outcome, and what its caller will see."""
    request = caller.request("fail", "input")
    async with running(client, PaymentsHandler(raises=raises)):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    if outcome.WhichOneof("outcome") == "retry":
        opened = caller.open(outcome.retry.envelope, request, Direction.FAILURE)
    else:
        canceled = isinstance(raises, nexusrpc.OperationError) and raises.state.value == "canceled"
        direction = Direction.CANCELED if canceled else Direction.FAILURE
        opened = caller.open(outcome.envelope, request, direction)
    return outcome, exception_from_payload(opened.payload)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("BAD_REQUEST", "envelope"),
        ("UNAUTHENTICATED", "envelope"),
        ("UNAUTHORIZED", "envelope"),
        ("NOT_FOUND", "envelope"),
        ("CONFLICT", "envelope"),
        ("NOT_IMPLEMENTED", "envelope"),
        ("REQUEST_TIMEOUT", "retry"),
        ("RESOURCE_EXHAUSTED", "retry"),
        ("INTERNAL", "retry"),
        ("UNAVAILABLE", "retry"),
        ("UPSTREAM_TIMEOUT", "retry"),
    ],
)
async def test_retry_follows_the_nexus_type_when_a_handler_error_is_raised(
    gateway: Gateway, client: HandlerClient, caller: Caller, kind: str, ending: str
) -> None:
    """A retryable HandlerError asks for another attempt, the others end the operation."""
    outcome, error = await answer(gateway, client, caller, nexusrpc.HandlerError("no", type=kind))
    assert outcome.WhichOneof("outcome") == ending
    assert outcome.retry.error_type == (kind if ending == "retry" else "")
    assert isinstance(error, nexusrpc.HandlerError)
    assert (error.type.value, error.message) == (kind, "no")


@pytest.mark.parametrize(("kind", "ending"), [("INTERNAL", "envelope"), ("BAD_REQUEST", "retry")])
async def test_retry_follows_the_handler_when_it_overrides_its_type(
    gateway: Gateway, client: HandlerClient, caller: Caller, kind: str, ending: str
) -> None:
    """retryable_override wins over the type, either way, and arrives as it was."""
    is_retryable = ending == "retry"
    raised = nexusrpc.HandlerError("no", type=kind, retryable_override=is_retryable)
    outcome, error = await answer(gateway, client, caller, raised)
    assert outcome.WhichOneof("outcome") == ending
    assert isinstance(error, nexusrpc.HandlerError)
    assert error.retryable_override is is_retryable


@pytest.mark.parametrize("state", list(nexusrpc.OperationErrorState))
async def test_operation_ends_when_an_operation_error_is_raised(
    gateway: Gateway, client: HandlerClient, caller: Caller, state: nexusrpc.OperationErrorState
) -> None:
    """Failed and canceled are endings, each under its direction."""
    outcome, error = await answer(gateway, client, caller, nexusrpc.OperationError("over", state=state))
    assert outcome.WhichOneof("outcome") == "envelope"
    assert isinstance(error, nexusrpc.OperationError)
    assert error.state is state


async def test_cause_reaches_the_caller_but_not_the_log_when_an_unknown_exception_is_raised(
    gateway: Gateway, client: HandlerClient, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as INTERNAL and retryable; its text is sealed for the caller and absent from the log."""
    with caplog.at_level(logging.INFO, logger="isthmus.worker"):
        outcome, error = await answer(gateway, client, caller, ValueError("card 4711 is unknown"))
    assert outcome.retry.error_type == "INTERNAL"
    assert "card 4711" in str(error.__cause__)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "ValueError at services.py" in record.getMessage()
    assert "4711" not in caplog.text
    assert record.__dict__["attempt"] == 1


async def test_input_is_a_bad_request_when_it_does_not_fit_the_type(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """What does not deserialize is the caller's error: not tried again, and the handler does not run."""
    request = caller.request("charge", {"order": 7})
    handler = PaymentsHandler()
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    error = exception_from_payload(caller.open(outcome.envelope, request, Direction.FAILURE).payload)
    assert isinstance(error, nexusrpc.HandlerError)
    assert error.type is nexusrpc.HandlerErrorType.BAD_REQUEST
    assert handler.runs == 0


@pytest.mark.parametrize(("service", "operation"), [("Payments", "refund"), ("Refunds", "charge")])
async def test_operation_is_not_found_when_nobody_serves_it(
    gateway: Gateway, client: HandlerClient, caller: Caller, service: str, operation: str
) -> None:
    """An unknown service or operation ends as NOT_FOUND; the caller reads which ones there are."""
    request = caller.request(operation, Charge("o", 1), service=service)
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    error = exception_from_payload(caller.open(outcome.envelope, request, Direction.FAILURE).payload)
    assert isinstance(error, nexusrpc.HandlerError)
    assert error.type is nexusrpc.HandlerErrorType.NOT_FOUND
    there = "Payments" if service == "Refunds" else "anything, charge, charge_in_thread, fail, settle, wait"
    assert f"there are: {there}" in str(error)


async def test_operation_fails_when_its_token_is_too_long(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A token over 4096 bytes is the handler's error, and another attempt would make the same one."""
    request = caller.request("settle", Charge("x" * 4097, 1))
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    error = exception_from_payload(caller.open(outcome.envelope, request, Direction.FAILURE).payload)
    assert "4097 bytes" in str(error)


@pytest.mark.parametrize(("result", "problem"), [(object(), "serialized"), (b"x" * 5_000_000, "sealed")])
async def test_operation_fails_when_its_result_cannot_travel(
    gateway: Gateway, client: HandlerClient, caller: Caller, result: object, problem: str
) -> None:
    """The handler has done its work: another attempt would make the same result, so there is none."""
    request = caller.request("anything", None)
    async with running(client, PaymentsHandler(result=result)):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    error = exception_from_payload(caller.open(outcome.envelope, request, Direction.FAILURE).payload)
    assert f"cannot be {problem}" in str(error)


@pytest.mark.parametrize("result", [{"secret-key": [Opaque("secret-text")]}, Opaque("secret-text")])
async def test_log_names_the_type_when_a_result_cannot_be_serialized(
    gateway: Gateway, client: HandlerClient, caller: Caller, caplog: pytest.LogCaptureFixture, result: object
) -> None:
    """Operation and type, not a line of the SDK, and nothing of the value."""
    request = caller.request("anything", None)
    async with running(client, PaymentsHandler(result=result)):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        await stream.outcome()
    (line,) = (record.getMessage() for record in caplog.records if "failed" in record.getMessage())
    assert "operation=Payments/anything" in line
    assert "Opaque cannot be serialized" in line
    assert "start_task.py" not in line
    assert "secret" not in line


async def test_task_is_tried_again_when_something_inside_the_handler_was_canceled(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A CancelledError that nobody sent from outside is a failure of the handler, not a cancel."""
    request = caller.request("anything", None)
    async with running(client, PaymentsHandler(result=asyncio.CancelledError())):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    assert outcome.retry.error_type == "INTERNAL"
    assert caller.open(outcome.retry.envelope, request, Direction.FAILURE).digest


async def test_worker_lives_on_when_a_handler_exits(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """``sys.exit`` in a handler is its failure: it must not take one worker after the other with it."""
    request = caller.request("anything", None)
    handler = PaymentsHandler(result=SystemExit(3))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        first = await stream.outcome()
        handler.result = None
        again = caller.request("anything", None)
        stream.send(tasks=[start_task(again)])
        second = await stream.outcome()
    assert first.retry.error_type == "INTERNAL"
    error = exception_from_payload(caller.open(first.retry.envelope, request, Direction.FAILURE).payload)
    assert "SystemExit(3)" in str(error)
    assert second.WhichOneof("outcome") == "envelope"
