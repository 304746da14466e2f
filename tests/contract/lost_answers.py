"""A PostgreSQL connection that loses the answer to a commit, as a network does: the server committed."""

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from isthmus.gateway.store import postgresql
from isthmus.gateway.store.driver import Result
from isthmus.gateway.store.postgresql_connection import PostgresqlConnection, connect

_BETWEEN_LOOKS_SECONDS = 0.01


class LostAnswers:
    """Loses the answer to the next commit of a store that is opened from now on, when it is told to."""

    def __init__(self, dsn: str, patch: pytest.MonkeyPatch) -> None:
        self.dsn = dsn
        self.is_next_lost = False
        patch.setattr(postgresql, "connect", self._connect)

    def _connect(self, dsn: str, *, purpose: str) -> PostgresqlConnection:
        raw = connect(dsn, purpose=purpose).raw
        return _Connection(raw, self) if purpose == "writer" else PostgresqlConnection(raw)


class _Connection(PostgresqlConnection):
    """A connection of the writer."""

    def __init__(self, raw: psycopg.Connection[Any], answers: LostAnswers) -> None:
        super().__init__(raw)
        self._answers = answers

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Result:
        """Run a statement, and hear no more after a commit whose answer is lost."""
        result = super().execute(sql, parameters)
        if sql == "COMMIT" and self._answers.is_next_lost:
            self._answers.is_next_lost = False
            self.raw.pgconn.pipeline_sync()
            self.raw.pgconn.flush()
            self._await_idle()
            self._cut()
        return result

    def _await_idle(self) -> None:
        asked = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(self._answers.dsn, autocommit=True) as other:
            while other.execute(asked, (self.raw.info.backend_pid,)).fetchone() != ("idle",):
                time.sleep(_BETWEEN_LOOKS_SECONDS)

    def _cut(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        os.dup2(ours.fileno(), self.raw.pgconn.socket)
        ours.close()
