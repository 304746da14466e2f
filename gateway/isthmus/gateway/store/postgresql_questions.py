"""What is asked of a PostgreSQL database before a gateway starts; nothing is written."""

import psycopg

from isthmus.gateway.store.postgresql_connection import connect, unreachable
from isthmus.gateway.store.statements import Query

PIN: str = "pin/"
PINNED = Query("", "SELECT value FROM meta WHERE name = %s::text")
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


def _ask(dsn: str, query: Query, *parameters: str) -> object:
    try:
        connection = connect(dsn, purpose="check")
        try:
            row: tuple[object, ...] | None = connection.execute(query, parameters).fetchone()
        finally:
            connection.close()
    except psycopg.OperationalError as error:
        raise unreachable(error) from error
    return None if row is None else row[0]
