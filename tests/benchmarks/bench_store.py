"""What the store costs: operations started and completed, by the number of commands that share a commit.

``python tests/benchmarks/bench_store.py [--store sqlite|postgresql] [--json] [--operations N]
[--retained N] [--directory D]``

Each operation is two commands, each acknowledged after its own commit: start (operation, request, task, audit
record) and complete (operation, outcome, task removed, audit record). The CPU figures are those of the writer
thread alone, system calls included, and of the whole process; what PostgreSQL's server uses is in neither.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.load.stores import SQLITE, STORES, StoreOfRun, new_store
from tests.contract.samples import complete, operation, start

from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports import Command, Store, UnitOfWork
from isthmus.gateway.store.postgresql import PostgresqlStore
from isthmus.gateway.store.sqlite import SqliteStore

REQUEST = os.urandom(1_500)
OUTCOME = os.urandom(1_500)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one batch size gave."""

    batch: int
    operations: int
    operations_per_second: float
    writer_microseconds_per_operation: float
    process_microseconds_per_operation: float


def new_operations(count: int) -> list[Operation]:
    """Return operations with ids as random as real ones."""
    return [operation(int.from_bytes(os.urandom(16))) for _ in range(count)]


async def run_batches(store: Store, operations: list[Operation], batch: int) -> None:
    """Start and complete the operations, a batch at a time, each batch in two commits."""
    for first in range(0, len(operations), batch):
        chosen = operations[first : first + batch]
        await asyncio.gather(*(store.transact(starting(of)) for of in chosen))
        await asyncio.gather(*(store.transact(completing(of.key)) for of in chosen))


def starting(of: Operation) -> Command[None]:
    """Return the command that starts an operation."""

    def command(unit: UnitOfWork) -> None:
        unit.operation(of.key)
        start(unit, of, REQUEST)

    return command


def completing(of: OperationKey) -> Command[None]:
    """Return the command that completes an operation."""

    def command(unit: UnitOfWork) -> None:
        complete(unit, of, OUTCOME)

    return command


async def thread_seconds(store: Store) -> float:
    """Return the CPU time of the writer thread so far."""
    return await store.transact(lambda _unit: time.thread_time())


async def measure(store: Store, batch: int, count: int) -> Figures:
    """Measure one batch size."""
    operations = new_operations(count)
    writer = await thread_seconds(store)
    process = time.process_time()
    began = time.perf_counter()
    await run_batches(store, operations, batch)
    elapsed = time.perf_counter() - began
    process = time.process_time() - process
    writer = await thread_seconds(store) - writer
    return Figures(
        batch=batch,
        operations=count,
        operations_per_second=round(count / elapsed, 1),
        writer_microseconds_per_operation=round(writer / count * 1e6, 1),
        process_microseconds_per_operation=round(process / count * 1e6, 1),
    )


def open_store(of: StoreOfRun, directory: Path) -> Store:
    """Return the store, not opened yet."""
    return PostgresqlStore(of.dsn) if of.dsn else SqliteStore(directory / "isthmus.db")


async def run(arguments: argparse.Namespace, of: StoreOfRun) -> list[Figures]:
    """Measure every batch size on one database."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        store = open_store(of, Path(directory))
        await store.open()
        await run_batches(store, new_operations(max(arguments.retained, 256)), 256)
        figures = [
            await measure(store, batch, max(batch * 4, min(arguments.operations, batch * 500)))
            for batch in arguments.batches
        ]
        await store.close()
    return figures


def main() -> None:
    """Print the figures, as JSON or as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default=SQLITE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--retained", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    arguments = parser.parse_args()
    with new_store(arguments.store) as of:
        figures = [dataclasses.asdict(entry) for entry in asyncio.run(run(arguments, of))]
    if arguments.json:
        print(json.dumps(figures))
        return
    for entry in figures:
        print("  ".join(f"{name}={value}" for name, value in entry.items()))


if __name__ == "__main__":
    main()
