"""A fake gateway, and clients of the data team."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta

import nexusrpc
import pytest
from tests.unit.client.fake_gateway import FakeGateway, serve
from tests.unit.client.teams import Team, trust_in

from isthmus.client import Client, Interceptor, Profile, SyncClient


@dataclass(frozen=True)
class Charge:
    """An input."""

    order: str
    cents: int


@dataclass(frozen=True)
class Receipt:
    """A result."""

    order: str
    paid: int


@nexusrpc.service
class Payments:
    """The service of the payments team."""

    charge: nexusrpc.Operation[Charge, Receipt]
    fail: nexusrpc.Operation[Charge, Receipt]
    hang: nexusrpc.Operation[Charge, Receipt]


def charge(value: dict[str, object]) -> dict[str, object]:
    """Charge an order."""
    return {"order": value["order"], "paid": value["cents"]}


@dataclass(slots=True)
class Running:
    """A fake gateway that serves."""

    gateway: FakeGateway
    address: str


@pytest.fixture
def running() -> Iterator[Running]:
    """A fake gateway with a handler for charge, none for hang."""
    gateway = FakeGateway(caller=Team.create("data-team"), handler=Team.create("payments-team"))
    gateway.handlers["charge"] = charge
    server, port = serve(gateway)
    yield Running(gateway, f"127.0.0.1:{port}")
    server.stop(None).wait()


async def connect(running: Running, *interceptors: Interceptor) -> Client:
    """Return an async client of the data team."""
    gateway = running.gateway
    return await Client.connect(
        running.address,
        profile=Profile(),
        keyring=gateway.caller,
        trust=trust_in(gateway.handler),
        interceptors=interceptors,
    )


def connect_sync(running: Running, *interceptors: Interceptor) -> SyncClient:
    """Return a sync client of the data team."""
    gateway = running.gateway
    return SyncClient.connect(
        running.address,
        profile=Profile(),
        keyring=gateway.caller,
        trust=trust_in(gateway.handler),
        interceptors=interceptors,
    )


@pytest.fixture
async def client(running: Running) -> AsyncIterator[Client]:
    """An async client of the data team."""
    async with await connect(running) as connected:
        yield connected


@pytest.fixture
def sync_client(running: Running) -> Iterator[SyncClient]:
    """A sync client of the data team."""
    with connect_sync(running) as connected:
        yield connected


SHORT = timedelta(seconds=20)
