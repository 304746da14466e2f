"""A gateway that serves operations."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.caller_session import Session
from tests.integration.operation_gateway import RunningGateway, running_gateway
from tests.integration.sealed_messages import CALLER


@pytest.fixture
async def operation_gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway with one endpoint of the handler that the caller may use."""
    async with running_gateway(tmp_path / "isthmus.db") as gateway:
        yield gateway


@pytest.fixture
async def session(operation_gateway: RunningGateway) -> AsyncIterator[Session]:
    """A session of the caller."""
    opened = Session(operation_gateway.client(CALLER))
    yield opened
    opened.reader.cancel()
