"""Who has which keys at hand, over the wire: a namespace sees its own processes, and nobody else's."""

from collections.abc import Awaitable
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import refusal
from tests.integration.operation_gateway import Client, RunningGateway
from tests.integration.sealed_messages import CALLER, HANDLER

from isthmus.v1 import key_service_pb2 as pb
from isthmus.v1 import key_service_pb2_grpc
from isthmus.wire.chain import MAX_KEYS

FIRST, SECOND = b"f" * 16, b"s" * 16
KEYS = [b"a" * 16, b"b" * 16]
LEASE_SECONDS = 300


@pytest.fixture
def store_kind() -> str:
    """The contract suite of stores has key holders on each of them."""
    return "sqlite"


class Holders:
    """The key holders as one namespace sees them."""

    def __init__(self, client: Client) -> None:
        stub: Any = key_service_pb2_grpc.KeyServiceStub(client.channel)
        self.stub = cast("key_service_pb2_grpc.KeyServiceAsyncStub", stub)
        self.metadata = client.metadata

    def report(self, holder_id: bytes = FIRST, **said: Any) -> Awaitable[pb.ReportKeysResponse]:
        """Say which keys a process has."""
        values: dict[str, Any] = {"key_ids": KEYS, "identity": "a:1", "holder_id": holder_id} | said
        request = pb.ReportKeysRequest(**values)
        return self.stub.ReportKeys(request, metadata=self.metadata)

    def page(self, **wanted: Any) -> Awaitable[pb.ListKeyHoldersResponse]:
        """Ask for holders."""
        return self.stub.ListKeyHolders(pb.ListKeyHoldersRequest(**wanted), metadata=self.metadata)

    async def alive(self) -> dict[bytes, bool]:
        """Return who lives, of those that are known."""
        return {holder.holder_id: holder.alive for holder in (await self.page()).holders}


@pytest.fixture
def holders(operation_gateway: RunningGateway) -> Holders:
    """The holders of the handler's namespace."""
    return Holders(operation_gateway.client(HANDLER))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def test_namespace_sees_its_own_processes_when_it_asks(
    operation_gateway: RunningGateway, holders: Holders
) -> None:
    """What they said, as whom the gateway knows them, and nothing of the others."""
    await Holders(operation_gateway.client(CALLER)).report(SECOND, identity="other:1")
    answer = await holders.report(key_ids=[*reversed(KEYS), KEYS[0]])
    assert answer.lease_ms == LEASE_SECONDS * 1000
    (holder,) = (await holders.page()).holders
    assert (holder.holder_id, holder.identity, holder.alive) == (FIRST, "a:1", True)
    assert holder.principal == f"{HANDLER}/process"
    assert list(holder.key_ids) == KEYS
    assert holder.reported_at.ToDatetime() == operation_gateway.clock.at.replace(tzinfo=None)


async def test_process_counts_as_gone_when_it_leaves_or_is_not_heard_of(
    operation_gateway: RunningGateway, holders: Holders
) -> None:
    """It is remembered as gone, and lives again when it reports again."""
    await holders.report(FIRST)
    await holders.report(SECOND, leaving=True)
    assert await holders.alive() == {FIRST: True, SECOND: False}
    operation_gateway.advance(seconds=LEASE_SECONDS)
    await holders.report(SECOND)
    assert await holders.alive() == {FIRST: False, SECOND: True}


async def test_processes_are_listed_in_pages_when_many(holders: Holders) -> None:
    """Each once."""
    for number in range(5):
        await holders.report(bytes([number]) * 16)
    found, token = [], ""
    while True:
        page = await holders.page(page_size=2, page_token=token)
        found += [holder.holder_id[0] for holder in page.holders]
        token = page.next_page_token
        if not token:
            break
    assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"holder_id": b"short"}, "HOLDER_ID"),
        ({"identity": "x" * 201}, "IDENTITY"),
        ({"identity": "a\nb"}, "IDENTITY"),
        ({"key_ids": [b"short"]}, "KEY_ID"),
        ({"key_ids": KEYS * (MAX_KEYS // 2 + 1)}, "TOO_MANY_KEYS"),
    ],
)
async def test_report_is_refused_when_it_is_malformed(
    holders: Holders, said: dict[str, Any], reason: str
) -> None:
    """And nothing of it is kept."""
    assert await refused(holders.report(**said)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert await holders.alive() == {}


@pytest.mark.parametrize("token", ["bm8gaGV4", "not base64"])
async def test_page_is_refused_when_its_token_is_made_up(holders: Holders, token: str) -> None:
    """It is no id of a holder."""
    code = grpc.StatusCode.INVALID_ARGUMENT
    assert await refused(holders.page(page_token=token)) == (code, "PAGE_TOKEN")
