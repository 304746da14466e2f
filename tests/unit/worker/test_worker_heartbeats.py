"""What handlers say while they run, and what the next attempt gets to know of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.unit.worker.gateway import Gateway, Stream, start_task
from tests.unit.worker.parties import Caller, HandlerClient, now_ms

from isthmus.envelope.expected import Expected
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.open import open_envelope
from isthmus.envelope.seal import RecipientKey, Sealed, seal
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.payload import Payload
from isthmus.v1 import worker_service_pb2
from isthmus.wire import limits
from isthmus.wire.header import Direction, Header, progress_sequence
from isthmus.wire.names import NamespaceName
from isthmus.worker import (
    Reported,
    ReportRefusedError,
    ReportTooLargeError,
    TaskContext,
    TaskLostError,
    Worker,
    current,
)

CONVERTER = DefaultPayloadConverter()
LONG = timedelta(hours=1)
Body = Callable[[TaskContext], Awaitable[Any]]


@dataclass
class Place:
    """Where a handler is."""

    page: int


@nexusrpc.service
class Steps:
    """The service."""

    take: nexusrpc.Operation[None, Any]
    take_in_thread: nexusrpc.Operation[None, Any]


@service_handler(service=Steps)
@dataclass
class StepsHandler:
    """Does what the test says."""

    body: Body
    in_thread: Callable[[TaskContext], Any] = field(default=lambda _: None)

    @sync_operation
    async def take(self, _ctx: StartOperationContext, _input: None) -> Any:  # noqa: ANN401
        """Run the test's coroutine."""
        return await self.body(current())

    @sync_operation
    def take_in_thread(self, _ctx: StartOperationContext, _input: None) -> Any:  # noqa: ANN401
        """Run the test's function."""
        return self.in_thread(current())


async def nothing(_context: TaskContext) -> None:
    """Do nothing."""


@dataclass
class World:
    """A worker of Steps, and its gateway."""

    gateway: Gateway
    client: HandlerClient
    caller: Caller
    handler: StepsHandler
    worker: Worker
    stream: Stream

    def send(self, operation: str = "take", *, attempt: int = 1, details: bytes = b"") -> Sealed:
        """Deliver a task; return its request."""
        request = self.caller.request(operation, None, service="Steps")
        self.deliver(request, attempt=attempt, details=details)
        return request

    def deliver(self, request: Sealed, *, attempt: int, details: bytes = b"") -> None:
        """Deliver an attempt of a request."""
        task = start_task(request, attempt=attempt)
        task.details = details
        self.stream.send(tasks=[task])

    def open(self, report: worker_service_pb2.TaskReport, request: Sealed) -> Payload:
        """Open details as strictly as the next attempt does."""
        header = request.header
        namespace = self.client.namespace
        return open_envelope(
            report.heartbeat.details,
            expected=Expected(
                directions=frozenset({Direction.DETAILS}),
                trust_domain=header.trust_domain,
                sender_namespace=namespace,
                recipient_namespace=namespace,
                endpoint=header.endpoint,
                service=header.service,
                operation=header.operation,
                operation_id=header.operation_id,
                request_digest=request.digest,
            ),
            sender_keys=self.client.keyring.keyset(),
            decrypter=self.client.keyring,
            namespace=namespace,
            now_ms=now_ms(),
        ).payload

    def details(
        self,
        request: Sealed,
        value: object,
        *,
        attempt: str = "1",
        signer: SigningPrivateKey | None = None,
        **changes: Any,
    ) -> bytes:
        """Seal details as an earlier attempt did, or as somebody else would."""
        keyring = self.client.keyring
        namespace = NamespaceName(keyring.namespace)
        signer = signer or keyring.signing_key()
        asked = request.header
        header = Header(
            direction=Direction.DETAILS,
            trust_domain=asked.trust_domain,
            sender_namespace=namespace,
            sender_key_id=signer.key_id,
            principal="w",
            recipient_namespace=namespace,
            endpoint=asked.endpoint,
            service=asked.service,
            operation=asked.operation,
            operation_id=asked.operation_id,
            message_id=os.urandom(16),
            request_digest=request.digest,
            issued_at_ms=now_ms(),
            recipients=(namespace,),
        )._replace(**changes)
        payload = CONVERTER.to_payload(value)._replace(headers=(("isthmus-attempt", attempt),))
        key = RecipientKey(namespace=namespace, key=keyring.sealing_key())
        return seal(header, payload, signer=signer, recipients=(key,)).envelope


@pytest.fixture
async def world(gateway: Gateway, client: HandlerClient, caller: Caller) -> AsyncIterator[World]:
    """A worker whose reports go out once an hour unless somebody waits for them."""
    handler = StepsHandler(nothing)
    worker = Worker(client, task_queue="q", nexus_service_handlers=[handler], heartbeat_interval=LONG)
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    yield World(gateway, client, caller, handler, worker, stream)
    await worker.shutdown()
    await job


def value_of(payload: Payload) -> Any:  # noqa: ANN401 - whatever was reported
    """Return what was reported."""
    return CONVERTER.from_payload(payload)


async def test_details_are_sealed_to_the_own_namespace_when_a_handler_reports(world: World) -> None:
    """Bound to operation, request and attempt; the first one leaves at once."""
    release = asyncio.Event()

    async def body(context: TaskContext) -> None:
        context.heartbeat({"page": 7})
        await release.wait()

    world.handler.body = body
    request = world.send(attempt=3)
    report = await world.stream.report()
    assert report.task.attempt == 3
    payload = world.open(report, request)
    assert value_of(payload) == {"page": 7}
    assert dict(payload.headers) == {"isthmus-attempt": "3"}
    release.set()
    await world.stream.outcome()


async def test_latest_details_win_when_a_handler_reports_faster_than_they_leave(world: World) -> None:
    """One report is on its way, the others are merged into the next one; all are durable with it."""
    reported: list[Reported] = []

    async def body(context: TaskContext) -> None:
        reported.extend(context.heartbeat(number) for number in range(5))
        context.heartbeat()
        await reported[1].durable()

    world.handler.body = body
    request = world.send()
    first = await world.stream.report(acknowledge=False)
    assert value_of(world.open(first, request)) == 0
    assert world.stream.no_report()
    world.stream.acknowledge_report(first)
    # Somebody waits: it leaves before its hour.
    second = await world.stream.report()
    assert value_of(world.open(second, request)) == 4
    await world.stream.outcome()


async def test_nothing_is_sent_when_the_interval_is_not_over(world: World) -> None:
    """A handler that reports all the time costs one report an interval; its outcome does not wait."""

    async def body(context: TaskContext) -> str:
        await context.heartbeat(1).durable()
        context.heartbeat(2)
        return "done"

    world.handler.body = body
    world.send()
    await world.stream.report()
    await world.stream.outcome()
    assert world.stream.no_report()


async def test_last_details_arrive_first_when_a_handler_fails(world: World) -> None:
    """The next attempt begins where this one failed, not where it reported last in time."""

    async def body(context: TaskContext) -> None:
        await context.heartbeat(1).durable()
        context.heartbeat(2)
        raise nexusrpc.HandlerError("not yet", type=nexusrpc.HandlerErrorType.UNAVAILABLE)

    world.handler.body = body
    request = world.send()
    await world.stream.report()
    second = await world.stream.report(acknowledge=False)
    assert value_of(world.open(second, request)) == 2
    assert world.stream.no_outcome()
    world.stream.acknowledge_report(second)
    assert (await world.stream.outcome()).WhichOneof("outcome") == "retry"


async def test_report_is_durable_when_a_thread_waits_for_it(world: World) -> None:
    """The same from a ``def`` handler."""
    durable: list[int] = []

    def in_thread(context: TaskContext) -> None:
        context.heartbeat(Place(page=1)).wait()
        durable.append(1)
        context.heartbeat(Place(page=2)).wait(timedelta(seconds=10))
        durable.append(2)

    world.handler.in_thread = in_thread
    request = world.send("take_in_thread")
    for page in (1, 2):
        report = await world.stream.report(acknowledge=False)
        assert value_of(world.open(report, request)) == {"page": page}
        assert len(durable) == page - 1
        world.stream.acknowledge_report(report)
    await world.stream.outcome()
    assert durable == [1, 2]


async def test_report_is_sent_again_when_its_connection_broke(world: World) -> None:
    """The same bytes, on the next connection; afterwards it counts as sent."""

    async def body(context: TaskContext) -> None:
        await context.heartbeat("kept").durable()

    world.handler.body = body
    world.send()
    first = await world.stream.report(acknowledge=False)
    world.stream.fail()
    world.stream = await world.gateway.stream(granted=False)
    assert await world.stream.report() == first
    await world.stream.outcome()


async def test_newest_report_is_sent_when_the_gateway_asks_for_patience(world: World) -> None:
    """What was reported while a refused one waited replaces it."""

    async def body(context: TaskContext) -> None:
        context.heartbeat(1)
        await context.heartbeat(2).durable()

    world.handler.body = body
    request = world.send()
    first = await world.stream.report(acknowledge=False)
    assert value_of(world.open(first, request)) == 1
    world.stream.acknowledge_report(first, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="REPORTING_TOO_FAST")
    assert value_of(world.open(await world.stream.report(), request)) == 2
    await world.stream.outcome()


async def test_report_is_sealed_again_when_a_key_went_out_of_use(world: World) -> None:
    """As outcomes are."""

    async def body(context: TaskContext) -> None:
        await context.heartbeat("again").durable()

    world.handler.body = body
    request = world.send()
    first = await world.stream.report(acknowledge=False)
    world.stream.acknowledge_report(first, grpc.StatusCode.ABORTED, reason="KEY_RETIRED")
    second = await world.stream.report()
    assert second.heartbeat.details != first.heartbeat.details
    assert value_of(world.open(second, request)) == "again"
    await world.stream.outcome()


async def test_handler_is_canceled_when_its_task_is_somebody_elses(world: World) -> None:
    """It learns that with its next heartbeat, and answers nothing."""
    learned: list[BaseException] = []

    async def body(context: TaskContext) -> None:
        try:
            await context.heartbeat().durable()
        except (TaskLostError, asyncio.CancelledError) as error:
            learned.append(error)
            raise

    world.handler.body = body
    world.send()
    report = await world.stream.report(acknowledge=False)
    world.stream.acknowledge_report(report, grpc.StatusCode.FAILED_PRECONDITION, reason="ATTEMPT_OVER")
    world.handler.body = nothing
    world.send()
    await world.stream.outcome()
    assert len(learned) == 1
    assert world.stream.no_outcome()


async def test_report_carries_the_new_attempt_when_its_task_was_delivered_again(world: World) -> None:
    """A lost lease that came back to the same process renames the task; the handler goes on."""

    async def body(context: TaskContext) -> None:
        await context.heartbeat("here").durable()

    world.handler.body = body
    request = world.send()
    first = await world.stream.report(acknowledge=False)
    world.deliver(request, attempt=2)
    world.stream.acknowledge_report(first, grpc.StatusCode.FAILED_PRECONDITION, reason="ATTEMPT_OVER")
    second = await world.stream.report()
    assert second.task.attempt == 2
    assert dict(world.open(second, request).headers) == {"isthmus-attempt": "2"}
    assert (await world.stream.outcome()).task.attempt == 2


async def test_handler_goes_on_when_a_report_is_refused(world: World) -> None:
    """Whoever waits for it is told; the task is not affected."""

    async def body(context: TaskContext) -> str:
        with pytest.raises(ReportRefusedError):
            await context.heartbeat(1).durable()
        with pytest.raises(ReportTooLargeError):
            context.heartbeat("x" * limits.MAX_REPORT_BYTES)
        return "done"

    world.handler.body = body
    request = world.send()
    report = await world.stream.report(acknowledge=False)
    world.stream.acknowledge_report(report, grpc.StatusCode.INVALID_ARGUMENT, reason="HEADER_MISMATCH")
    outcome = await world.stream.outcome()
    opened = world.caller.open(outcome.envelope, request, Direction.RESULT)
    assert value_of(opened.payload) == "done"


async def test_largest_details_fit_when_they_are_sealed(world: World) -> None:
    """What the worker lets through, the gateway takes: 64 KiB of body."""

    async def body(context: TaskContext) -> None:
        await context.heartbeat("x" * (limits.MAX_REPORT_BYTES - 2)).durable()

    world.handler.body = body
    world.send()
    report = await world.stream.report()
    assert limits.MAX_REPORT_BYTES < len(report.heartbeat.details) < 64 * 1024 + 2048
    await world.stream.outcome()


async def test_details_are_received_when_an_earlier_attempt_left_some(world: World) -> None:
    """As plain values, or as a type; without any they are None."""
    found: list[object] = []

    async def body(context: TaskContext) -> None:
        found.extend([context.heartbeat_details, context.heartbeat_details_as(Place)])

    world.handler.body = body
    request = world.caller.request("take", None, service="Steps")
    world.deliver(request, attempt=2, details=world.details(request, Place(page=9)))
    await world.stream.outcome()
    world.send()
    await world.stream.outcome()
    assert found == [{"page": 9}, Place(page=9), None, None]


STRANGER_KEY = SigningPrivateKey.from_bytes(os.urandom(32))
FORGERIES: dict[str, dict[str, Any]] = {
    "another operation": {"operation_id": bytes(16)},
    "another request": {"request_digest": bytes(32)},
    "another operation name": {"operation": "take_in_thread"},
    "a later attempt": {"attempt": "3"},
    "the same attempt": {"attempt": "2"},
    "no attempt": {"attempt": "first"},
    "another signer": {"signer": STRANGER_KEY},
    "a token": {"direction": Direction.STARTED},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_handler_does_not_run_when_details_are_not_its_own(
    world: World, forgery: dict[str, Any]
) -> None:
    """Details of something else, or from nowhere: a rejection, visible to whoever asks why."""
    ran: list[object] = []

    async def body(context: TaskContext) -> None:
        ran.append(context.heartbeat_details)

    world.handler.body = body
    request = world.caller.request("take", None, service="Steps")
    world.deliver(request, attempt=2, details=world.details(request, "forged", **forgery))
    rejected = await world.stream.outcome()
    assert rejected.WhichOneof("outcome") == "rejection"
    assert ran == []


async def test_handler_does_not_run_when_details_are_plaintext(world: World) -> None:
    """No path leads around the envelope."""
    world.send(attempt=2, details=b'{"page": 9}')
    assert (await world.stream.outcome()).rejection.code == "E2E_REJECTED"


async def test_progress_is_sealed_to_the_caller_when_a_handler_reports_it(world: World) -> None:
    """Numbered across attempts, and together with details in one report."""

    async def body(context: TaskContext) -> None:
        await context.progress({"done": 1}).durable()
        context.progress({"done": 2})
        context.heartbeat("two")
        await context.progress({"done": 3}).durable()

    world.handler.body = body
    request = world.send(attempt=3)
    first, second = await world.stream.report(), await world.stream.report(acknowledge=False)
    while not second.heartbeat.details:
        world.stream.acknowledge_report(second)
        second = await world.stream.report(acknowledge=False)
    world.stream.acknowledge_report(second)
    opened = [world.caller.open(report.progress, request, Direction.PROGRESS) for report in (first, second)]
    assert [value_of(progress.payload) for progress in opened] == [{"done": 1}, {"done": 3}]
    assert opened[0].header.sequence == progress_sequence(3, 1)
    assert opened[0].header.sequence < opened[1].header.sequence < progress_sequence(4, 1)
    assert opened[0].header.sender_session == opened[1].header.sender_session
    assert value_of(world.open(second, request)) == "two"
    await world.stream.outcome()
