"""A gateway, two namespaces, and a client of the one that serves."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.worker.gateway import Gateway
from tests.unit.worker.parties import Caller, HandlerClient, MemoryKeyring, handler_client


@pytest.fixture(scope="session")
def handler_keyring() -> MemoryKeyring:
    """The namespace that serves."""
    return MemoryKeyring("payments-team")


@pytest.fixture(scope="session")
def caller(handler_keyring: MemoryKeyring) -> Caller:
    """The namespace that calls, pinned by the one that serves."""
    return Caller(keyring=MemoryKeyring("data-team"), handler=handler_keyring)


@pytest.fixture(scope="session")
def stranger(handler_keyring: MemoryKeyring) -> Caller:
    """A namespace that nobody pinned."""
    return Caller(keyring=MemoryKeyring("stranger"), handler=handler_keyring)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that the test plays."""
    async with Gateway() as running:
        yield running


@pytest.fixture
async def client(
    gateway: Gateway, handler_keyring: MemoryKeyring, caller: Caller
) -> AsyncIterator[HandlerClient]:
    """The client of a worker."""
    made = handler_client(gateway.address, handler_keyring, caller.keyring)
    yield made
    await made.connection.close()
