"""Migrations give the schema that the code is written for."""

import re
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.store import registry
from isthmus.gateway.store.migrate import migrate, migration_config
from isthmus.gateway.store.schema import metadata


def described(database: Path) -> dict[str, str]:
    """Return the statement that made each table and index, without regard to spacing."""
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if name != "alembic_version"}


def test_migrations_give_the_schema_when_they_run_on_an_empty_database(tmp_path: Path) -> None:
    """Table by table and index by index, conditions of partial indexes included."""
    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    migrate(f"sqlite:///{migrated}")
    engine = create_engine(f"sqlite:///{created}")
    metadata.create_all(engine)
    engine.dispose()
    assert described(migrated) == described(created)


def test_alembic_finds_no_difference_when_it_compares(tmp_path: Path) -> None:
    """What Alembic would generate next is nothing."""
    migrate(f"sqlite:///{tmp_path}/isthmus.db")
    engine = create_engine(f"sqlite:///{tmp_path}/isthmus.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def migrate_to(database: Path, revision: str) -> None:
    """Bring a database to the schema of a release."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        config = migration_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_endpoint_of_the_release_before_is_read_when_it_was_written_after_the_migration(
    tmp_path: Path,
) -> None:
    """What schema 0001 wrote stays, and a gateway of it that still runs goes on writing what it knows."""
    database = tmp_path / "isthmus.db"
    migrate_to(database, "0001")
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    known = [row["name"] for row in connection.execute("PRAGMA table_info(endpoints)")]
    values = dict.fromkeys(known, 1) | {"task_queue": "q", "allow_rules": "[]", "deleted_at": None}
    write = f"INSERT INTO endpoints ({', '.join(known)}) VALUES ({', '.join('?' * len(known))})"  # noqa: S608 - only names of columns
    connection.execute(write, [*(values | {"name": "before"}).values()])
    connection.commit()
    migrate(f"sqlite:///{database}")
    connection.execute(write, [*(values | {"name": "after"}).values()])
    connection.commit()
    connection.row_factory = None
    for name in ("before", "after"):
        row = connection.execute(registry.SELECT_ENDPOINT, (name,)).fetchone()
        assert registry.endpoint_from_row(row).weight_of("data") == 1
    connection.close()


def test_nothing_stays_when_a_migration_fails(tmp_path: Path) -> None:
    """A gateway that dies in the middle of its first start finds an empty database at the second."""
    database = tmp_path / "isthmus.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE meta (somebody TEXT)")
    connection.commit()
    connection.close()
    before = described(database)
    with pytest.raises(ConfigurationError, match="meta already exists") as failed:
        migrate(f"sqlite:///{database}")
    assert failed.value.reason == "STORE_SCHEMA"
    assert described(database) == before


def test_migration_changes_nothing_when_it_runs_again(tmp_path: Path) -> None:
    """The usual start: there is nothing to do."""
    migrate(f"sqlite:///{tmp_path}/isthmus.db")
    before = described(tmp_path / "isthmus.db")
    migrate(f"sqlite:///{tmp_path}/isthmus.db")
    assert described(tmp_path / "isthmus.db") == before
