"""app-team's program: takes steps one by one, and remembers in its heartbeat which are done.

It says on its output and in its journal what it does, and takes a step only when a line comes on its input:
so the test decides in the middle of which step it is killed.
"""

import asyncio
import sys
from pathlib import Path

from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.acceptance.deployment.two_teams import TASK_QUEUE
from tests.acceptance.talk.steps import Walks
from tests.faults.kill.connecting import connect
from tests.faults.kill.durable_lines import Journal

from isthmus.worker import Worker, current


@service_handler(service=Walks)
class WalksHandler:
    """Walks."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @sync_operation
    async def walk(self, _ctx: StartOperationContext, steps: int) -> list[int]:
        """Go on where the attempt before stopped."""
        context = current()
        done: list[int] = context.heartbeat_details or []
        for number in range(len(done), steps):
            self._journal.write(attempt=context.attempt, began=number)
            await asyncio.to_thread(sys.stdin.readline)
            self._journal.write(attempt=context.attempt, did=number)
            done.append(number)
            await context.heartbeat(done).durable()
        return done

    @sync_operation
    async def follow(self, _ctx: StartOperationContext, steps: int) -> list[int]:
        """Take the steps that the caller signals."""
        context = current()
        done: list[int] = []
        async for signal in context.signals():
            done.append(signal.value)
            self._journal.write(attempt=context.attempt, heard=signal.value)
            if len(done) == steps:
                break
        return done


async def main(journal: Path) -> None:
    """Serve until it is killed."""
    async with await connect() as client:
        handler = WalksHandler(Journal(journal))
        # One at a time: whatever else is started waits.
        worker = Worker(
            client, task_queue=TASK_QUEUE, nexus_service_handlers=[handler], max_concurrent_tasks=1
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
