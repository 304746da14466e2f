"""``complete`` and ``complete_sync``: the same steps on an event loop, and in a process that has none.

The steps are coroutines over calls, keys and threads that they are given. Those of the sync client never
suspend, so that a coroutine over them runs to its end at once.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from isthmus.envelope.replay import RedeliveryGuard
from isthmus.keys.endpoint_records import KnownRecord
from isthmus.keys.keyset import VerifiedKeyset
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.v1 import worker_service_pb2 as pb
from isthmus.v1 import worker_service_pb2_grpc
from isthmus.worker.completion import CALL_SECONDS, DEFAULT_TIMEOUT, Completion, Wanted, ending_of
from isthmus.worker.connected import (
    ClientKeys,
    SyncOwnRecords,
    SyncPeerKeysets,
    SyncWorkerClient,
    WorkerClient,
    rules_of,
)
from isthmus.worker.envelopes import Identity, TaskEnvelopes
from isthmus.worker.large_payloads import LargePayloads
from isthmus.worker.request_rules import RecordsKnown, RequestRules
from isthmus.worker.stub import worker_stub

T = TypeVar("T")


async def complete(
    client: WorkerClient,
    operation_id: str | None = None,
    *,
    token: str | None = None,
    caller_namespace: str | None = None,
    result: object = None,
    error: BaseException | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - calls are repeated within it
) -> None:
    """End an operation that a handler left running, with a result or with an error.

    Args:
        client: of the namespace that handles the operation.
        operation_id: ``op-…``: the handler's ``ctx.request_id``; or
        token: the operation token that the handler returned.
        caller_namespace: who called: the handler's ``current().caller_namespace``. An operation id needs it;
            a token is bound to the request that it was returned for.
        result: the result of the operation.
        error: instead of a result: an OperationError ends it as failed or canceled, anything else as failed.
        timeout: how long to try while the gateway cannot be reached, or does not know the token yet.

    Raises:
        CompletionRefusedError: the request cannot be verified, the operation has ended already, or it is not
            known.
        UntrustedNamespaceError: the caller is not pinned.
        PayloadConversionError: the result has a type that cannot be serialized.
        nexusrpc.HandlerError: a large result could not be put into the object store.
        GatewayError: the gateway could not be reached in time, or refuses.
        ValueError: neither or both of operation id and token are given, an id without its caller, or both
            result and error.
        WireFormatError: the operation id is malformed.
    """
    wanted = Wanted.of(operation_id, token, caller_namespace)
    direction, content = ending_of(result, error, client.payload_converter.to_payload)
    identity = _identity(client)
    completion = Completion(
        envelopes=TaskEnvelopes(
            identity=identity, keys=ClientKeys.of(client), guard=RedeliveryGuard(), rules=rules_of(client)
        ),
        large=LargePayloads(client.claim_checks, identity),
        calls=_LoopCalls(client.connection),
    )
    await completion.run(wanted, _shown(operation_id), direction, content, patience=timeout)


def complete_sync(
    client: SyncWorkerClient,
    operation_id: str | None = None,
    *,
    token: str | None = None,
    caller_namespace: str | None = None,
    result: object = None,
    error: BaseException | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """End an operation that a handler left running, blocking; arguments and errors are those of complete."""
    wanted = Wanted.of(operation_id, token, caller_namespace)
    direction, content = ending_of(result, error, client.payload_converter.to_payload)
    identity = _identity(client)
    keys = ClientKeys(
        client.namespace,
        client.keyring,
        _BlockingKeysets(client.key_directory),
        partial(_in_this_thread, client.refresh_keys),
    )
    rules = RequestRules(client.namespace, _BlockingRecords(client.endpoint_records), client.consents)
    completion = Completion(
        envelopes=TaskEnvelopes(identity=identity, keys=keys, guard=RedeliveryGuard(), rules=rules),
        large=LargePayloads(client.claim_checks, identity, in_thread=_in_this_thread),
        calls=_BlockingCalls(client.connection),
    )
    _run_now(completion.run(wanted, _shown(operation_id), direction, content, patience=timeout))


def _identity(client: WorkerClient | SyncWorkerClient) -> Identity:
    return Identity(namespace=client.namespace, trust_domain=client.trust_domain, principal=client.principal)


def _shown(operation_id: str | None) -> str:
    # Tokens may be secret: they are not repeated.
    return operation_id or "the operation with this token"


class _LoopCalls:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = worker_stub(connection)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def get_request(self, request: pb.GetRequestRequest) -> pb.GetRequestResponse:
        return await self._connection.call(self._stub.GetRequest, request, timeout_seconds=CALL_SECONDS)

    async def complete_operation(self, request: pb.CompleteOperationRequest) -> pb.CompleteOperationResponse:
        return await self._connection.call(
            self._stub.CompleteOperation, request, timeout_seconds=CALL_SECONDS
        )


class _BlockingCalls:
    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    def now(self) -> float:
        return time.monotonic()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - nothing else runs on this thread

    async def get_request(self, request: pb.GetRequestRequest) -> pb.GetRequestResponse:
        return self._connection.call(
            lambda channel: worker_service_pb2_grpc.WorkerServiceStub(channel).GetRequest,
            request,
            timeout_seconds=CALL_SECONDS,
        )

    async def complete_operation(self, request: pb.CompleteOperationRequest) -> pb.CompleteOperationResponse:
        return self._connection.call(
            lambda channel: worker_service_pb2_grpc.WorkerServiceStub(channel).CompleteOperation,
            request,
            timeout_seconds=CALL_SECONDS,
        )


class _BlockingKeysets:
    def __init__(self, directory: SyncPeerKeysets) -> None:
        self._directory = directory

    def at_hand(self, namespace: str) -> VerifiedKeyset | None:
        del namespace
        return None

    async def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        return self._directory.keyset(namespace, key_id=key_id)


class _BlockingRecords:
    def __init__(self, records: SyncOwnRecords) -> None:
        self._records = records

    @property
    def cache(self) -> RecordsKnown:
        return self._records.cache

    async def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        return self._records.record(namespace, endpoint, newest=newest)


async def _in_this_thread(work: Callable[[], T], /) -> T:
    return work()


def _run_now(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        steps.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    steps.close()
    raise AssertionError("a step suspended that was to block")
