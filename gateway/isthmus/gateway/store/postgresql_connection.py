"""Connections to PostgreSQL, with settings that are set, read back and compared.

Whether an acknowledged commit survives is decided by settings of the server, the database, the role and the
session, whichever spoke last. So every connection answers for its own, before it carries anything.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import BytesBinaryDumper, StrBinaryDumper

from isthmus.gateway.core.errors import ConfigurationError, UnavailableError
from isthmus.gateway.store.driver import Result
from isthmus.gateway.store.statements import Query

OLDEST_SERVER = 170_000
_CONNECT_SECONDS = 5
# One prepared statement for each query, and for each table and power of two that rows are written in.
_CACHED_STATEMENTS = 512

_DURABLE: Mapping[str, frozenset[str]] = {
    # Anything less acknowledges what a crash, or a failover to a synchronous standby, takes back.
    "synchronous_commit": frozenset({"on", "remote_apply"}),
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    "server_encoding": frozenset({"UTF8"}),
    "transaction_read_only": frozenset({"off"}),
}
_SESSION: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    # A gateway that stops half-way must not hold up the others.
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
    "transaction_timeout": "1min",
    # A plan that is made while a table is small, and kept, would scan it when it is large.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# The operating system gives a dead peer up after about half a minute.
_NETWORK: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class _Null:
    """Nothing, of a type: a bare None would make another prepared statement of each pattern of them."""


class _NullNumber(_Null):
    pass


class _NullText(_Null):
    pass


class _NullBytes(_Null):
    pass


class _NullDumper(Dumper):
    format = psycopg.pq.Format.BINARY

    def dump(self, obj: object) -> None:  # noqa: ARG002 - psycopg calls it
        return None


class _NullNumberDumper(_NullDumper):
    oid = psycopg.adapters.types["int8"].oid


class _NullTextDumper(_NullDumper):
    oid = psycopg.adapters.types["text"].oid


class _NullBytesDumper(_NullDumper):
    oid = psycopg.adapters.types["bytea"].oid


_NULLS: Mapping[str, _Null] = {"bigint": _NullNumber(), "text": _NullText(), "bytea": _NullBytes()}


class PostgresqlConnection:
    """``driver.Connection`` over psycopg's; transactions are begun and ended by statements only."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Result:
        """Run a statement, prepared."""
        text = sql
        if isinstance(sql, Query):
            text = sql.postgresql
            if sql.types and None in parameters:
                nulls = [_NULLS[name] for name in sql.types]
                width = len(nulls)
                parameters = [
                    nulls[number % width] if value is None else value
                    for number, value in enumerate(parameters)
                ]
        cursor = psycopg.RawCursor(self.raw)
        cursor.format = psycopg.pq.Format.BINARY
        if parameters:
            return cursor.execute(numbered(text), parameters, prepare=True)
        if text.startswith("ROLLBACK"):
            return self._roll_back(cursor, text)
        return cursor.execute(text.encode(), prepare=True)

    def _roll_back(self, cursor: "psycopg.RawCursor[Any]", text: str) -> Result:
        # The driver forgets what was prepared when it sees this command, in case tables were made and are
        # gone again, unless it prepares nothing at all. No gateway makes tables while it serves.
        threshold, self.raw.prepare_threshold = self.raw.prepare_threshold, None
        try:
            return cursor.execute(text.encode())
        finally:
            self.raw.prepare_threshold = threshold

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self.raw.close()


@lru_cache(maxsize=_CACHED_STATEMENTS)
def numbered(text: str) -> bytes:
    """Return a statement with the parameters as PostgreSQL writes them: ``$1`` for the first ``%s``.

    psycopg would do it, but again at each execution once a statement is long or has more than 50 parameters,
    as every statement of many rows has: milliseconds each.

    Raises:
        ValueError: there is a percent sign that is neither a parameter nor doubled.
    """
    parts: list[str] = []
    count = done = 0
    for found in _PERCENT.finditer(text):
        parts.append(text[done : found.start()])
        done = found.end()
        if found[0] == "%s":
            count += 1
            parts.append(f"${count}")
        elif found[0] == "%%":
            parts.append("%")
        else:
            raise ValueError(f"{found[0]!r} is no parameter in {text!r}")
    return "".join([*parts, text[done:]]).encode()


_PERCENT = re.compile(r"%.?", re.DOTALL)


def connect(dsn: str, *, purpose: str, settings: Mapping[str, str] = _SESSION) -> PostgresqlConnection:
    """Return a connection that obeys the settings.

    Args:
        dsn: a connection string or URI of libpq.
        purpose: what the server calls it, behind "isthmus": for whoever looks at its activity.
        settings: of the session.

    Raises:
        ConfigurationError: it does not obey, or the server is not fit.
        psycopg.Error: the database cannot be reached.
    """
    raw = psycopg.connect(
        dsn,
        autocommit=True,
        prepare_threshold=0,
        connect_timeout=_CONNECT_SECONDS,
        application_name=f"isthmus {purpose}",
        **_NETWORK,
    )
    try:
        raw.prepared_max = _CACHED_STATEMENTS
        for kind, dumper in _DUMPERS.items():
            raw.adapters.register_dumper(kind, dumper)
        for name, value in settings.items():
            raw.execute("SELECT set_config(%s, %s, false)", (name, value), prepare=False)
        check_settings(raw, settings)
    except BaseException:
        raw.close()
        raise
    return PostgresqlConnection(raw)


_DUMPERS: Mapping[type, type[Dumper]] = {
    int: Int8BinaryDumper,
    str: StrBinaryDumper,
    bytes: BytesBinaryDumper,
    _NullNumber: _NullNumberDumper,
    _NullText: _NullTextDumper,
    _NullBytes: _NullBytesDumper,
}


def unreachable(error: psycopg.Error) -> UnavailableError:
    """Return what is said of a database that cannot be reached.

    What the driver says may name the user and the address, not the password; the log has it as the cause.
    """
    return UnavailableError(
        f"the database cannot be reached: {type(error).__name__}",
        reason="STORE_UNAVAILABLE",
        fix="Is the server up, and are address, user and password of store.dsn right?",
        retry_after_seconds=1.0,
    )


def check_server(dsn: str) -> None:
    """Look whether a server keeps what it acknowledges; nothing is written.

    Raises:
        ConfigurationError: it does not, or the DSN is none.
        UnavailableError: it cannot be reached.
    """
    called(dsn)
    try:
        connect(dsn, purpose="check").close()
    except psycopg.OperationalError as error:
        raise unreachable(error) from error


def called(dsn: str) -> str:
    """Return what people call a database: where it is, never who logs in or with what.

    Raises:
        ConfigurationError: the DSN is none.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # What the driver says of it may be a part of it.
        raise ConfigurationError(
            "the DSN is no connection string of PostgreSQL",
            fix="Write it as postgresql://user@host/database, or as host=… dbname=….",
        ) from None
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{parts.get('host', '')}{port}/{parts.get('dbname', '')}"


def check_settings(raw: psycopg.Connection[Any], settings: Mapping[str, str] = _SESSION) -> None:
    """Compare what a connection really does with what it has to do.

    Raises:
        ConfigurationError: they differ.
    """
    if raw.info.server_version < OLDEST_SERVER:
        raise ConfigurationError(
            f"the database is PostgreSQL {raw.info.server_version // 10_000}",
            reason="STORE_TOO_OLD",
            fix=f"Use PostgreSQL {OLDEST_SERVER // 10_000} or later: it bounds how long a transaction lasts.",
        )
    for name, allowed in _DURABLE.items():
        actual = _setting(raw, name)
        if actual not in allowed:
            raise ConfigurationError(
                f"the database does not keep what it acknowledges: {name} is {actual}",
                reason="STORE_NOT_DURABLE",
                fix=f"Set {name} to {' or '.join(sorted(allowed))} for the server, database and role.",
            )
    for name, wanted in settings.items():
        actual = _setting(raw, name)
        if actual != wanted:
            raise ConfigurationError(
                f"the database does not obey {name} = {wanted}: it says {actual}",
                reason="STORE_NOT_DURABLE",
                fix="Connect to the server itself, not through a pooler that shares sessions.",
            )


def _setting(raw: psycopg.Connection[Any], name: str) -> str | None:
    row = raw.execute("SELECT current_setting(%s, true)", (name,), prepare=False).fetchone()
    return None if row is None else row[0]
