"""What a caller gets back with its operation: kept with it, readable by nobody else, bound to it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import nexusrpc
import pytest
from tests.integration.operation_calls import refusal
from tests.integration.operation_gateway import Client as Stubs
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import CALLER, HANDLER, NOW_MS, outcome, request_header, sealed

from isthmus.client import Client
from isthmus.client.errors import ConfigurationError, PreconditionFailedError, UnverifiedAnswerError
from isthmus.client.nexus_client import NexusClient
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import EnvelopeSlot, Reader
from isthmus.gateway.store.reader import SnapshotReader
from isthmus.testing import LocalGateway
from isthmus.v1 import operation_pb2
from isthmus.v1 import operation_service_pb2 as pb
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction
from isthmus.wire.limits import MAX_CALLER_CONTEXTS
from isthmus.wire.names import NamespaceName, OperationId, parse_operation_id

LONG = {"expires_at_ms": NOW_MS + 50 * 86_400_000}


def context_of(request: bytes, body: bytes = b"sealed context", **changes: Any) -> bytes:
    """Return the sealed context of a request."""
    asked = parse_envelope(request)
    header = asked.header._replace(
        direction=Direction.CONTEXT,
        recipient_namespace=CALLER,
        recipients=(CALLER,),
        request_digest=asked.digest,
        expires_at_ms=0,
        schedule_to_close_timeout_ms=0,
        fingerprint=b"",
        start_at_ms=0,
    )
    return sealed(header._replace(**changes), body)


async def start(client: Stubs, request: bytes, context: bytes = b"") -> operation_pb2.OperationStatus:
    """Start an operation."""
    wanted = pb.StartOperationRequest(envelope=request, context=context)
    return (await client.operations.StartOperation(wanted, metadata=client.metadata)).status


async def contexts(client: Stubs, operation_id: bytes) -> list[bytes]:
    """Ask for the contexts of an operation."""
    wanted = pb.WaitOperationRequest(operation_id=operation_id, include_contexts=True)
    return list((await client.operations.WaitOperation(wanted, metadata=client.metadata)).status.contexts)


async def refused(client: Stubs, request: bytes, context: bytes) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a start that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await start(client, request, context)
    return refusal(caught.value)


async def test_contexts_are_kept_when_starts_attach(operation_gateway: RunningGateway) -> None:
    """In their order; the same start again adds nothing, and after ten there is no room."""
    caller = operation_gateway.client(CALLER)
    header = request_header()
    given = []
    for number in range(MAX_CALLER_CONTEXTS):
        envelope = sealed(header, b"%d" % number)
        given.append(context_of(envelope, b"%d" % number))
        for _ in range(2):
            await start(caller, envelope, given[-1])
    assert await contexts(caller, header.operation_id) == given
    one_more = sealed(header, b"one more")
    full = (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_CONTEXTS")
    assert await refused(caller, one_more, context_of(one_more)) == full
    assert (await start(caller, one_more)).attached
    plain = pb.WaitOperationRequest(operation_id=header.operation_id)
    assert not (await caller.operations.WaitOperation(plain, metadata=caller.metadata)).status.contexts


@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_contexts_go_when_the_operation_is_retired(
    operation_gateway: RunningGateway, tmp_path: Path
) -> None:
    """Like every other message of it."""
    gateway = operation_gateway
    caller = gateway.client(CALLER)
    worker = await Worker(gateway.client(HANDLER)).hello(grant=1)
    header = request_header(**LONG)
    for number in range(2):
        envelope = sealed(header, b"%d" % number)
        await start(caller, envelope, context_of(envelope))
    await worker.answer(outcome(await worker.tasks.get()))
    await worker.disconnect()
    gateway.advance(days=31)
    await gateway.retire()
    with closing(sqlite3.connect(tmp_path / "isthmus.db")) as connection:
        assert connection.execute("SELECT count(*) FROM envelopes").fetchone() == (0,)


CHANGES: dict[str, dict[str, Any]] = {
    "other_operation": {"operation_id": OperationId(b"x" * 16)},
    "other_request": {"request_digest": b"x" * 32},
    "other_endpoint": {"endpoint": "refunds"},
    "other_service": {"service": "Refunds"},
    "other_method": {"operation": "refund"},
    "other_readers": {"recipients": (HANDLER, CALLER)},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_context_is_refused_when_it_is_about_something_else(
    operation_gateway: RunningGateway, changes: dict[str, Any]
) -> None:
    """And nothing is started."""
    caller = operation_gateway.client(CALLER)
    envelope = sealed(request_header())
    code, _ = await refused(caller, envelope, context_of(envelope, **changes))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert not (await start(caller, envelope)).attached


async def test_context_is_refused_when_it_is_too_large_or_none(operation_gateway: RunningGateway) -> None:
    """Ten KiB sealed, and a message of that direction."""
    caller = operation_gateway.client(CALLER)
    envelope = sealed(request_header())
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    too_large = context_of(envelope, b"x" * 10_241)
    assert await refused(caller, envelope, too_large) == (invalid, "PAYLOAD_TOO_LARGE")
    assert await refused(caller, envelope, envelope) == (invalid, "WRONG_DIRECTION")
    assert await refused(caller, envelope, b"\xff") == (invalid, "WIRE_FORMAT")


# --- with real keys -----------------------------------------------------------------------------------------


@nexusrpc.service
class Jobs:
    """Work."""

    do: nexusrpc.Operation[str, str]


class Place:
    """A gateway without a worker, and two processes of the caller's team."""

    def __init__(self, gateway: LocalGateway, client: Client) -> None:
        self.gateway = gateway
        self.client = client
        self.jobs: NexusClient[Jobs] = client.create_nexus_client(endpoint="jobs", service=Jobs)


@pytest.fixture
async def place(local_gateway: LocalGateway) -> AsyncIterator[Place]:
    """A gateway with an endpoint."""
    async with local_gateway as gateway:
        await gateway.endpoint("jobs", namespace="app-team", allow=["data-team"])
        yield Place(gateway, await gateway.client("data-team"))


async def test_contexts_come_back_when_any_process_of_the_team_asks(place: Place) -> None:
    """In the order of the starts, from a handle that the id made, sync or async."""
    largest = bytes(range(256)) * 32
    first = await place.jobs.start_operation(Jobs.do, "x", id="job-1", context=largest)
    await place.jobs.start_operation(Jobs.do, "x", id="job-1")
    await place.jobs.start_operation(Jobs.do, "x", id="job-1", context=b"")
    assert await first.contexts() == [largest, b""]
    assert await place.client.get_operation_handle(first.operation_id).contexts() == [largest, b""]
    sync_client = await place.gateway.sync_client("data-team")

    def ask() -> list[bytes]:
        return sync_client.get_operation_handle(first.operation_id).contexts()

    assert await asyncio.to_thread(ask) == [largest, b""]
    for number in range(8):
        await place.jobs.start_operation(Jobs.do, "x", id="job-1", context=b"%d" % number)
    with pytest.raises(PreconditionFailedError, match="without one"):
        await place.jobs.start_operation(Jobs.do, "x", id="job-1", context=b"one more")


async def test_context_is_refused_when_it_is_larger_than_8_kib(place: Place) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="8192"):
        await place.jobs.start_operation(Jobs.do, "x", context=bytes(8193))


async def test_nothing_comes_back_when_the_gateway_shows_another_context(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another operation of this very caller, one that was changed, or another message of the operation."""
    theirs = await place.jobs.start_operation(Jobs.do, "x", context=b"theirs")
    ours = await place.jobs.start_operation(Jobs.do, "x", context=b"ours")
    store = place.gateway._running()._store
    keys = [
        OperationKey(caller=NamespaceName("data-team"), operation_id=parse_operation_id(of.operation_id))
        for of in (theirs, ours)
    ]
    (stolen,), (true,) = [await store.read(partial(_contexts, key=key)) for key in keys]
    changed = bytearray(true)
    changed[-1] ^= 1
    request = await store.read(lambda reader: reader.envelope(keys[1], EnvelopeSlot.REQUEST))
    assert request is not None
    for shown in (stolen, bytes(changed), request):
        monkeypatch.setattr(SnapshotReader, "contexts", partial(_show, shown))
        with pytest.raises(UnverifiedAnswerError, match="a context"):
            await ours.contexts()
    monkeypatch.undo()
    assert await ours.contexts() == [b"ours"]


def _contexts(reader: Reader, key: OperationKey) -> Sequence[bytes]:
    return reader.contexts(key)


def _show(envelope: bytes, _key: OperationKey) -> list[bytes]:
    return [envelope]
