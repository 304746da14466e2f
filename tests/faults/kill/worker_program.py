"""app-team's program: serves jobs, and keeps a ledger of every run of its handler."""

import asyncio
import secrets
import signal
import sys
from pathlib import Path

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.acceptance.deployment.two_teams import TASK_QUEUE
from tests.faults.kill.connecting import connect
from tests.faults.kill.durable_lines import Journal
from tests.faults.kill.jobs import Ending, Job, Jobs, Receipt

from isthmus.worker import Worker, current

LONGEST_WORK_MS = 40


@service_handler(service=Jobs)
class JobsHandler:
    """Runs jobs; every run ends with another receipt."""

    def __init__(self, ledger: Journal) -> None:
        self._ledger = ledger

    @sync_operation
    async def run(self, _ctx: StartOperationContext, job: Job) -> Receipt:
        """Work for a moment, write the receipt into the ledger, answer with it."""
        task = current()
        receipt = Receipt(number=job.number, attempt=task.attempt, nonce=secrets.token_hex(8))
        # Work takes time, so that a kill meets handlers in the middle of it.
        await asyncio.sleep(secrets.randbelow(LONGEST_WORK_MS) / 1000)
        if job.fails_first and task.attempt == 1:
            raise nexusrpc.HandlerError("not yet", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        self._ledger.write(
            operation_id=task.operation_id, number=job.number, attempt=task.attempt, digest=receipt.digest
        )
        if job.ending is Ending.FAILED:
            raise nexusrpc.OperationError(receipt.digest, state=nexusrpc.OperationErrorState.FAILED)
        return receipt


async def main(ledger: Path) -> None:
    """Serve until SIGTERM."""
    async with await connect() as client:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            nexus_service_handlers=[JobsHandler(Journal(ledger))],
            max_concurrent_tasks=16,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(worker.shutdown()))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
