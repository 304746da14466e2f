"""A gateway that serves operations, on each kind of store."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.integration.caller_session import Session
from tests.integration.operation_gateway import RunningGateway, running_gateway
from tests.integration.sealed_messages import CALLER

from isthmus.gateway.ports import Store
from isthmus.gateway.store.postgresql import PostgresqlStore
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.testing import LocalGateway


@pytest.fixture(params=["sqlite", "postgresql"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Where gateways keep everything; a module for which that makes no difference names one kind."""
    kind: str = request.param
    return kind


@pytest.fixture
def new_store(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path) -> Callable[[], Store]:
    """Makes a store over the same data each time, empty at first."""
    if store_kind == "sqlite":
        return lambda: SqliteStore(tmp_path / "isthmus.db")
    dsn: str = request.getfixturevalue("postgresql_dsn")
    return lambda: PostgresqlStore(dsn)


@pytest.fixture
async def operation_gateway(new_store: Callable[[], Store]) -> AsyncIterator[RunningGateway]:
    """A gateway with one endpoint of the handler that the caller may use."""
    async with running_gateway(new_store()) as gateway:
        yield gateway


@pytest.fixture
async def session(operation_gateway: RunningGateway) -> AsyncIterator[Session]:
    """A session of the caller."""
    opened = Session(operation_gateway.client(CALLER))
    yield opened
    opened.reader.cancel()


@pytest.fixture
def local_gateway(request: pytest.FixtureRequest, store_kind: str) -> LocalGateway:
    """A gateway with keys and credentials for every team, not started yet."""
    local = LocalGateway()
    if store_kind == "postgresql":
        local._dsn = request.getfixturevalue("postgresql_dsn")
    return local
