"""A stream that is read and written at the same time: one side does not outlive the other's failure."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc.aio


async def open_for_writing(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the initial metadata before a stream is read and written.

    They would travel with the first message. A stream that failed while that one is still under way would
    send them a second time with its status: gRPC refuses this, and the client waits for a status forever.
    """
    await context.send_initial_metadata(())


async def read_and_write(read: Coroutine[Any, Any, None], write: Coroutine[Any, Any, None]) -> None:
    """Run both until both have ended. When one fails, or the caller is cancelled, the other is cancelled.

    Raises whatever the one that failed raised.
    """
    jobs = (asyncio.create_task(read), asyncio.create_task(write))
    try:
        done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        for job in done:
            job.result()
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
