"""data-team's program: numbers jobs and calls app-team for each, writing down what it is told.

A start is written down before it is made, so that a process that takes over repeats it under the same id; an
acknowledged one it takes up by its handle alone. ``stop`` on the standard input lets it finish what it began.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import nexusrpc
from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.faults.kill.connecting import connect
from tests.faults.kill.durable_lines import Journal, read_journal
from tests.faults.kill.jobs import Ending, Job, Jobs, Receipt
from tests.faults.kill.records import CallerLog

from isthmus.client import Client, NexusClient, OperationHandle

LANES = 24
PAUSE_SECONDS = 0.05
REPEATED = 20


class Caller:
    """Calls, and keeps the log."""

    def __init__(self, client: Client, path: Path) -> None:
        self._client = client
        self._jobs: NexusClient[Jobs] = client.create_nexus_client(ENDPOINT, Jobs)
        self.log = CallerLog.of(read_journal(path))
        self._journal = Journal(path)
        self._next = max(self.log.intended, default=0) + 1
        self.stopping = asyncio.Event()

    async def lane(self) -> None:
        """Run one job after the other."""
        while not self.stopping.is_set():
            number, self._next = self._next, self._next + 1
            self._journal.write(event="intended", number=number)
            await self.start(number)
            # Traffic that flows, not traffic that fills the disk.
            await asyncio.sleep(PAUSE_SECONDS)

    async def resume(self) -> None:
        """Take up what the process before left open, and ask again for some of what had ended."""
        handles = {entry.number: entry.operation_id for entry in self.log.acknowledged}
        ended = {entry.number for entry in self.log.received}
        async with asyncio.TaskGroup() as group:
            for number in self.log.intended:
                if number in ended:
                    continue
                if number in handles:
                    group.create_task(self.take_up(number, handles[number]))
                else:
                    group.create_task(self.start(number))
            for number in sorted(ended)[-REPEATED:]:
                group.create_task(self.start(number))

    async def verify(self) -> None:
        """Ask once more how every operation ended, by its id alone."""
        free = asyncio.Semaphore(LANES)

        async def ask(number: int, operation_id: str) -> None:
            async with free:
                await self.take_up(number, operation_id)

        known = {entry.number: entry.operation_id for entry in self.log.acknowledged}
        async with asyncio.TaskGroup() as group:
            for number, operation_id in known.items():
                group.create_task(ask(number, operation_id))

    async def start(self, number: int) -> None:
        """Start a job, or attach to it, and see it end."""
        handle = await self._jobs.start_operation(Jobs.run, Job(number=number), id=f"job-{number}")
        self._journal.write(event="acknowledged", number=number, operation_id=handle.operation_id)
        await self._finish(number, handle)

    async def take_up(self, number: int, operation_id: str) -> None:
        """See a job end that another process started."""
        await self._finish(number, self._client.get_operation_handle(operation_id, result_type=Receipt))

    async def _finish(self, number: int, handle: OperationHandle[Receipt]) -> None:
        try:
            ending, digest = Ending.SUCCEEDED, (await handle.result()).digest
        except nexusrpc.OperationError as error:
            ending, digest = Ending.FAILED, str(error)
        self._journal.write(
            event="received", number=number, operation_id=handle.operation_id, ending=ending, digest=digest
        )


async def main(path: Path, *, verify: bool) -> None:
    """Call until told to stop; or only verify."""
    async with await connect() as client:
        caller = Caller(client, path)
        if verify:
            await caller.verify()
            return
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), caller.stopping.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(caller.resume())
            for _ in range(LANES):
                group.create_task(caller.lane())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.log, verify=arguments.verify))
