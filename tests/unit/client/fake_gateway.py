"""A gateway in memory for tests: real gRPC, real envelopes, one handler team, and faults on request."""
# ruff: noqa: ANN401 - gRPC hands over what its stubs call Any

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import nexusrpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from tests.unit.client.teams import TRUST_DOMAIN, Team

from isthmus.envelope.expected import Expected
from isthmus.envelope.identity import random_message_id
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.open import Opened, open_envelope
from isthmus.envelope.seal import seal
from isthmus.payload import DefaultPayloadConverter, failure_payload
from isthmus.v1 import (
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
)
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import NamespaceName
from isthmus.wire.statement import statement_signed_bytes
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_message

Handler = Callable[[Any], object]
WAIT_SECONDS = 5.0


class RefusalError(Exception):
    """A google.rpc.Status to answer with."""

    def __init__(self, code: grpc.StatusCode, reason: str, retry_after_ms: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status_pb2.Status(code=code.value[0], message=f"refused: {reason}")
        self._pack(error_details_pb2.ErrorInfo(reason=reason, domain="isthmus", metadata={"fix": "try this"}))
        if retry_after_ms is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(retry_after_ms)
            self._pack(retry)

    def _pack(self, detail: Any) -> None:
        packed = AnyMessage()
        packed.Pack(detail)
        self.status.details.append(packed)


@dataclass(slots=True)
class FakeOperation:
    """One operation."""

    envelope: bytes
    header: Header
    digest: bytes
    ending: operation_pb2.Ending | None = None
    cancel: bytes = b""


@dataclass(slots=True)
class FakeGateway:
    """What the services share. Handlers are functions by operation name; None never ends by itself."""

    caller: Team
    handler: Team
    handlers: dict[str, Handler | None] = field(default_factory=dict)
    log_key: SigningPrivateKey = field(default_factory=SigningPrivateKey.generate)
    keysets: dict[str, SignedKeyset] = field(default_factory=dict)
    operations: dict[bytes, FakeOperation] = field(default_factory=dict)
    starts: list[bytes] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    abandoned: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    refusals: deque[RefusalError] = field(default_factory=deque)
    """Answered to the next starts instead of an answer."""
    broken_answers: int = 0
    """So many streams break after a start was recorded and before it is answered."""
    batches: list[int] = field(default_factory=list)
    """How many starts each batch had."""
    room: int | None = 128
    """For so many answers to the starts of one batch; None: batches are unknown here."""
    drains: int = 0
    """So many streams drain instead of answering."""
    expired: set[bytes] = field(default_factory=set)
    """Operations that are not kept any more."""
    streams_work: bool = True
    streams: int = 0
    waits: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    tamper: Callable[[operation_pb2.OperationStatus], None] | None = None

    def await_change(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds."""
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_SECONDS)

    def publish(self) -> None:
        """Publish the keysets of both teams."""
        for team in (self.caller, self.handler):
            self.keysets[team.namespace] = team.publish(time.time_ns() // 1_000_000)

    # ------------------------------------------------------------------------------------------- operations

    def start(self, request: operation_service_pb2.StartOperationRequest) -> operation_pb2.OperationStatus:
        """Start or attach."""
        self.starts.append(request.envelope)
        if self.refusals:
            raise self.refusals.popleft()
        sealed = parse_envelope(request.envelope)
        operation_id = sealed.header.operation_id
        self._refuse_expired(operation_id)
        known = self.operations.get(operation_id)
        if known is not None:
            if request.reuse_policy == operation_service_pb2.REUSE_POLICY_REJECT:
                raise RefusalError(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
            return self.status(operation_id, attached=True, include_request=True)
        operation = FakeOperation(request.envelope, sealed.header, sealed.digest)
        self.operations[operation_id] = operation
        self._handle(operation)
        return self.status(operation_id)

    def wait(
        self, operation_id: bytes, wait_ms: int, *, include_request: bool
    ) -> operation_pb2.OperationStatus:
        """Wait for the ending."""
        self._refuse_expired(operation_id)
        if operation_id not in self.operations:
            raise RefusalError(grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")
        operation = self.operations[operation_id]
        with self.changed:
            self.waits += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: operation.ending is not None, min(wait_ms / 1000, WAIT_SECONDS))
        return self.status(operation_id, include_request=include_request)

    def cancel(self, envelope: bytes) -> operation_pb2.OperationStatus:
        """Record a cancel of an operation that nobody handles: it ends."""
        header = parse_envelope(envelope).header
        operation = self.operations[header.operation_id]
        operation.cancel = envelope
        self.state(header.operation_id, operation_pb2.STATEMENT_KIND_CANCELED)
        return self.status(header.operation_id)

    def state(self, operation_id: bytes, kind: operation_pb2.StatementKind.ValueType) -> None:
        """End an operation by a statement."""
        operation = self.operations[operation_id]
        body = operation_pb2.StatementBody(
            kind=kind,
            trust_domain=TRUST_DOMAIN,
            caller_namespace=operation.header.sender_namespace,
            operation_id=operation_id,
            request_digest=operation.digest,
            decided_at_ms=time.time_ns() // 1_000_000,
        ).SerializeToString(deterministic=True)
        statement = operation_pb2.GatewayStatement(
            body=body, key_id=self.log_key.key_id, signature=self.log_key.sign(statement_signed_bytes(body))
        )
        self._end(operation, operation_pb2.Ending(statement=statement))

    def complete(self, operation_id: bytes, value: object) -> None:
        """End an operation as its handler."""
        operation = self.operations[operation_id]
        self._end(operation, operation_pb2.Ending(attested=self.outcome(operation, value)))

    def outcome(self, operation: FakeOperation, value: object) -> bytes:
        """Seal a result, or an exception, as the handler team."""
        direction, payload = Direction.RESULT, DefaultPayloadConverter().to_payload(None)
        if isinstance(value, BaseException):
            canceled = isinstance(value, nexusrpc.OperationError) and value.state.value == "canceled"
            direction = Direction.CANCELED if canceled else Direction.FAILURE
            payload = failure_payload(value)
        else:
            payload = DefaultPayloadConverter().to_payload(value)
        signer = self.handler.signing_key()
        asked = operation.header
        header = Header(
            direction=direction,
            trust_domain=TRUST_DOMAIN,
            sender_namespace=NamespaceName(self.handler.namespace),
            sender_key_id=signer.key_id,
            principal=f"{self.handler.namespace}/worker",
            recipient_namespace=asked.sender_namespace,
            endpoint=asked.endpoint,
            service=asked.service,
            operation=asked.operation,
            operation_id=asked.operation_id,
            message_id=random_message_id(),
            request_digest=operation.digest,
            issued_at_ms=time.time_ns() // 1_000_000,
            recipients=(self.caller.namespace,),
        )
        return seal(header, payload, signer=signer, recipients=(self.caller.recipient,)).envelope

    def open(self, operation: FakeOperation) -> Opened:
        """Open a request as the handler team."""
        expected = Expected(
            directions=frozenset({Direction.REQUEST}),
            trust_domain=TRUST_DOMAIN,
            sender_namespace=self.caller.namespace,
            recipient_namespace=self.handler.namespace,
            endpoint=None,
            service=None,
            operation=None,
            operation_id=operation.header.operation_id,
            request_digest=None,
        )
        return open_envelope(
            operation.envelope,
            expected=expected,
            sender_keys=self.caller.own_keys(),
            decrypter=self.handler,
            namespace=self.handler.namespace,
            now_ms=time.time_ns() // 1_000_000,
        )

    def status(
        self, operation_id: bytes, *, attached: bool = False, include_request: bool = False
    ) -> operation_pb2.OperationStatus:
        """Return what is known of an operation."""
        operation = self.operations[operation_id]
        status = operation_pb2.OperationStatus(
            operation_id=operation_id, attached=attached, ending=operation.ending, cancel=operation.cancel
        )
        if include_request:
            sealed = parse_envelope(operation.envelope)
            status.request.header = sealed.header_bytes
            status.request.signature = sealed.signature
            status.request.body_digest = sealed.body_digest
        if self.tamper is not None:
            self.tamper(status)
        return status

    def _refuse_expired(self, operation_id: bytes) -> None:
        if operation_id in self.expired:
            raise RefusalError(grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_EXPIRED")

    def _handle(self, operation: FakeOperation) -> None:
        handler = self.handlers.get(operation.header.operation)
        if handler is None:
            return
        value = DefaultPayloadConverter().from_payload(self.open(operation).payload)
        try:
            result = handler(value)
        except Exception as error:  # noqa: BLE001 - that is what handlers may do
            result = error
        self._end(operation, operation_pb2.Ending(attested=self.outcome(operation, result)))

    def _end(self, operation: FakeOperation, ending: operation_pb2.Ending) -> None:
        with self.changed:
            operation.ending = ending
            self.changed.notify_all()


class FakeServices(  # pyright: ignore[reportImplicitAbstractClass]
    operation_service_pb2_grpc.OperationServiceServicer,
    namespace_service_pb2_grpc.NamespaceServiceServicer,
    key_service_pb2_grpc.KeyServiceServicer,
):
    """The gateway's services over gRPC."""

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway

    def WhoAmI(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        self.gateway.tokens += [str(v) for k, v in context.invocation_metadata() if k == "authorization"]
        namespace = self.gateway.caller.namespace
        return namespace_service_pb2.WhoAmIResponse(
            principal=f"{namespace}/client", namespace=namespace, trust_domain=TRUST_DOMAIN
        )

    def GetGatewayKey(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        public = self.gateway.log_key.public.raw
        return key_service_pb2.GetGatewayKeyResponse(public_key=public, trust_domain=TRUST_DOMAIN)

    def GetKeyset(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        signed = self.gateway.keysets.get(request.namespace)
        if signed is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no keyset")
            raise AssertionError
        return key_service_pb2.GetKeysetResponse(keyset=signed_keyset_message(signed))

    def StartOperation(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return self._unary(context, operation_service_pb2.SessionCall(start=request)).start

    def BatchStartOperations(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        gateway = self.gateway
        gateway.batches.append(len(request.starts))
        if gateway.room is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no batches here")
        response = operation_service_pb2.BatchStartOperationsResponse()
        for start in request.starts:
            answer = response.answers.add()
            try:
                answer.status.CopyFrom(gateway.start(start))
            except RefusalError as refusal:
                answer.error = refusal.status.SerializeToString()
        if gateway.broken_answers:
            gateway.broken_answers -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken on request")
        del response.answers[gateway.room :]
        return response

    def ExecuteOperation(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return self._unary(context, operation_service_pb2.SessionCall(execute=request)).execute

    def WaitOperation(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return self._unary(context, operation_service_pb2.SessionCall(wait=request)).wait

    def GetOperation(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return self._unary(context, operation_service_pb2.SessionCall(get=request)).get

    def CancelOperation(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return self._unary(context, operation_service_pb2.SessionCall(cancel=request)).cancel

    def Session(self, request_iterator: Iterable[Any], context: Any) -> Iterator[Any]:  # noqa: N802, D102
        gateway = self.gateway
        gateway.streams += 1
        if not gateway.streams_work:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams here")
        answers: queue.Queue[Any] = queue.Queue()
        reader = threading.Thread(target=self._read, args=(request_iterator, answers), daemon=True)
        reader.start()
        while True:
            answer = answers.get()
            if answer is None:
                return
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "broken on request")
            yield answer

    def _read(self, frames: Iterable[Any], answers: "queue.Queue[Any]") -> None:
        try:
            for frame in frames:
                self.gateway.frames.append(len(frame.calls))
                for call in frame.calls:
                    self._take(call, answers)
        except grpc.RpcError:
            pass
        answers.put(None)

    def _take(self, call: Any, answers: "queue.Queue[Any]") -> None:
        gateway = self.gateway
        if call.WhichOneof("call") == "abandon":
            with gateway.changed:
                gateway.abandoned.append(call.call_id)
                gateway.changed.notify_all()
            return
        if gateway.drains:
            gateway.drains -= 1
            answers.put(operation_service_pb2.SessionResponse(drain=True))
            return

        def answer() -> None:
            reply = self._reply(call)
            if gateway.broken_answers:
                gateway.broken_answers -= 1
                answers.put(grpc.StatusCode.UNAVAILABLE)
                return
            answers.put(operation_service_pb2.SessionResponse(replies=[reply]))

        threading.Thread(target=answer, daemon=True).start()

    def _reply(self, call: Any) -> Any:
        try:
            return self._answer(call)
        except RefusalError as refusal:
            error = refusal.status.SerializeToString()
            return operation_service_pb2.SessionReply(call_id=call.call_id, error=error)

    def _unary(self, context: Any, call: Any) -> Any:
        try:
            return self._answer(call)
        except RefusalError as refusal:
            details = (("grpc-status-details-bin", refusal.status.SerializeToString()),)
            context.set_trailing_metadata(details)
            context.abort(refusal.code, refusal.status.message)

    def _answer(self, call: Any) -> Any:
        gateway = self.gateway
        reply = operation_service_pb2.SessionReply(call_id=call.call_id)
        kind: str | None = call.WhichOneof("call")
        match kind:
            case "start":
                reply.start.status.CopyFrom(gateway.start(call.start))
            case "execute":
                status = gateway.start(call.execute.start)
                if not status.HasField("ending"):
                    waited = gateway.wait(status.operation_id, call.execute.wait_ms, include_request=False)
                    status.ending.CopyFrom(waited.ending)
                    if not waited.HasField("ending"):
                        status.ClearField("ending")
                    status.cancel = waited.cancel
                reply.execute.status.CopyFrom(status)
            case "wait":
                wait = call.wait
                status = gateway.wait(wait.operation_id, wait.wait_ms, include_request=wait.include_request)
                reply.wait.status.CopyFrom(status)
            case "cancel":
                reply.cancel.status.CopyFrom(gateway.cancel(call.cancel.envelope))
            case "get":
                operation = gateway.operations[call.get.operation_id]
                reply.get.operation.operation_id = call.get.operation_id
                reply.get.operation.endpoint = operation.header.endpoint
                reply.get.operation.state = operation_pb2.OPERATION_STATE_SCHEDULED
                reply.get.operation.waiting = operation_pb2.WAITING_CAUSE_NO_POLLER
            case _:
                raise RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_CALL")
        return reply


def serve(gateway: FakeGateway, port: int = 0) -> tuple[grpc.Server, int]:
    """Serve a fake gateway on loopback; return the server and its port."""
    gateway.publish()
    server = grpc.server(ThreadPoolExecutor(32))
    services: Any = FakeServices(gateway)  # type: ignore[abstract] # the rest answers UNIMPLEMENTED
    operation_service_pb2_grpc.add_OperationServiceServicer_to_server(services, server)
    namespace_service_pb2_grpc.add_NamespaceServiceServicer_to_server(services, server)
    key_service_pb2_grpc.add_KeyServiceServicer_to_server(services, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port
