"""Bring a database to the schema of this release.

A migration leaves gateways of the release before it running, and lets them start again: they find a schema
that they do not know, and in it the oldest revision that a gateway has to know to serve it. So an upgrade
is: migrate, replace the gateways one by one; and going back is replacing them again.
"""

import logging

from sqlalchemy import Connection

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.store.migrations.revisions import (
    Migration,
    SchemaState,
    migrations_after,
    read_state,
    upgrade,
)
from isthmus.gateway.store.schema_transaction import SchemaDatabase

_logger = logging.getLogger(__name__)


def migrate(database: SchemaDatabase) -> None:
    """Run the migrations that the database lacks, all in one transaction; none is the usual case.

    A database of a newer release is left as it is, when that release lets gateways of this one serve it.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    state = None
    if database.is_shared:
        # The usual start waits for nobody: neither for a backup nor for another gateway that starts.
        state = schema_state(database)
    if state is None or not state.is_servable:
        with database.transaction() as connection:
            state = read_state(connection)
            if not state.is_servable:
                _upgrade(connection, state)
    if state.is_newer:
        _logger.warning(
            "the database has schema %s of a newer release, which leaves this one serving", state.current
        )


def migrate_strictly(database: SchemaDatabase) -> tuple[Migration, ...]:
    """Do as ``migrate``, and return what was run; a newer schema is refused, whoever may serve it.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    with database.transaction() as connection:
        state = read_state(connection)
        refuse_newer(state)
        pending = migrations_after(state.current, database.dialect)
        if pending:
            _upgrade(connection, state)
    return pending


def schema_state(database: SchemaDatabase) -> SchemaState:
    """Return which schema a database has and which one this release knows; nothing is written.

    Raises:
        ConfigurationError: the database cannot be read.
    """
    with database.transaction(writes=False) as connection:
        return read_state(connection)


def pending_migrations(database: SchemaDatabase) -> tuple[Migration, ...]:
    """Return what ``migrate_strictly`` would run; nothing is written.

    Raises:
        ConfigurationError: a newer release wrote the database, or it cannot be read.
    """
    state = schema_state(database)
    refuse_newer(state)
    return migrations_after(state.current, database.dialect)


def refuse_newer(state: SchemaState) -> None:
    """Refuse a schema that this release does not know.

    Raises:
        ConfigurationError: it is such a schema.
    """
    if state.is_newer:
        raise ConfigurationError(
            "a newer release of Isthmus wrote the database "
            f"(schema {state.current}; this release knows {state.newest})",
            reason="STORE_SCHEMA_TOO_NEW",
            fix="Run that release, or restore a backup from before it.",
        )


def _upgrade(connection: Connection, state: SchemaState) -> None:
    refuse_newer(state)
    _logger.info("migrating the database from %s to %s", state.current or "nothing", state.newest)
    upgrade(connection)
