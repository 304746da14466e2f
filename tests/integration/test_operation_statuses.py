"""Many operations in one call: over the wire, and through the clients."""

import asyncio
from datetime import timedelta

import grpc
import grpc.aio
import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.integration.operation_calls import refusal, start
from tests.integration.operation_gateway import Client, RunningGateway
from tests.integration.sealed_messages import CALLER, HANDLER, request_header, sealed

from isthmus.client import OperationStatus, SyncClient
from isthmus.gateway.api import brief_statuses
from isthmus.testing import LocalGateway
from isthmus.v1 import operation_service_pb2 as pb
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.names import format_operation_id


async def statuses(client: Client, *operation_ids: bytes) -> list[pb.BriefStatus]:
    """Ask where operations are."""
    answer = await client.operations.BatchGetOperationStatuses(
        pb.BatchGetOperationStatusesRequest(operation_ids=operation_ids), metadata=client.metadata
    )
    return list(answer.statuses)


async def test_operation_is_unknown_when_others_ask(operation_gateway: RunningGateway) -> None:
    """Its handler and strangers learn nothing here: only the caller's own operations have these ids."""
    header = request_header()
    await start(operation_gateway.client(CALLER), sealed(header))
    (own,) = await statuses(operation_gateway.client(CALLER), header.operation_id)
    assert own.presence == pb.PRESENCE_KEPT
    assert own.request.header == parse_envelope(sealed(header)).header_bytes
    for namespace in (HANDLER, "stranger"):
        (other,) = await statuses(operation_gateway.client(namespace), header.operation_id)
        assert other == pb.BriefStatus(operation_id=header.operation_id, presence=pb.PRESENCE_UNKNOWN)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([], "BATCH_SIZE"),
        ([number.to_bytes(16) for number in range(257)], "BATCH_SIZE"),
        ([bytes(16)] * 2, "BATCH_DUPLICATE"),
        ([bytes(15)], "WIRE_FORMAT"),
    ],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_call_is_refused_when_it_asks_for_nonsense(
    operation_gateway: RunningGateway, asked: list[bytes], reason: str
) -> None:
    """None, too many, one twice, or what is no id."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await statuses(operation_gateway.client(CALLER), *asked)
    code, said = refusal(refused.value)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said == reason


async def test_answer_is_cut_when_it_would_be_too_large(
    operation_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is always there, so that asking for the others leads somewhere."""
    caller = operation_gateway.client(CALLER)
    headers = [request_header() for _ in range(3)]
    for header in headers:
        await start(caller, sealed(header))
    monkeypatch.setattr(brief_statuses, "MOST_BYTES_ANSWERED", 1)
    (first,) = await statuses(caller, *(header.operation_id for header in headers))
    assert first.operation_id == headers[0].operation_id


@nexusrpc.service
class Reports:
    """Makes reports."""

    make: nexusrpc.Operation[str, str]
    fail: nexusrpc.Operation[str, str]


@service_handler(service=Reports)
class ReportsHandler:
    """Makes reports, or not."""

    @sync_operation
    async def make(self, _ctx: StartOperationContext, name: str) -> str:
        """Make one."""
        return name.upper()

    @sync_operation
    async def fail(self, _ctx: StartOperationContext, name: str) -> str:
        """Fail for good."""
        raise nexusrpc.OperationError(f"no {name}", state=nexusrpc.OperationErrorState.FAILED)


async def test_every_kind_of_status_is_told_when_a_client_asks(
    local_gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Async and sync say the same, in the order that was asked for, over as many calls as it takes."""
    monkeypatch.setattr("isthmus.client.statuses.MOST_IN_ONE_CALL", 2)
    async with local_gateway as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        client = await gateway.client("data-team")
        reports = client.create_nexus_client(endpoint="reports", service=Reports)
        canceled = await reports.start_operation(Reports.make, "canceled")
        await canceled.cancel()
        late = await reports.start_operation(
            Reports.make, "late", schedule_to_start_timeout=timedelta(milliseconds=1)
        )
        with pytest.raises(nexusrpc.OperationError):
            await late.result()
        async with gateway.worker(
            "app-team", task_queue="reports", nexus_service_handlers=[ReportsHandler()]
        ):
            made = await reports.start_operation(Reports.make, "made")
            failed = await reports.start_operation(Reports.fail, "failed")
            await made.result()
            with pytest.raises(nexusrpc.OperationError):
                await failed.result()
        running = await reports.start_operation(Reports.make, "running")
        unknown = format_operation_id(bytes(16))
        handles = (canceled, late, made, failed, running)
        ids = [unknown, *(handle.operation_id for handle in handles), made.operation_id]
        expected = [
            ("unknown", False, False),
            ("canceled", False, True),
            ("failed", False, True),
            ("succeeded", True, True),
            ("failed", True, True),
            ("running", False, False),
            ("succeeded", True, True),
        ]

        def shown(found: list[OperationStatus]) -> list[tuple[str, bool, bool]]:
            assert [entry.operation_id for entry in found] == ids
            return [(entry.status, entry.attested, entry.ended) for entry in found]

        assert shown(await client.get_operation_statuses(ids)) == expected
        assert await client.get_operation_statuses([]) == []
        team = await gateway.namespace("data-team")

        def ask() -> list[OperationStatus]:
            with SyncClient.connect(
                gateway.address, keyring=team.keyring, trust=team.trust, credentials=team.credentials
            ) as sync:
                return sync.get_operation_statuses(ids)

        assert shown(await asyncio.to_thread(ask)) == expected
