"""Large payloads through a gateway: request and result are claim checks, and the gateway knows nothing."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import nexusrpc
import pytest
from nexusrpc.handler import (
    OperationHandler,
    StartOperationContext,
    StartOperationResultAsync,
    operation_handler,
    service_handler,
    sync_operation,
)
from tests.adversarial.canary import Flock

from isthmus.blobs import BlobRefusedError, File
from isthmus.blobs.name import is_blob_name
from isthmus.client import Client, NexusClient, Profile, SyncClient
from isthmus.client.errors import ConfigurationError, ConflictError, PayloadTooLargeError
from isthmus.testing import LocalGateway
from isthmus.worker import complete

MEBIBYTE = 1024 * 1024


@nexusrpc.service
class Reports:
    """Large things."""

    upper: nexusrpc.Operation[File, File]
    echo: nexusrpc.Operation[bytes, bytes]
    rows: nexusrpc.Operation[list[str], list[str]]
    count: nexusrpc.Operation[File, int]
    later: nexusrpc.Operation[str, File]
    make: nexusrpc.Operation[int, File]


class Later(OperationHandler[str, File]):
    """Ends later."""

    async def start(self, ctx: StartOperationContext, input: str) -> StartOperationResultAsync:  # noqa: A002
        """Say which operation it is."""
        del input
        return StartOperationResultAsync(token=ctx.request_id or "")

    async def cancel(self, ctx: object, token: str) -> None:
        """Go on."""


@service_handler(service=Reports)
class ReportsHandler:
    """Works on large things; remembers the files that it saw."""

    def __init__(self) -> None:
        self.seen: list[Path] = []

    @sync_operation
    async def upper(self, _ctx: StartOperationContext, source: File) -> File:
        """Copy it, in capitals."""
        result = File.scratch()
        result.path.write_bytes(source.path.read_bytes().upper())
        self.seen += [source.path, result.path]
        return result

    @sync_operation
    async def echo(self, _ctx: StartOperationContext, data: bytes) -> bytes:
        """Say it back."""
        return data

    @sync_operation
    def rows(self, _ctx: StartOperationContext, rows: list[str]) -> list[str]:
        """Turn them around, in a thread."""
        return rows[::-1]

    @sync_operation
    async def count(self, _ctx: StartOperationContext, source: File) -> int:
        """Count its bytes."""
        return source.path.stat().st_size

    @operation_handler
    def later(self) -> OperationHandler[str, File]:
        """End by somebody else's hand."""
        return Later()

    @sync_operation
    async def make(self, _ctx: StartOperationContext, size: int) -> File:
        """Return a new file."""
        result = File.scratch()
        result.path.write_bytes(bytes(size))
        return result


class Place:
    """A gateway, two teams and a folder."""

    def __init__(self, gateway: LocalGateway, client: Client, handler: ReportsHandler, folder: Path) -> None:
        self.gateway = gateway
        self.client = client
        self.handler = handler
        self.folder = folder
        self.reports: NexusClient[Reports] = client.create_nexus_client(endpoint="reports", service=Reports)

    def blobs(self) -> list[Path]:
        """Return the blobs of both teams."""
        return [path for path in self.folder.rglob("*") if is_blob_name("/".join(path.parts[-2:]))]

    def source(self, data: bytes) -> File:
        """Return a file to send."""
        path = self.folder / secrets.token_hex(8)
        path.write_bytes(data)
        return File(path)


def profile_of(folder: Path, team: str, peer: str) -> Profile:
    """Return what a team configures."""
    return Profile(
        blob_store=f"file://{folder}/{team}/",
        blob_prefixes={peer: (f"file://{folder}/{peer}/",)},
        blob_threshold_bytes=100_000,
    )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Both teams have a store, and allow each other's."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"], max_attempts=1)
        await gateway.client("app-team", profile=profile_of(tmp_path, "app-team", "data-team"))
        client = await gateway.client("data-team", profile=profile_of(tmp_path, "data-team", "app-team"))
        handler = ReportsHandler()
        async with gateway.worker("app-team", task_queue="reports", nexus_service_handlers=[handler]):
            yield Place(gateway, client, handler, tmp_path)


async def test_files_arrive_when_both_ways_are_claim_checks(place: Place) -> None:
    """Of whatever size; the handler's temporary files are gone when the caller has its own."""
    for data in (b"", b"small", b"large " * MEBIBYTE):
        result = await place.reports.execute_operation(Reports.upper, place.source(data))
        assert result.path.read_bytes() == data.upper()
    assert len(place.blobs()) == 6
    await asyncio.sleep(0)
    assert [path for path in place.handler.seen if path.exists()] == []


async def test_values_arrive_when_they_are_larger_than_envelopes(place: Place) -> None:
    """Bytes and JSON of more than 4 MiB, to coroutines and to threads."""
    data = os.urandom(6 * MEBIBYTE)
    assert await place.reports.execute_operation(Reports.echo, data) == data
    rows = [secrets.token_hex(500) for _ in range(5000)]
    assert await place.reports.execute_operation(Reports.rows, rows) == rows[::-1]
    assert len(place.blobs()) == 4


async def test_payload_stays_inline_when_it_is_small(place: Place) -> None:
    """No blob for what fits."""
    assert await place.reports.execute_operation(Reports.echo, b"x" * 100_000) == b"x" * 100_000
    assert place.blobs() == []


async def test_bytes_become_a_file_when_the_handler_wants_one(place: Place) -> None:
    """Both are the same content, inline or not."""
    for size in (10, 200_000):
        assert await place.reports.execute_operation("count", b"x" * size) == size
    assert await place.reports.execute_operation("echo", place.source(b"y" * 10)) == b"y" * 10


async def test_operation_is_attached_to_when_the_same_content_comes_again(place: Place) -> None:
    """Another pointer each time, and the same fingerprint; other content is a conflict."""
    data = secrets.token_bytes(300_000)
    first = await place.reports.start_operation(Reports.upper, place.source(data), id="report-1")
    again = await place.reports.start_operation(Reports.upper, place.source(data), id="report-1")
    as_value = await place.reports.start_operation("upper", data, id="report-1")
    assert first.operation_id == again.operation_id == as_value.operation_id
    for handle in (first, again, as_value):
        result = await handle.result()
        assert (result if isinstance(result, bytes) else result.path.read_bytes()) == data.upper()
    with pytest.raises(ConflictError):
        await place.reports.start_operation(Reports.upper, place.source(data + b"!"), id="report-1")
    with pytest.raises(ConflictError):
        await place.reports.start_operation(Reports.upper, place.source(b""), id="report-1")


async def test_file_arrives_when_the_operation_ends_later(place: Place) -> None:
    """Whoever completes it sends a claim check as well, and a handle made of the id receives it."""
    handle = await place.reports.start_operation(Reports.later, "please", id="later-1")
    while (await handle.describe()).state != "started":  # noqa: ASYNC110 - it is the gateway's state
        await asyncio.sleep(0.01)
    app_team = await place.gateway.client("app-team")
    content = place.source(b"done" * MEBIBYTE)
    await complete(app_team, handle.operation_id, caller_namespace="data-team", result=content)
    found = place.client.get_operation_handle(handle.operation_id, result_type=File)
    assert (await found.result()).path.read_bytes() == content.path.read_bytes()


async def test_files_arrive_when_the_client_is_synchronous(place: Place) -> None:
    """The same flows, blocking."""
    about = await place.gateway.namespace("data-team")

    def call() -> bytes:
        with SyncClient.connect(
            about.address,
            profile=profile_of(place.folder, "data-team", "app-team"),
            keyring=about.keyring,
            trust=about.trust,
            credentials=about.credentials,
        ) as client:
            reports = client.create_nexus_client(endpoint="reports", service=Reports)
            with reports.execute_operation(Reports.upper, place.source(b"sync")) as result:
                direct = result.path.read_bytes()
            handle = reports.start_operation(Reports.echo, b"z" * 5 * MEBIBYTE, id="sync-1")
            return direct + handle.result()[:1]

    assert await asyncio.to_thread(call) == b"SYNCz"


async def test_nothing_is_at_the_gateway_when_everything_is_searched(place: Place) -> None:
    """Neither content nor pointer: not the URL, not the name of the blob, not the digest."""
    flock = Flock()
    await place.reports.execute_operation(Reports.upper, place.source(flock.put("content").encode() * 10_000))
    blobs = place.blobs()
    assert len(blobs) == 2
    database = [
        path.read_bytes() for path in (place.gateway._directory / "gateway").rglob("*") if path.is_file()
    ]
    assert any(b"reports" in content for content in database)
    for content in database:
        assert not flock.found_in(content)
        for blob in blobs:
            assert blob.name.encode() not in content
            assert str(place.folder).encode() not in content


async def test_handler_does_not_run_when_the_place_is_not_allowed(tmp_path: Path) -> None:
    """The caller points to where the handler's team did not say that it reads."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        client = await gateway.client("data-team", profile=profile_of(tmp_path, "data-team", "app-team"))
        handler = ReportsHandler()
        async with gateway.worker("app-team", task_queue="reports", nexus_service_handlers=[handler]):
            place = Place(gateway, client, handler, tmp_path)
            with pytest.raises(nexusrpc.HandlerError, match="not allowed") as caught:
                await place.reports.execute_operation(Reports.upper, place.source(b"x"))
            assert caught.value.type is nexusrpc.HandlerErrorType.BAD_REQUEST
            # Nor has that team a store of its own: a file cannot be a result.
            with pytest.raises(nexusrpc.HandlerError, match="not configured"):
                await place.reports.execute_operation(Reports.make, 3)
            assert handler.seen == []


async def test_result_is_refused_when_the_caller_does_not_allow_its_place(tmp_path: Path) -> None:
    """The other way around."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        await gateway.client("app-team", profile=profile_of(tmp_path, "app-team", "data-team"))
        client = await gateway.client("data-team")
        async with gateway.worker(
            "app-team", task_queue="reports", nexus_service_handlers=[ReportsHandler()]
        ):
            reports = client.create_nexus_client(endpoint="reports", service=Reports)
            with pytest.raises(BlobRefusedError, match="not allowed"):
                await reports.execute_operation(Reports.rows, ["x" * 200_000])


async def test_error_says_how_to_configure_a_store_when_there_is_none() -> None:
    """Up to the limit of envelopes payloads travel inline; beyond it, and for files, a store is needed."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        async with gateway.worker(
            "app-team", task_queue="reports", nexus_service_handlers=[ReportsHandler()]
        ):
            client = await gateway.client("data-team")
            reports = client.create_nexus_client(endpoint="reports", service=Reports)
            data = bytes(MEBIBYTE)
            assert await reports.execute_operation(Reports.echo, data) == data
            with pytest.raises(PayloadTooLargeError, match="ISTHMUS_BLOB_STORE"):
                await reports.execute_operation(Reports.echo, bytes(5 * MEBIBYTE))
            with pytest.raises(ConfigurationError, match="ISTHMUS_BLOB_STORE"):
                await reports.execute_operation(Reports.upper, File("/dev/null"))
