"""End an asynchronous operation from any process of the handler's namespace.

The request is fetched and its signature verified first: the outcome is sealed to the namespace that signed
it, for that operation, under that digest. What the gateway says beside it is not believed.
"""

import asyncio
import random
from datetime import timedelta

import nexusrpc

from isthmus.blobs.claim_checks import Content
from isthmus.blobs.file import File
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, NeverSealError
from isthmus.envelope.replay import RedeliveryGuard
from isthmus.payload.failures import failure_payload
from isthmus.transport.backoff import Backoff
from isthmus.transport.connection import AsyncMethod, Connection, RequestT, ResponseT
from isthmus.transport.errors import GatewayError, NotFoundError, PreconditionFailedError
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.names import parse_operation_id
from isthmus.worker.connected import ClientKeys, WorkerClient
from isthmus.worker.envelopes import Identity, TaskEnvelopes
from isthmus.worker.errors import CompletionRefusedError
from isthmus.worker.large_payloads import LargePayloads
from isthmus.worker.stub import worker_stub

CALL_SECONDS = 10.0
REPEAT = Backoff(initial_seconds=0.2, maximum_seconds=5.0)
DEFAULT_TIMEOUT = timedelta(seconds=30)


async def complete(
    client: WorkerClient,
    operation_id: str,
    *,
    caller_namespace: str,
    result: object = None,
    error: BaseException | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - calls are repeated within it
) -> None:
    """End an operation that a handler left running, with a result or with an error.

    Args:
        client: of the namespace that handles the operation.
        operation_id: ``op-…``: the handler's ``ctx.request_id``.
        caller_namespace: who called: the handler's ``current().caller_namespace``.
        result: the result of the operation.
        error: instead of a result: an OperationError ends it as failed or canceled, anything else as failed.
        timeout: how long to try while the gateway cannot be reached.

    Raises:
        CompletionRefusedError: the request cannot be verified, or the operation has ended already.
        UntrustedNamespaceError: the caller is not pinned.
        PayloadConversionError: the result has a type that cannot be serialized.
        nexusrpc.HandlerError: a large result could not be put into the object store.
        GatewayError: the gateway could not be reached in time, or refuses.
        WireFormatError: the operation id is malformed.
    """
    number = parse_operation_id(operation_id)
    direction, content = _ending(client, result, error)
    identity = Identity(
        namespace=client.namespace, trust_domain=client.trust_domain, principal=client.principal
    )
    envelopes = TaskEnvelopes(
        identity=identity,
        keys=ClientKeys(client),
        guard=RedeliveryGuard(),
    )
    calls = _Calls(client.connection, asyncio.get_running_loop().time() + timeout.total_seconds())
    stub = worker_stub(client.connection)
    try:
        fetched = await calls.repeat(
            stub.GetRequest,
            worker_service_pb2.GetRequestRequest(caller_namespace=caller_namespace, operation_id=number),
        )
        request = await envelopes.verify_request(
            fetched.request, caller_namespace=caller_namespace, operation_id=number
        )
        payload = await LargePayloads(client.claim_checks, identity).send(content, request=request)
        envelope = await envelopes.seal(direction, payload, request=request)
        await calls.repeat(
            stub.CompleteOperation,
            worker_service_pb2.CompleteOperationRequest(
                caller_namespace=caller_namespace, operation_id=number, envelope=envelope
            ),
        )
    except EnvelopeRejectedError as rejected:
        raise CompletionRefusedError(
            f"the request of {operation_id} cannot be verified (check {rejected.reason} failed); nothing was "
            "sent"
        ) from None
    except (KeyUnavailableError, NeverSealError) as unsealed:
        raise CompletionRefusedError(f"{operation_id} cannot be completed: {unsealed}") from None
    except (NotFoundError, PreconditionFailedError) as gone:
        raise CompletionRefusedError(f"{operation_id} has ended already, or is not known: {gone}") from None


def _ending(client: WorkerClient, result: object, error: BaseException | None) -> tuple[Direction, Content]:
    if isinstance(result, File) and error is None:
        return Direction.RESULT, result
    if error is None:
        return Direction.RESULT, client.payload_converter.to_payload(result)
    if result is not None:
        raise ValueError("an operation ends with a result or with an error, not with both")
    canceled = isinstance(error, nexusrpc.OperationError) and error.state is _CANCELED
    return Direction.CANCELED if canceled else Direction.FAILURE, failure_payload(error)


_CANCELED = nexusrpc.OperationErrorState.CANCELED


class _Calls:
    """Repeats calls, the same bytes, while the gateway cannot be reached."""

    def __init__(self, connection: Connection, until: float) -> None:
        self._connection = connection
        self._until = until

    async def repeat(self, method: AsyncMethod[RequestT, ResponseT], request: RequestT) -> ResponseT:
        clock = asyncio.get_running_loop().time
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._connection.call(method, request, timeout_seconds=CALL_SECONDS)
            except GatewayError as failed:
                wait = REPEAT.delay_seconds(
                    attempt,
                    random.random(),  # noqa: S311 - jitter
                    at_least_seconds=failed.retry_after_seconds,
                )
                if not failed.retryable or clock() + wait > self._until:
                    raise
            await asyncio.sleep(wait)
