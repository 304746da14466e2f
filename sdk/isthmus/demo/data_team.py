"""The data team's program: prepares batches, has the other team place them, and serves Datasets meanwhile."""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client import Client
from isthmus.demo.dataset import Dataset, load_airports, read_dataset
from isthmus.demo.journal import Journal
from isthmus.demo.preparation import cut_batches, digest_rows, prepare, summarize
from isthmus.demo.services import Batch, ColumnQuestion, Datasets, DatasetSummary, RoutePlanning
from isthmus.worker import Worker

TASK_QUEUE = "datasets"
CALLS_AT_ONCE = 16


@service_handler(service=Datasets)
class DatasetsHandler:
    """Serves Datasets."""

    def __init__(self, *datasets: Dataset) -> None:
        self._datasets = {dataset.name: dataset for dataset in datasets}

    @sync_operation
    def describe(self, _ctx: StartOperationContext, question: ColumnQuestion) -> DatasetSummary:
        """Say how full and how varied the columns of a dataset are."""
        dataset = self._datasets.get(question.dataset)
        if dataset is None:
            raise nexusrpc.HandlerError(
                f"there is no dataset {question.dataset!r}; known: {', '.join(self._datasets)}",
                type=nexusrpc.HandlerErrorType.NOT_FOUND,
            )
        return summarize(dataset.name, dataset.rows)


async def place_all(client: Client, batches: Sequence[Batch], *, name: str, journal: Journal) -> None:
    """Call the application team once for each batch, several at a time, whatever happens on the way."""
    routes = client.create_nexus_client(endpoint="routes", service=RoutePlanning)
    free = asyncio.Semaphore(CALLS_AT_ONCE)

    async def place(batch: Batch) -> None:
        async with free:
            # The id follows from the batch: whoever repeats the call attaches to the operation that exists.
            digest = digest_rows(batch.rows)
            handle = await routes.start_operation(
                RoutePlanning.place_batch, batch, id=f"{name}-{batch.number}-{digest[:16]}"
            )
            journal.write("started", operation_id=handle.operation_id, batch=batch.number, digest=digest)
            report = await handle.result()
            journal.write("result", operation_id=handle.operation_id, batch=batch.number, report=report)

    async with asyncio.TaskGroup() as calls:
        for batch in batches:
            calls.create_task(place(batch))


async def main(*, journal: Journal, dataset: Dataset, batch_rows: int, serve_only: bool) -> None:
    """Serve Datasets; place every batch, unless told to serve only; stop at SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with (
        await Client.connect() as client,
        Worker(client, task_queue=TASK_QUEUE, nexus_service_handlers=[DatasetsHandler(dataset)]),
    ):
        if not serve_only:
            prepared = prepare(dataset)
            batches = list(cut_batches(prepared.rows, batch_rows=batch_rows))
            journal.write(
                "prepared",
                batches=len(batches),
                rows=len(prepared.rows),
                duplicates=prepared.duplicates,
                rejected=prepared.rejected,
            )
            await place_all(client, batches, name=dataset.name, journal=journal)
            journal.write("finished")
        await stopping.wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Prepare batches and have them placed.")
    arguments.add_argument("--journal", type=Path, help="where to write down what was done")
    arguments.add_argument(
        "--input", type=Path, help="a .csv or .jsonl file instead of the airports of the world"
    )
    arguments.add_argument("--batch-rows", type=int, default=250, help="rows of a batch at most")
    arguments.add_argument("--serve-only", action="store_true", help="call nobody")
    chosen = arguments.parse_args()
    asyncio.run(
        main(
            journal=Journal(chosen.journal),
            dataset=load_airports() if chosen.input is None else read_dataset(chosen.input),
            batch_rows=chosen.batch_rows,
            serve_only=chosen.serve_only,
        )
    )
