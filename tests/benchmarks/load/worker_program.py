"""app-team's program: serves Echo until SIGTERM."""

import asyncio
import signal

from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.acceptance.deployment.two_teams import TASK_QUEUE
from tests.benchmarks.load.echo import Echo

from isthmus.client import Client
from isthmus.worker import Worker

MOST_TASKS = 512


@service_handler(service=Echo)
class EchoHandler:
    """Costs nothing, so that what is measured is the way there and back."""

    @sync_operation
    async def echo(self, _ctx: StartOperationContext, value: str) -> str:
        """Answer with the input."""
        return value


async def main() -> None:
    """Serve until SIGTERM."""
    async with await Client.connect() as client:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            nexus_service_handlers=[EchoHandler()],
            max_concurrent_tasks=MOST_TASKS,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(worker.shutdown()))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
