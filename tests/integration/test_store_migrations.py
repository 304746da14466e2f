"""Migrations give the schema that the code is written for."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from tests.contract.samples import endpoint

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.ports import Reader
from isthmus.gateway.store import registry
from isthmus.gateway.store.migrate import migrate, migrate_strictly, pending_migrations, schema_state
from isthmus.gateway.store.migrations.revisions import migration_config, oldest_gateway
from isthmus.gateway.store.schema import metadata
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase, SchemaDatabase, SqliteFile
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.wire.names import EndpointName


def described(database: Path) -> dict[str, str]:
    """Return the statement that made each table and index, without regard to spacing."""
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if name != "alembic_version"}


def test_migrations_give_the_schema_when_they_run_on_an_empty_database(tmp_path: Path) -> None:
    """Table by table and index by index, conditions of partial indexes included."""
    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    migrate(SqliteFile(migrated))
    engine = create_engine(f"sqlite:///{created}")
    metadata.create_all(engine)
    engine.dispose()
    assert described(migrated) == described(created)


def test_alembic_finds_no_difference_when_it_compares(tmp_path: Path) -> None:
    """What Alembic would generate next is nothing."""
    migrate(SqliteFile(tmp_path / "isthmus.db"))
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
    migrate(SqliteFile(database))
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
        migrate(SqliteFile(database))
    assert failed.value.reason == "STORE_SCHEMA"
    assert described(database) == before


def test_migration_changes_nothing_when_it_runs_again(tmp_path: Path) -> None:
    """The usual start: there is nothing to do."""
    migrate(SqliteFile(tmp_path / "isthmus.db"))
    before = described(tmp_path / "isthmus.db")
    migrate(SqliteFile(tmp_path / "isthmus.db"))
    assert described(tmp_path / "isthmus.db") == before


def leave_to_a_newer_release(database: Path, *, oldest: str | None) -> None:
    """Make a database look as a newer release would leave it; it says, or not, who may serve it."""
    migrate(SqliteFile(database))
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("DELETE FROM meta WHERE name = 'oldest_gateway'")
    if oldest is not None:
        connection.execute("INSERT INTO meta VALUES ('oldest_gateway', ?)", (oldest,))
    connection.execute("ALTER TABLE endpoints ADD COLUMN of_the_future TEXT NOT NULL DEFAULT ''")
    connection.commit()
    connection.close()


async def test_gateway_of_the_release_before_starts_when_the_newer_schema_lets_it(tmp_path: Path) -> None:
    """Replacing gateways one by one, and going back: neither is stopped by a migration that came before."""
    database = tmp_path / "isthmus.db"
    leave_to_a_newer_release(database, oldest=schema_state(SqliteFile(database)).newest)
    database.chmod(0o600)
    before = described(database)
    store = SqliteStore(database)
    await store.open()
    await store.transact(lambda unit: unit.put_endpoint(endpoint()))
    await store.close()
    assert described(database) == before


@pytest.mark.parametrize("oldest", [None, "9998"])
def test_start_is_refused_when_the_newer_schema_does_not_let_it(tmp_path: Path, oldest: str | None) -> None:
    """Whoever cannot know what a newer release wrote does not touch it."""
    leave_to_a_newer_release(tmp_path / "isthmus.db", oldest=oldest)
    with pytest.raises(ConfigurationError, match=r"a newer release of Isthmus.*schema 9999") as refused:
        migrate(SqliteFile(tmp_path / "isthmus.db"))
    assert refused.value.reason == "STORE_SCHEMA_TOO_NEW"


@pytest.mark.parametrize("ask", [migrate_strictly, pending_migrations])
def test_newer_schema_is_refused_when_a_migration_is_asked_for(
    tmp_path: Path, ask: Callable[[SqliteFile], object]
) -> None:
    """Even one that lets this release serve: whoever asks runs the wrong release."""
    leave_to_a_newer_release(tmp_path / "isthmus.db", oldest="0001")
    with pytest.raises(ConfigurationError) as refused:
        ask(SqliteFile(tmp_path / "isthmus.db"))
    assert refused.value.reason == "STORE_SCHEMA_TOO_NEW"


def test_releases_that_relay_chains_of_trust_may_serve_when_nothing_was_taken_away_since() -> None:
    """A migration that raises this number ends somebody's rolling upgrade: that is decided here, too."""
    assert oldest_gateway(ScriptDirectory.from_config(migration_config())) == "0014"


@pytest.mark.parametrize("current", ["", "0001"])
def test_pending_migrations_are_those_that_run_when_it_is_migrated(tmp_path: Path, current: str) -> None:
    """A dry run says the very statements, and writes nothing."""
    database = tmp_path / "isthmus.db"
    if current:
        migrate_to(database, current)
    before = database.read_bytes() if current else None
    promised = pending_migrations(SqliteFile(database))
    assert (database.read_bytes() if database.exists() else None) == before
    ran = statements_of_upgrade(SqliteFile(database))
    assert promised[0].revision == ("0002" if current else "0001")
    assert all(step.purpose for step in promised)
    shown = [normal(statement) for step in promised for statement in step.statements]
    assert [statement for statement in shown if "alembic_version" not in statement] == ran
    assert pending_migrations(SqliteFile(database)) == ()
    assert migrate_strictly(SqliteFile(database)) == ()


def test_pending_migrations_are_those_that_run_when_the_database_is_on_a_server(bare_dsn: str) -> None:
    """Down to how text is compared."""
    database = PostgresqlDatabase(bare_dsn)
    shown = [normal(statement) for step in pending_migrations(database) for statement in step.statements]
    ran = statements_of_upgrade(database)
    assert [statement for statement in shown if is_of_schema(statement)] == ran
    assert pending_migrations(database) == ()
    assert any('COLLATE "C"' in statement for statement in ran)


def is_of_schema(statement: str) -> bool:
    """Whether a statement changes the schema, and not what Alembic remembers."""
    return statement.startswith(("CREATE", "ALTER", "DROP")) and "alembic_version" not in statement


def statements_of_upgrade(database: SchemaDatabase) -> list[str]:
    """Migrate, and return the statements that changed the schema."""
    ran: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().startswith(("CREATE", "ALTER", "DROP")) and "alembic_version" not in statement:
            ran.append(normal(statement))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        migrate_strictly(database)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return ran


def normal(statement: str) -> str:
    """Return a statement without regard to spacing."""
    return re.sub(r"\s+", " ", statement).strip()


async def test_gateway_of_the_release_before_goes_on_when_the_database_is_migrated_beside_it(
    tmp_path: Path,
) -> None:
    """The schema changes between two commits of a store that is open; nobody has to stop for it."""
    database = tmp_path / "isthmus.db"
    store = SqliteStore(database)
    await store.open()
    await store.transact(lambda unit: unit.put_endpoint(endpoint("before")))
    await store.read(lambda reader: reader.endpoint(EndpointName("before")))
    migrate_beside(database)
    await store.transact(lambda unit: unit.put_endpoint(endpoint("after")))
    assert await store.read(endpoints_of) == [endpoint("before"), endpoint("after")]
    await store.close()


def endpoints_of(reader: Reader) -> list[Endpoint | None]:
    """Return what was written before and after."""
    return [reader.endpoint(EndpointName(name)) for name in ("before", "after")]


def migrate_beside(database: Path) -> None:
    """Do what a migration of the future does, in its own transaction: a column, an index and a table more."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ALTER TABLE endpoints ADD COLUMN of_the_future TEXT NOT NULL DEFAULT ''")
    connection.execute("CREATE INDEX of_the_future ON operations (service, position)")
    connection.execute("CREATE TABLE future (name TEXT PRIMARY KEY)")
    connection.execute("COMMIT")
    connection.close()
