"""app-team's program: sends files back."""

import asyncio
import signal

from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.acceptance.deployment.two_teams import TASK_QUEUE
from tests.acceptance.large.files import Files
from tests.faults.kill.connecting import connect

from isthmus.blobs import File
from isthmus.worker import Worker


@service_handler(service=Files)
class FilesHandler:
    """Sends files back."""

    @sync_operation
    async def back(self, _ctx: StartOperationContext, source: File) -> File:
        """Return what came."""
        return source


async def main() -> None:
    """Serve until SIGTERM."""
    async with await connect() as client:
        worker = Worker(client, task_queue=TASK_QUEUE, nexus_service_handlers=[FilesHandler()])
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(worker.shutdown()))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
