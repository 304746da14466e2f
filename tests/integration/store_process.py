"""A process that commits to a store and acknowledges, for tests that watch it or kill it.

``python -m tests.integration.store_process DATABASE FIRST COUNT [CONCURRENT]`` starts COUNT operations
numbered from FIRST and writes ``ack NUMBER`` to its standard output as soon as the store says that each is
committed.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.contract.samples import operation, start

from isthmus.gateway.ports import UnitOfWork
from isthmus.gateway.store.sqlite import SqliteStore

READY = b"ready\n"
ACKNOWLEDGEMENT = b"ack "


def request(number: int) -> bytes:
    """Return the request of the operation with this number: bytes that occur in no other."""
    return b"<request %d>" % number


def acknowledgement(number: int) -> bytes:
    """Return what is written once that operation is committed."""
    return ACKNOWLEDGEMENT + b"%d\n" % number


def starting(number: int) -> Callable[[UnitOfWork], None]:
    """Return the command that starts the operation with this number."""
    return lambda unit: start(unit, operation(number), request(number))


async def run(database: Path, first: int, count: int, concurrent: int) -> None:
    """Start the operations, so many at a time, and acknowledge each."""
    store = SqliteStore(database)
    await store.open()
    numbers = iter(range(first, first + count))
    # One system call each, unbuffered: a trace shows when it happened.
    os.write(1, READY)

    async def caller() -> None:
        for number in numbers:
            await store.transact(starting(number))
            os.write(1, acknowledgement(number))

    await asyncio.gather(*(caller() for _ in range(concurrent)))
    await store.close()


def main() -> None:
    """Read the arguments."""
    database, first, count, *concurrent = sys.argv[1:]
    asyncio.run(run(Path(database), int(first), int(count), int(concurrent[0]) if concurrent else 1))


if __name__ == "__main__":
    main()
