"""Bring a database to the schema of this release."""

import logging
import sqlite3
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from isthmus.gateway.core.errors import ConfigurationError

_logger = logging.getLogger(__name__)


def migrate(url: str) -> None:
    """Run the migrations that the database lacks, all in one transaction; none is the usual case.

    Args:
        url: of SQLAlchemy, such as ``sqlite:////var/lib/isthmus/isthmus.db``.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    engine = create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        _begin_at_once(engine)
    try:
        with engine.begin() as connection:
            _upgrade(connection)
    except DatabaseError as error:
        raise ConfigurationError(
            f"the database cannot be migrated: {error.orig}",
            reason="STORE_SCHEMA",
            fix="Is it a database of Isthmus, and can the gateway write to it?",
        ) from error
    finally:
        engine.dispose()


def migration_config() -> Config:
    """Return Alembic's configuration: the environment lies in this package, and there is no file for it."""
    config = Config()
    config.set_main_option("script_location", str(resources.files(f"{__package__}.migrations")))
    return config


def _begin_at_once(engine: Engine) -> None:
    """Make transactions contain everything: Python's driver begins them only before it changes rows."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    config = migration_config()
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    current = set(MigrationContext.configure(connection).get_current_heads())
    if not current <= known:
        raise ConfigurationError(
            f"a newer release of Isthmus wrote the database (schema {', '.join(sorted(current - known))})",
            reason="STORE_SCHEMA_TOO_NEW",
            fix="Run that release, or restore a backup from before it.",
        )
    if current == set(scripts.get_heads()):
        return
    _logger.info("migrating the database from %s", ", ".join(sorted(current)) or "nothing")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
