"""Isthmus: data-team's program, which calls what app-team serves (``load.worker_program``)."""

import asyncio
import sys
from pathlib import Path

# As a script: then only this file's own folder is on the path.
sys.path.insert(0, str(Path(__file__).parents[3]))

from measured import follow_orders
from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.benchmarks.load.echo import Echo

from isthmus.client import Client


async def main() -> None:
    """Follow orders."""
    async with await Client.connect() as client:
        echo = client.create_nexus_client(ENDPOINT, Echo)

        async def once(value: str) -> str:
            return await echo.execute_operation(Echo.echo, value)

        await follow_orders(once)


if __name__ == "__main__":
    asyncio.run(main())
