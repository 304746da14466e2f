"""app-team's program: does the work of the fault tests, and keeps a ledger of every run of its handlers."""
# ruff: noqa: A002 - parameters are named as in nexusrpc

import argparse
import asyncio
import secrets
import signal
from pathlib import Path

import nexusrpc
from nexusrpc.handler import (
    CancelOperationContext,
    OperationHandler,
    StartOperationContext,
    StartOperationResultAsync,
    operation_handler,
    service_handler,
    sync_operation,
)
from tests.acceptance.deployment.two_teams import TASK_QUEUE
from tests.faults.connecting import AGAIN_SECONDS, connect
from tests.faults.kill.durable_lines import Journal
from tests.faults.kill.jobs import Ending, Job, Receipt
from tests.faults.work import SIGNALS, Work

from isthmus.transport.errors import UnauthenticatedError
from isthmus.v1 import worker_service_pb2
from isthmus.worker import Worker, current
from isthmus.worker.outbox import Outbox

LONGEST_WORK_MS = 40
# Few enough that work waits, and callers have to take turns.
CONCURRENT_TASKS = 3


class Endless(OperationHandler[Job, Receipt]):
    """Says that it finishes later, and never does."""

    async def start(self, ctx: StartOperationContext, input: Job) -> StartOperationResultAsync:
        """Return a token that leads nowhere."""
        return StartOperationResultAsync(secrets.token_hex(8))

    async def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        """Do nothing: nobody cancels here."""


@service_handler(service=Work)
class WorkHandler:
    """Works; every run ends with another receipt."""

    def __init__(self, ledger: Journal) -> None:
        self._ledger = ledger

    @sync_operation
    async def run(self, _ctx: StartOperationContext, job: Job) -> Receipt:
        """Work for a moment, write the receipt into the ledger, answer with it."""
        task = current()
        receipt = Receipt(number=job.number, attempt=task.attempt, nonce=secrets.token_hex(8))
        await asyncio.sleep(secrets.randbelow(LONGEST_WORK_MS) / 1000)
        if job.fails_first and task.attempt == 1:
            raise nexusrpc.HandlerError("not yet", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        self._ledger.write(
            operation_id=task.operation_id, number=job.number, attempt=task.attempt, digest=receipt.digest
        )
        if job.ending is Ending.FAILED:
            raise nexusrpc.OperationError(receipt.digest, state=nexusrpc.OperationErrorState.FAILED)
        return receipt

    @sync_operation
    async def following(self, _ctx: StartOperationContext, job: Job) -> Receipt:
        """Write down each signal that is heard; answer when all have been."""
        task = current()
        receipt = Receipt(number=job.number, attempt=task.attempt, nonce=secrets.token_hex(8))
        missing = set(range(SIGNALS))
        async for signal_ in task.signals():
            value = signal_.value_as(int)
            self._ledger.write(
                event="heard",
                operation_id=task.operation_id,
                run=receipt.digest,
                session=signal_.session,
                sequence=signal_.sequence,
                value=value,
            )
            missing.discard(value)
            if not missing:
                break
        self._ledger.write(
            operation_id=task.operation_id, number=job.number, attempt=task.attempt, digest=receipt.digest
        )
        if job.ending is Ending.FAILED:
            raise nexusrpc.OperationError(receipt.digest, state=nexusrpc.OperationErrorState.FAILED)
        return receipt

    @operation_handler
    def endless(self) -> OperationHandler[Job, Receipt]:
        """Never finish."""
        return Endless()

    @sync_operation
    async def hanging(self, _ctx: StartOperationContext, job: Job) -> Receipt:
        """Run until somebody ends the task."""
        await asyncio.Event().wait()
        return Receipt(number=job.number, attempt=0, nonce="")


def answer_twice() -> None:
    """Make this process send each of its answers two times."""
    take = Outbox.take

    def taken_twice(self: Outbox) -> list[worker_service_pb2.TaskOutcome]:
        taken = take(self)
        return [*taken, *taken]

    Outbox.take = taken_twice  # type: ignore[method-assign]  # the fault itself


async def main(ledger: Path) -> None:
    """Serve until SIGTERM; begin anew when the gateway, whose clock is wrong, refuses the credentials."""
    handler = WorkHandler(Journal(ledger))
    while True:
        try:
            return await serve(handler)
        except UnauthenticatedError:
            await asyncio.sleep(AGAIN_SECONDS)


async def serve(handler: WorkHandler) -> None:
    """Serve until SIGTERM."""
    async with await connect() as client:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            nexus_service_handlers=[handler],
            max_concurrent_tasks=CONCURRENT_TASKS,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(worker.shutdown()))
        await worker.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--answer-twice", action="store_true")
    arguments = parser.parse_args()
    if arguments.answer_twice:
        answer_twice()
    asyncio.run(main(arguments.ledger))
