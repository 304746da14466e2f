"""The application team's program: a worker that serves RoutePlanning, and asks the data team one question."""

import argparse
import asyncio
import math
import signal
from collections import Counter
from pathlib import Path

from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client import Client
from isthmus.demo.geography import coordinates, group_of, has_unknown_timezone, nearest_hub
from isthmus.demo.journal import Journal
from isthmus.demo.preparation import digest_rows
from isthmus.demo.services import (
    Batch,
    BatchReport,
    ColumnQuestion,
    Datasets,
    Hub,
    Position,
    RoutePlanning,
)
from isthmus.worker import Worker, current

TASK_QUEUE = "routes"


def place(batch: Batch) -> BatchReport:
    """Find the nearest hub of every row, and count."""
    hubs: Counter[str] = Counter()
    distances: list[float] = []
    for row in batch.rows:
        here = coordinates(row)
        if here is not None:
            hub, distance = nearest_hub(here)
            hubs[hub] += 1
            distances.append(distance)
    return BatchReport(
        number=batch.number,
        rows=len(batch.rows),
        groups=dict(Counter(group_of(row) for row in batch.rows)),
        hubs=dict(hubs),
        distance_km=round(math.fsum(distances), 3),
        unknown_timezones=sum(has_unknown_timezone(row) for row in batch.rows),
        digest=digest_rows(batch.rows),
    )


@service_handler(service=RoutePlanning)
class RoutePlanningHandler:
    """Serves RoutePlanning. It may run again for the same operation: all that it does is compute."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal or Journal(None)

    @sync_operation
    def place_batch(self, _ctx: StartOperationContext, batch: Batch) -> BatchReport:
        """Place a batch of rows."""
        task = current()
        told = {"operation_id": task.operation_id, "attempt": task.attempt, "batch": batch.number}
        self._journal.write("begun", caller=task.caller_principal, **told)
        report = place(batch)
        self._journal.write("done", digest=report.digest, **told)
        return report

    @sync_operation
    async def find_hub(self, _ctx: StartOperationContext, position: Position) -> Hub:
        """Find the hub that is nearest to one position."""
        code, distance = nearest_hub((position.latitude, position.longitude))
        return Hub(code=code, distance_km=round(distance, 3))


async def main(*, journal: Journal, dataset: str | None) -> None:
    """Ask what the dataset looks like, then serve until SIGTERM."""
    client = await Client.connect()
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        nexus_service_handlers=[RoutePlanningHandler(journal)],
        max_concurrent_tasks=8,
    )
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: asyncio.ensure_future(worker.shutdown())
    )
    async with client:
        if dataset is not None:
            await ask_for_columns(client, journal, dataset)
        await worker.run()


async def ask_for_columns(client: Client, journal: Journal, dataset: str) -> None:
    """Call the data team. A restarted process asks with the same id, and gets the answer that exists."""
    datasets = client.create_nexus_client(endpoint="datasets", service=Datasets)
    summary = await datasets.execute_operation(
        Datasets.describe, ColumnQuestion(dataset=dataset), id=f"columns-of-{dataset}"
    )
    journal.write(
        "columns", dataset=summary.dataset, rows=summary.rows, columns=[c.name for c in summary.columns]
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Serve RoutePlanning.")
    arguments.add_argument("--journal", type=Path, help="where to write down what was done")
    arguments.add_argument("--dataset", help="ask the data team about this dataset first")
    chosen = arguments.parse_args()
    asyncio.run(main(journal=Journal(chosen.journal), dataset=chosen.dataset))
