"""What is asked of a PostgreSQL database before a gateway starts; nothing is written."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

import psycopg

from isthmus.gateway.store.moments import from_microseconds
from isthmus.gateway.store.postgresql_connection import PostgresqlConnection, connect, unreachable
from isthmus.gateway.store.statements import Query

PIN: str = "pin/"
MOST_CLOCK_DIFFERENCE = timedelta(seconds=1)
PINNED = Query("", "SELECT value FROM meta WHERE name = %s::text")
_TIME = Query("", "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
_MAY_CREATE = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int"


def may_create_tables(dsn: str) -> bool:
    """Whether whoever logs in with the DSN may create tables where a gateway would.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    return bool(_ask(dsn, Query("", _MAY_CREATE)))


def pinned(dsn: str, name: str) -> str | None:
    """Return what the gateways of a database have in common under a name; None before the first one started.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    found = _ask(dsn, PINNED, f"{PIN}{name}")
    return None if found is None else str(found)


def clock_difference(dsn: str, now: Callable[[], datetime]) -> timedelta:
    """Return how far a clock is ahead of the server's, negative when it is behind: at least so far.

    What the question took is no difference.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    with _connected(dsn) as connection:
        before = now()
        (microseconds,) = connection.execute(_TIME).fetchone()
        after = now()
    there = from_microseconds(microseconds)
    return max(before - there, timedelta()) + min(after - there, timedelta())


def clock_problem(difference: timedelta) -> str:
    """Return what is wrong with a clock that is so far ahead of the server's; empty when nothing is."""
    if abs(difference) <= MOST_CLOCK_DIFFERENCE:
        return ""
    seconds = abs(difference).total_seconds()
    where, what = ("ahead of", "early") if difference > timedelta() else ("behind", "late")
    return (
        f"this machine's clock is {seconds:.1f} s {where} the database server's, and gateways of one database"
        f" time out each other's operations: they would end {what}"
    )


CLOCK_FIX = (
    "Let this machine and the database server follow a time server (NTP), then start the gateway again."
)


def _ask(dsn: str, query: Query, *parameters: str) -> object:
    with _connected(dsn) as connection:
        row: tuple[object, ...] | None = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


@contextmanager
def _connected(dsn: str) -> Generator[PostgresqlConnection]:
    try:
        with closing(connect(dsn, purpose="check")) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise unreachable(error) from error
