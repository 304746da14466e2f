"""What a lease costs while one caller has a large backlog, and how long a quiet caller waits beside it.

``python tests/benchmarks/bench_fairness.py [--json] [--backlog N …] [--leases N] [--batch N] [--callers N]``

One caller has the backlog, the others have one waiting task each, renewed whenever it was leased. Each lease
is a command of its own with its own commit, as the pump makes it.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contract.commands import starting
from tests.contract.samples import NOW, QUEUE, key, operation, session

from isthmus.gateway.commands.lease_tasks import LeasedTask, Offer, lease_tasks
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.ports import Command, UnitOfWork
from isthmus.gateway.store.sqlite import SqliteStore

BUSY = "busy"
COMMIT = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one size of the backlog gave."""

    backlog: int
    quiet_callers: int
    batch: int
    lease_microseconds_p50: float
    writer_microseconds_per_task: float
    dispatches_before_quiet_caller_max: int


def waiting(caller: str) -> Operation:
    """Return a new operation of a caller."""
    return operation(key=key(int.from_bytes(os.urandom(16)), caller))


def leasing(batch: int, rotation: Rotation) -> Command[tuple[list[LeasedTask], Rotation, float]]:
    """Return the command that leases a batch, and says what it cost the writer."""

    def command(unit: UnitOfWork) -> tuple[list[LeasedTask], Rotation, float]:
        began = time.thread_time()
        offers = [Offer(session=session(), count=batch)]
        (leased,), after = lease_tasks(
            unit, QUEUE, offers=offers, rotation=rotation, now=NOW + timedelta(seconds=1)
        )
        return list(leased), after, time.thread_time() - began

    return command


async def measure(store: SqliteStore, backlog: int, arguments: argparse.Namespace) -> Figures:
    """Lease beside a backlog of this size."""
    quiet = [f"quiet-{number}" for number in range(arguments.callers)]
    while (missing := backlog - await waiting_of_busy(store, backlog)) > 0:
        await store.transact(starting(*(waiting(BUSY) for _ in range(min(COMMIT, missing)))))
    rotation = Rotation()
    ahead = dict.fromkeys(quiet, 0)
    await store.transact(starting(*map(waiting, quiet)))
    longest, seconds, writer = 0, [], 0.0
    for _ in range(arguments.leases):
        began = time.perf_counter()
        leased, rotation, spent = await store.transact(leasing(arguments.batch, rotation))
        seconds.append(time.perf_counter() - began)
        writer += spent
        again = []
        for task in leased:
            served = task.operation.key.caller
            for caller in ahead.keys() - {served}:
                ahead[caller] += 1
            if served in ahead:
                longest = max(longest, ahead[served])
                ahead[served] = 0
                again.append(served)
        await store.transact(starting(*map(waiting, again)))
    return Figures(
        backlog=backlog,
        quiet_callers=len(quiet),
        batch=arguments.batch,
        lease_microseconds_p50=round(median(seconds) * 1e6, 1),
        writer_microseconds_per_task=round(writer / (arguments.leases * arguments.batch) * 1e6, 1),
        dispatches_before_quiet_caller_max=longest,
    )


async def waiting_of_busy(store: SqliteStore, most: int) -> int:
    """Return how many tasks of the busy caller wait, counting no further than ``most``."""
    return len(await store.transact(lambda unit: unit.ready_tasks(QUEUE, BUSY, NOW, most)))


async def run(arguments: argparse.Namespace) -> list[Figures]:
    """Measure every size on one database, the smallest first."""
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "isthmus.db")
        await store.open()
        figures = [await measure(store, backlog, arguments) for backlog in sorted(arguments.backlog)]
        await store.close()
    return figures


def main() -> None:
    """Print the figures, as JSON or as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backlog", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--leases", type=int, default=500)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--callers", type=int, default=1)
    arguments = parser.parse_args()
    figures = [dataclasses.asdict(entry) for entry in asyncio.run(run(arguments))]
    if arguments.json:
        print(json.dumps(figures))
        return
    for entry in figures:
        print("  ".join(f"{name}={value}" for name, value in entry.items()))


if __name__ == "__main__":
    main()
