"""A worker looks once whether any endpoint sends work to its queue."""

import asyncio
import logging
from typing import cast

import pytest
from tests.integration.echo import EchoHandler

from isthmus.testing import LocalGateway
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.worker.connected import WorkerClient
from isthmus.worker.queue_look import warn_if_unused

pytestmark = pytest.mark.timeout(60)


class Warnings(logging.Handler):
    """Keeps what is warned of, and tells who waits for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.put_nowait(record.getMessage())


async def test_worker_warns_when_no_endpoint_names_its_queue() -> None:
    """Of its own namespace, that is: others' endpoints send nothing here. It serves all the same."""
    warnings = Warnings()
    logging.getLogger("isthmus.worker").addHandler(warnings)
    try:
        async with LocalGateway() as gateway:
            await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
            await gateway.endpoint("ehco", namespace="data-team", allow=["app-team"])
            async with gateway.worker("app-team", task_queue="ehco", nexus_service_handlers=[EchoHandler()]):
                said = await warnings.said.get()
    finally:
        logging.getLogger("isthmus.worker").removeHandler(warnings)
    assert said == (
        "no endpoint of app-team sends work to task queue ehco (they name: echo);"
        " create one with: isthmus endpoint create NAME --task-queue ehco"
    )


async def test_nothing_is_said_when_an_endpoint_names_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the endpoint itself is called."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("echo", namespace="app-team", task_queue="queue")
        client = await gateway.client("app-team")
        await warn_if_unused(client, "queue")
    assert not [record for record in caplog.records if "no endpoint" in record.getMessage()]


class Stranger:
    """A client that the gateway does not know."""

    namespace = "app-team"

    def __init__(self, address: str) -> None:
        self.connection = Connection(ChannelSettings(address=address))


async def test_nothing_is_said_when_the_look_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is a courtesy, and no work depends on it: neither without a credential nor without a gateway."""
    async with LocalGateway() as gateway:
        for address in (gateway.address, "127.0.0.1:1"):
            stranger = Stranger(address)
            await warn_if_unused(cast("WorkerClient", cast("object", stranger)), "queue")
            await stranger.connection.close()
    assert not [record for record in caplog.records if record.name == "isthmus.worker"]
