"""The stores that a benchmark can put under the gateway.

PostgreSQL is the server that ``ISTHMUS_TEST_POSTGRESQL_DSN`` names, else one for this run, as
``tests/postgresql_server.py`` says; the database is new in either case, and dropped in the end.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from tests.postgresql_server import DSN_VARIABLE, running_server

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
STORES = (SQLITE, POSTGRESQL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOfRun:
    """A new, empty store.

    ``dsn`` is empty for the embedded one. ``server`` is the process that started all of the server's, None
    where there is none on this machine that is known.
    """

    dsn: str = ""
    server: int | None = None

    def config(self) -> str:
        """Return the lines of the gateway's configuration that name it."""
        return f'[store]\ndsn = "{self.dsn}"' if self.dsn else ""


@contextmanager
def new_store(kind: str) -> Generator[StoreOfRun]:
    """Make a store of one of STORES.

    Raises:
        NoServerError: it is PostgreSQL, and there is none.
    """
    if kind == SQLITE:
        yield StoreOfRun()
        return
    with running_server() as databases:
        dsn = databases.create()
        try:
            yield StoreOfRun(dsn=dsn, server=_server(dsn))
        finally:
            databases.drop(dsn)


def _server(dsn: str) -> int | None:
    if os.environ.get(DSN_VARIABLE):
        # It may be on another machine.
        return None
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    pid_file = Path(str(row[0] if row else "")) / "postmaster.pid"
    # In a container it is not there.
    return int(pid_file.read_text(encoding="ascii").split()[0]) if pid_file.exists() else None
