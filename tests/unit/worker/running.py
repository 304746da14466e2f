"""Workers for the length of a block."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from tests.unit.worker.parties import HandlerClient
from tests.unit.worker.services import PaymentsHandler

from isthmus.worker import Worker


@contextlib.asynccontextmanager
async def running(client: HandlerClient, handler: PaymentsHandler, **options: Any) -> AsyncGenerator[Worker]:
    """Run a worker in the background, and shut it down gracefully."""
    worker = Worker(client, task_queue="payments", nexus_service_handlers=[handler], **options)
    job = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.shutdown()
        await job
