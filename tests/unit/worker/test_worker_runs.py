"""Tasks that end well: opened, run, sealed."""

from datetime import timedelta

import pytest
from tests.unit.worker.gateway import Gateway, start_task
from tests.unit.worker.parties import DAY_MS, Caller, HandlerClient
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler, Receipt

from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id
from isthmus.worker import (
    ExecuteNexusOperationStartInput,
    Interceptor,
    NexusOperationInboundInterceptor,
    NotInTaskError,
    current,
)
from isthmus.worker.interceptor import StartResult

CONVERTER = DefaultPayloadConverter()


async def test_result_is_sealed_for_the_caller_when_a_handler_returns(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The outcome carries the digest of the request and opens under the caller's strict expectations."""
    request = caller.request("charge", Charge("order-1", 100))
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    opened = caller.open(outcome.envelope, request, Direction.RESULT)
    assert CONVERTER.from_payload(opened.payload, Receipt) == Receipt("order-1", "paid 100")
    assert opened.header.principal == client.principal


async def test_context_comes_from_the_signed_header_when_a_handler_asks(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Caller, labels, deadline and operation id are those that the caller signed."""
    handler = PaymentsHandler()
    request = caller.request(
        "charge", Charge("order-1", 100), labels=(("purpose", "test"),), headers=(("trace", "1"),)
    )
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request, attempt=3)])
        await stream.outcome()
    context, start = handler.contexts[0], handler.starts[0]
    assert context.caller_namespace == "data-team"
    assert context.caller_principal == "spiffe://test.example/airflow"
    assert context.labels == {"purpose": "test"}
    assert (context.attempt, context.task_queue, context.endpoint) == (3, "payments", "payments")
    assert context.operation_id == start.request_id == format_operation_id(request.header.operation_id)
    issued = context.deadline - timedelta(milliseconds=DAY_MS)
    assert round(issued.timestamp() * 1000) == request.header.issued_at_ms
    assert start.headers == {"trace": "1"}
    assert context.logger.extra == {
        "operation_id": context.operation_id,
        "endpoint": "payments",
        "caller_namespace": "data-team",
        "attempt": 3,
    }


async def test_context_is_there_when_a_handler_runs_in_a_thread(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A ``def`` handler runs in the executor with the context variables of its task."""
    handler = PaymentsHandler()
    request = caller.request("charge_in_thread", Charge("order-2", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    assert caller.open(outcome.envelope, request, Direction.RESULT).digest
    assert handler.threads[0].startswith("isthmus-handler")
    assert handler.contexts[0].operation_id == format_operation_id(request.header.operation_id)


def test_current_task_is_refused_when_there_is_none() -> None:
    """Outside of a handler the error says what to do."""
    with pytest.raises(NotInTaskError, match="inside an operation handler"):
        current()


async def test_token_is_sealed_to_the_handler_when_an_operation_finishes_later(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The STARTED envelope is for the handler's own namespace: its caller cannot open it."""
    request = caller.request("settle", Charge("order-3", 1))
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    own = Caller(keyring=client.keyring, handler=client.keyring)
    assert own.open(outcome.envelope, request, Direction.STARTED).payload.data == b"order-3"


class UpperInbound(NexusOperationInboundInterceptor):
    """Changes the input on the way in."""

    async def execute_nexus_operation_start(self, input: ExecuteNexusOperationStartInput) -> StartResult:  # noqa: A002
        """Change it."""
        input.input = Charge(input.input.order.upper(), input.input.cents)
        return await self.next.execute_nexus_operation_start(input)


class Upper(Interceptor):
    """Puts UpperInbound before the handlers."""

    def intercept_nexus_operation(
        self,
        next: NexusOperationInboundInterceptor,  # noqa: A002
    ) -> NexusOperationInboundInterceptor:
        """Stand before ``next``."""
        return UpperInbound(next)


async def test_interceptor_sees_the_deserialized_input_when_a_task_runs(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Interceptors stand between the worker and the handlers."""
    request = caller.request("charge", Charge("order-4", 5))
    async with running(client, PaymentsHandler(), interceptors=[Upper()]):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        outcome = await stream.outcome()
    opened = caller.open(outcome.envelope, request, Direction.RESULT)
    assert CONVERTER.from_payload(opened.payload, Receipt).order == "ORDER-4"


async def test_outcomes_share_frames_when_many_tasks_arrive_at_once(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Sixty-four tasks of one frame are answered in frames, each once, and their credits come back."""
    requests = {
        request.header.operation_id: request
        for request in (caller.request("charge", Charge("o", number)) for number in range(64))
    }
    async with running(client, PaymentsHandler(), max_concurrent_tasks=64):
        stream = await gateway.stream()
        assert stream.credits == 64
        stream.send(tasks=[start_task(request) for request in requests.values()])
        answered = {(await stream.outcome()).task.operation_id for _ in requests}
    assert answered == set(requests)
    assert stream.largest_frame > 1
    assert stream.credits == 128
