"""A calling team's program: numbers jobs and calls app-team for each, writing down what it is told and when.

A start is written down before it is made, so that a process that takes over repeats it under the same id; an
acknowledged one it takes up by its id alone. On the standard input, ``leave`` makes it close its connection
amid its calls and connect anew, ``stop`` lets it finish what it began.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import nexusrpc
from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.faults.connecting import AGAIN_SECONDS, connect
from tests.faults.kill.durable_lines import Journal, read_journal
from tests.faults.kill.jobs import Job, Receipt
from tests.faults.records import caller_log
from tests.faults.work import SCHEDULE_TO_CLOSE, SIGNAL, SIGNALS, START_TO_CLOSE, Ending, Way, Work, way_of

from isthmus.client import Client, OperationHandle
from isthmus.client.errors import (
    ClientClosedError,
    DeadlineExceededError,
    GatewayError,
    OperationTimedOutError,
    PreconditionFailedError,
    UnauthenticatedError,
    UnprovenOutcomeError,
)

PAUSE_SECONDS = 0.05
VERIFIERS = 16
WRONG_CLOCK = frozenset({"MESSAGE_EXPIRED", "MESSAGE_FROM_FUTURE"})
"""What a gateway says of messages while the clock of its machine is wrong."""


def now_us() -> int:
    """Return the time in microseconds."""
    return time.time_ns() // 1000


class Caller:
    """Calls, and keeps the log."""

    def __init__(self, client: Client, path: Path) -> None:
        self.client = client
        self.log, _ = caller_log(read_journal(path))
        self._signaled = {
            (line["number"], line["value"]) for line in read_journal(path) if line["event"] == "signaled"
        }
        self._journal = Journal(path)
        self._next = max(self.log.intended, default=0) + 1
        self._connected = asyncio.Event()
        self._connected.set()
        self.stopping = asyncio.Event()

    async def lane(self) -> None:
        """Run one job after the other."""
        while not self.stopping.is_set():
            number, self._next = self._next, self._next + 1
            self._journal.write(event="intended", number=number, at_us=now_us())
            await self.see_through(number)
            await asyncio.sleep(PAUSE_SECONDS)

    async def resume(self) -> None:
        """Take up what the process before left open."""
        ids = {entry.number: entry.operation_id for entry in self.log.acknowledged}
        open_jobs = set(self.log.intended) - {entry.number for entry in self.log.received}
        async with asyncio.TaskGroup() as group:
            for number in sorted(open_jobs):
                group.create_task(self.see_through(number, ids.get(number, "")))

    async def verify(self) -> None:
        """Ask once more how every operation ended, by its id alone."""
        free = asyncio.Semaphore(VERIFIERS)

        async def ask(number: int, operation_id: str) -> None:
            async with free:
                await self.see_through(number, operation_id)

        async with asyncio.TaskGroup() as group:
            for entry in self.log.acknowledged:
                group.create_task(ask(entry.number, entry.operation_id))

    async def leave(self) -> None:
        """Close the connection, whatever is under way, and make another."""
        self._connected.clear()
        await self.client.close()
        self.client = await connect()
        self._connected.set()

    async def see_through(self, number: int, operation_id: str = "") -> None:
        """Start a job or take it up, and see it end, however often that takes."""
        while True:
            await self._connected.wait()
            try:
                if not operation_id:
                    operation_id = (await self._start(number)).operation_id
                    self._journal.write(
                        event="acknowledged", number=number, operation_id=operation_id, at_us=now_us()
                    )
                handle = self.client.get_operation_handle(operation_id, result_type=Receipt)
                await self._signal(number, handle)
                ending, digest = await how_it_ended(handle)
            except (ClientClosedError, DeadlineExceededError, UnauthenticatedError):
                # Too late: a request is good for as long as its operation may take. Refused credentials: the
                # gateway's clock is wrong, and will be right again.
                await asyncio.sleep(AGAIN_SECONDS)
            except GatewayError as error:
                if not error.retryable and error.reason not in WRONG_CLOCK:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._journal.write(
                    event="received",
                    number=number,
                    operation_id=operation_id,
                    ending=ending,
                    digest=digest,
                    at_us=now_us(),
                )
                return

    async def _signal(self, number: int, handle: OperationHandle[Receipt]) -> None:
        """Send what has not been acknowledged, in order."""
        if way_of(number) is not Way.FOLLOWING:
            return
        for value in range(SIGNALS):
            if (number, value) in self._signaled:
                continue
            line = {"number": number, "operation_id": handle.operation_id, "value": value}
            self._journal.write(event="signaling", **line)
            try:
                await handle.signal(SIGNAL, value)
            except PreconditionFailedError:
                # It has ended: it had heard all, and this caller does not know that yet.
                return
            self._journal.write(event="signaled", **line)
            self._signaled.add((number, value))

    async def _start(self, number: int) -> OperationHandle[Receipt]:
        work = self.client.create_nexus_client(ENDPOINT, Work)
        job, job_id = Job(number=number), f"job-{number}"
        match way_of(number):
            case Way.ENDLESS:
                return await work.start_operation(
                    Work.endless, job, id=job_id, schedule_to_close_timeout=SCHEDULE_TO_CLOSE
                )
            case Way.HANGING:
                return await work.start_operation(
                    Work.hanging, job, id=job_id, start_to_close_timeout=START_TO_CLOSE
                )
            case Way.FOLLOWING:
                return await work.start_operation(Work.following, job, id=job_id)
            case Way.RUN:
                return await work.start_operation(Work.run, job, id=job_id)


async def how_it_ended(handle: OperationHandle[Receipt]) -> tuple[str, str]:
    """Wait for the end of an operation; return it, with the digest of what its handler made."""
    try:
        return Ending.SUCCEEDED, (await handle.result()).digest
    except OperationTimedOutError:
        return Ending.TIMED_OUT, ""
    except UnprovenOutcomeError as error:
        return f"unproven: {error.kind}", ""
    except nexusrpc.OperationError as error:
        return Ending.FAILED, str(error)


async def main(path: Path, *, lanes: int, verify: bool) -> None:
    """Call until told to stop; or only verify."""
    caller = Caller(await connect(), path)
    if verify:
        await caller.verify()
        await caller.client.close()
        return
    leaving: set[asyncio.Task[None]] = set()

    def told() -> None:
        match sys.stdin.readline().strip():
            case "leave":
                leaving.add(asyncio.create_task(caller.leave()))
            case _:
                caller.stopping.set()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told)
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.resume())
        for _ in range(lanes):
            group.create_task(caller.lane())
    await asyncio.gather(*leaving)
    await caller.client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.log, lanes=arguments.lanes, verify=arguments.verify))
