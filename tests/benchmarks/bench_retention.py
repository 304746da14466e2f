"""What retention costs on PostgreSQL, and what dropping partitions of payloads would save (ADR 0034).

``python -m tests.benchmarks.bench_retention [--rows 1000000] [--operations 100000]`` prints JSON. Whatever is
compared takes turns, so that a noisy neighbour disturbs both.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, Final

import psycopg
from tests.contract.samples import ENDPOINT, NOW, ended, endpoint, operation, record, start, succeeded
from tests.postgresql_server import running_server

from isthmus.gateway.ports import EnvelopeSlot, UnitOfWork
from isthmus.gateway.store import retention
from isthmus.gateway.store.postgresql import PostgresqlStore

MESSAGE: Final = b"\x5a" * 1_000
BATCH: Final = 64
RECORDS: Final = 512
DAYS: Final = 30
INSERTS: Final = 1_500
LOOKUPS: Final = 4_000
_FAR: Final = 2**40


def whole_operation(number: int, unit: UnitOfWork) -> None:
    """Write what an operation leaves: its row, two messages, two records of the log."""
    of = operation(number)
    start(unit, of, MESSAGE)
    after = succeeded(of, NOW + timedelta(milliseconds=number))
    unit.update_operation(after)
    unit.put_envelope(of.key, EnvelopeSlot.OUTCOME, MESSAGE)
    unit.append_audit(record(ended(after), at=NOW + timedelta(milliseconds=number)))


class _Nothing:
    """Stands for deleting what a dropped partition takes along."""

    def run(self, *_ignored: object) -> None:
        """Do nothing."""


async def retire(dsn: str, operations: int) -> dict[str, Any]:
    """Retire operations by the steps of the loop, with and without deleting their messages, in turns."""
    store = PostgresqlStore(dsn)
    await store.open()
    await store.transact(lambda unit: unit.put_endpoint(endpoint()))
    began = time.perf_counter()
    for first in range(1, operations + 1, 1024):
        numbers = range(first, min(first + 1024, operations + 1))
        await asyncio.gather(*(store.transact(partial(whole_operation, number)) for number in numbers))

    writing = time.perf_counter() - began

    def step(unit: UnitOfWork) -> tuple[int, bool]:
        retired = unit.retire_operations(ENDPOINT, closed_until=NOW + timedelta(days=9), limit=RECORDS)
        return retired.operations, retired.more

    seconds = {"with messages": 0.0, "without": 0.0}
    done = dict.fromkeys(seconds, 0)
    deleting: Any = retention.DELETE_ENVELOPES
    for turn in count():
        way = [*seconds][turn % 2]
        retention.DELETE_ENVELOPES = deleting if way == "with messages" else _Nothing()  # type: ignore[assignment]
        began = time.perf_counter()
        retired, more = await store.transact(step)
        seconds[way] += time.perf_counter() - began
        done[way] += retired
        if not more:
            break
    retention.DELETE_ENVELOPES = deleting
    await store.close()
    return {
        "microseconds_each": {
            "written": round(1e6 * writing / operations),
            **{f"retired {way}": round(1e6 * seconds[way] / done[way]) for way in seconds},
        },
        "operations": operations,
    }


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def written(connection: psycopg.Connection[Any], work: Callable[[], object]) -> dict[str, float]:
    """Return how long work takes, and how much of the write-ahead log it writes."""
    before = scalar(connection, "SELECT pg_current_wal_lsn()")
    seconds = timed(work)
    size = connection.execute("SELECT pg_current_wal_lsn() - %s::pg_lsn", (before,)).fetchone()
    assert size is not None
    return {"seconds": round(seconds, 2), "wal_mib": round(float(size[0]) / 2**20, 1)}


def scalar(connection: psycopg.Connection[Any], query: str) -> Any:  # noqa: ANN401
    """Return the one value of a query."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def make_tables(connection: psycopg.Connection[Any], rows: int) -> None:
    """Make the same messages in a table, and in one of a partition a day."""
    connection.execute("CREATE TABLE plain (envelope_id bigint PRIMARY KEY, envelope bytea NOT NULL)")
    connection.execute(
        "CREATE TABLE parts (envelope_id bigint PRIMARY KEY, envelope bytea NOT NULL)"
        " PARTITION BY RANGE (envelope_id)"
    )
    each = rows // DAYS
    for day in range(2 * DAYS):
        connection.execute(
            f"CREATE TABLE parts_{day} PARTITION OF parts"
            f" FOR VALUES FROM ({day * each}) TO ({(day + 1) * each})".encode()
        )
    connection.execute(
        "CREATE TABLE parts_rest PARTITION OF parts"
        f" FOR VALUES FROM ({2 * DAYS * each}) TO (MAXVALUE)".encode()
    )
    for table in ("plain", "parts"):
        connection.execute(
            f"INSERT INTO {table} SELECT n, convert_to(repeat(md5(n::text), 31), 'UTF8')"  # noqa: S608
            f" FROM generate_series(0, {each * DAYS - 1}) AS n".encode()
        )
        connection.execute(f"VACUUM ANALYZE {table}".encode())


def insert(connection: psycopg.Connection[Any], table: str, after: int, number: int) -> None:
    """Write a batch as a commit of the gateway does."""
    first = after + number * BATCH
    rows = ", ".join(["(%s, %s)"] * BATCH)
    values = [value for number in range(first, first + BATCH) for value in (number, MESSAGE)]
    connection.execute(f"INSERT INTO {table} VALUES {rows}".encode(), values)  # noqa: S608


def move(connection: psycopg.Connection[Any], after: int, number: int) -> None:
    """Bring a batch to another partition, as the end of operations would if days of ends were partitions."""
    first = after + number * BATCH
    update = "UPDATE parts SET envelope_id = envelope_id + %s WHERE envelope_id >= %s AND envelope_id < %s"
    connection.execute(update.encode(), (_FAR, first, first + BATCH), prepare=True)


def look_up(connection: psycopg.Connection[Any], table: str, rows: int, number: int) -> None:
    """Read a message by its id, a distant one each time."""
    query = f"SELECT envelope FROM {table} WHERE envelope_id = %s"  # noqa: S608
    connection.execute(query.encode(), (number * 7919 % rows,), prepare=True).fetchone()


def in_turns(works: dict[str, Callable[[int], object]], times: int) -> dict[str, float]:
    """Do each work so many times, in turns; return microseconds each."""
    seconds = dict.fromkeys(works, 0.0)
    for number in range(times):
        for name, work in works.items():
            seconds[name] += timed(partial(work, number))
    return {name: round(1e6 * total / times, 1) for name, total in seconds.items()}


def delete_all(connection: psycopg.Connection[Any], rows: int) -> None:
    """Delete as the loop does: a transaction for each step, of statements of 64 keys."""
    statement = f"DELETE FROM plain WHERE envelope_id IN (VALUES {', '.join(['(%s::bigint)'] * BATCH)})"  # noqa: S608
    for first in range(0, rows, 4 * BATCH):
        with connection.transaction():
            for begin in range(first, min(first + 4 * BATCH, rows), BATCH):
                connection.execute(statement.encode(), [*range(begin, begin + BATCH)], prepare=True)


def drop_all(connection: psycopg.Connection[Any]) -> None:
    """Drop the partitions of all days, one after the other."""
    for day in range(DAYS):
        connection.execute(f"DROP TABLE parts_{day}".encode())


def tables(dsn: str, rows: int) -> dict[str, Any]:
    """Compare a table with partitions: writing, reading, and getting rid of everything."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        # What is compared is work; how fast the disk is would hide it.
        connection.execute("SET synchronous_commit = off")
        make_tables(connection, rows)
        each = rows // DAYS
        whole = each * DAYS
        names = ("plain", "parts")
        figures: dict[str, Any] = {
            "rows": whole,
            "insert_64_rows_us": in_turns(
                {name: partial(insert, connection, name, whole) for name in names},
                INSERTS,
            ),
            "move_64_rows_us": in_turns({"parts": partial(move, connection, whole)}, INSERTS),
            "look_up_us": in_turns(
                {name: partial(look_up, connection, name, whole) for name in names},
                LOOKUPS,
            ),
            "delete": written(connection, lambda: delete_all(connection, whole)),
        }
        figures["vacuum"] = written(connection, lambda: connection.execute("VACUUM plain"))
        figures["drop"] = written(connection, lambda: drop_all(connection))
    return figures


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="taken for granted")
    asked = parser.parse_args()
    with running_server() as databases:
        figures = {
            "tables": tables(databases.create(), asked.rows),
            "retire": asyncio.run(retire(databases.create(), asked.operations)),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
