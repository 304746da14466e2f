"""What a large store costs: retained operations (cost of one more), open ones (start, memory).

``python tests/benchmarks/bench_growth.py [--retained 10000,1000000] [--open 200000] [--operations N]
[--directory D] [--json]``

A thousand operations are really started and completed, and their rows, audit events and envelopes are copied
by SQL: operations under new ids, waiting tasks under the ids of the first thousand. Then more operations are
started and completed, each acknowledged, 64 to a commit; the stores take turns. (That plans do not depend on
the size is held by ``tests/integration/test_store_query_plans.py``.) With open ones a gateway is started, in
a process of its own: how long until it serves, and what memory it took at most, three seconds later.
"""

import argparse
import asyncio
import dataclasses
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_store import new_operations, run_batches, starting, thread_seconds
from tests.contract.samples import operation
from tests.integration.registry_gateway import development_config

from isthmus.gateway.server import Gateway
from isthmus.gateway.store.sqlite import SqliteStore

TEMPLATE = 1000
BATCH = 64
_TABLES = ("operations", "envelopes", "tasks", "audit_events")
TURNS = 5
_LOOK_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one more operation costs beside so many that are retained: medians over the turns."""

    retained: int
    file_megabytes: float
    operations_per_second: float
    writer_microseconds_per_operation: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a start costs with so many open operations; memory is that of a process of its own."""

    open_operations: int
    start_seconds: float
    peak_megabytes: float


async def make_template(path: Path, *, are_open: bool) -> None:
    """Start operations, and complete them or not."""
    store = SqliteStore(path)
    await store.open()
    if are_open:
        for first in range(0, TEMPLATE, BATCH):
            numbers = range(first + 1, min(first + BATCH, TEMPLATE) + 1)
            await asyncio.gather(*(store.transact(starting(operation(number))) for number in numbers))
    else:
        await run_batches(store, new_operations(TEMPLATE), BATCH)
    await store.close()


def multiply(path: Path, count: int) -> None:
    """Copy what is in a store until there are so many operations, each row under its own place and id."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        (events,) = connection.execute("SELECT count(*) FROM audit_events").fetchone()
        for table in _TABLES:
            copied = f"SELECT * FROM main.{table}"  # noqa: S608 - only names of our own schema
            connection.execute(f"CREATE TEMP TABLE template_{table} AS {copied}")
        for copy in range(1, count // TEMPLATE):
            connection.execute("BEGIN")
            _copy(connection, "operations", {"position": copy * TEMPLATE, "operation_id": None})
            _copy(connection, "envelopes", {"envelope_id": copy * TEMPLATE})
            _copy(connection, "tasks", {"task_id": copy * TEMPLATE * 2})
            _copy(connection, "audit_events", {"position": copy * events, "operation": copy * TEMPLATE})
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copy(connection: sqlite3.Connection, table: str, moved: dict[str, int | None]) -> None:
    """Copy the template's rows of a table: numbers are moved by so much, None is a new random id."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    chosen = [
        f"{name} + {moved[name]}" if moved.get(name) else "randomblob(16)" if name in moved else name
        for name in columns
    ]
    connection.execute(
        f"INSERT INTO main.{table} ({', '.join(columns)}) "  # noqa: S608 - only names of our own schema
        f"SELECT {', '.join(chosen)} FROM template_{table} ORDER BY 1"
    )


async def measure_turn(path: Path, count: int) -> tuple[float, float]:
    """Start and complete operations in a store; return operations a second and microseconds of the writer."""
    store = SqliteStore(path)
    await store.open()
    await run_batches(store, new_operations(BATCH * 4), BATCH)
    operations = new_operations(count)
    writer, began = await thread_seconds(store), time.perf_counter()
    await run_batches(store, operations, BATCH)
    elapsed = time.perf_counter() - began
    writer = await thread_seconds(store) - writer
    await store.close()
    return count / elapsed, writer / count * 1e6


def measure_growth(folder: Path, sizes: list[int], count: int) -> list[Growth]:
    """Fill a store for each size, then measure them in turns."""
    paths = {size: folder / f"retained-{size}.db" for size in sizes}
    for size, path in paths.items():
        asyncio.run(make_template(path, are_open=False))
        multiply(path, size)
    turns = [
        {size: asyncio.run(measure_turn(path, count)) for size, path in paths.items()} for _ in range(TURNS)
    ]
    return [
        Growth(
            retained=size,
            file_megabytes=round(paths[size].stat().st_size / 1e6, 1),
            operations_per_second=round(statistics.median(turn[size][0] for turn in turns), 1),
            writer_microseconds_per_operation=round(statistics.median(turn[size][1] for turn in turns), 1),
        )
        for size in sizes
    ]


def measure_opening(folder: Path, count: int) -> Opening:
    """Start a gateway on many open operations, in a process of its own whose memory counts."""
    config = development_config(folder / f"open-{count}")
    config.data_dir.mkdir()
    path = config.database_file
    asyncio.run(make_template(path, are_open=True))
    multiply(path, count)
    ran = subprocess.run(
        [sys.executable, __file__, "--open-only", str(config.data_dir)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, megabytes = json.loads(ran.stdout)
    return Opening(open_operations=count, start_seconds=seconds, peak_megabytes=megabytes)


async def start_once(data_dir: Path) -> tuple[float, float]:
    """Start a gateway; return the seconds until it serves, and this process's peak in megabytes."""
    began = time.perf_counter()
    gateway = await Gateway.start(development_config(data_dir))
    seconds = time.perf_counter() - began
    await asyncio.sleep(_LOOK_SECONDS)
    await gateway.stop()
    return round(seconds, 3), round(peak_kilobytes() / 1024, 1)


def peak_kilobytes() -> int:
    """Return the most memory that this process took; what getrusage says begins with that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Print the figures, as JSON or as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retained", default="10000,1000000", help="sizes to compare, comma separated")
    parser.add_argument("--open", default="1000,200000", help="numbers of open operations, comma separated")
    parser.add_argument("--operations", type=int, default=4096, help="started and completed in each turn")
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--open-only", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open_only is not None:
        print(json.dumps(asyncio.run(start_once(arguments.open_only))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        folder = Path(directory)
        sizes = [int(text) for text in arguments.retained.split(",") if text]
        counts = [int(text) for text in arguments.open.split(",") if text]
        growth = measure_growth(folder, sizes, arguments.operations)
        figures = [dataclasses.asdict(entry) for entry in growth]
        figures += [dataclasses.asdict(measure_opening(folder, count)) for count in counts]
    if arguments.json:
        print(json.dumps(figures))
        return
    for entry in figures:
        print("  ".join(f"{name}={value}" for name, value in entry.items()))


if __name__ == "__main__":
    main()
