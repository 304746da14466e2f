"""A stream that is read and written at the same time: one side does not outlive the other's failure."""

import asyncio
from collections.abc import Coroutine
from typing import Any


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
