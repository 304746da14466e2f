"""Backups of PostgreSQL, and ways between the stores: nothing changes but what a restore always changes."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.commands import completing, starting
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    endpoint,
    key,
    keyset,
    namespace,
    operation,
    session,
)
from tests.integration.backed_up import ROOT
from tests.integration.backup_process import TAKEN_AT, config_of

from isthmus.gateway.backups.manifest import read_manifest
from isthmus.gateway.backups.restore import check_restore, restore_backup
from isthmus.gateway.backups.take import take_backup
from isthmus.gateway.config.settings import GatewayConfig, StoreSettings
from isthmus.gateway.core.errors import (
    AlreadyExistsError,
    BackupError,
    ConfigurationError,
    GatewayError,
    NotFoundError,
    UnavailableError,
)
from isthmus.gateway.ports import AuditFilter, Command, EnvelopeSlot, Reader, Store
from isthmus.gateway.statement_key import StatementKey
from isthmus.gateway.store import postgresql_export, postgresql_import
from isthmus.gateway.store.migrate import schema_state
from isthmus.gateway.store.migrations.revisions import create
from isthmus.gateway.store.portable_file import portable_tables
from isthmus.gateway.store.postgresql import PostgresqlStore
from isthmus.gateway.store.schema_transaction import SCHEMA_LOCK, PostgresqlDatabase, SqliteFile
from isthmus.gateway.store.sqlite_copy import ERA
from isthmus.gateway.store_choice import store_of

ACKNOWLEDGED_BEFORE = 50
Rows = dict[str, list[tuple[Any, ...]]]


def server(data: Path, dsn: str) -> GatewayConfig:
    """Return the configuration of a gateway on PostgreSQL."""
    return replace(config_of(data), store=StoreSettings(dsn=dsn))


def take(config: GatewayConfig, backup: Path) -> None:
    """Take a backup."""
    take_backup(config, backup, now=TAKEN_AT, software_version="1")


def restore(config: GatewayConfig, backup: Path) -> None:
    """Restore it."""
    restore_backup(config, backup, now=TAKEN_AT)


def run(config: GatewayConfig, *commands: Command[Any]) -> Store:
    """Open the store of a configuration as a gateway does, run commands, and close it."""

    async def all_of_them() -> Store:
        store = store_of(config)
        await store.open()
        await store.pin("statement-key.pem", StatementKey.load_or_create(config.data_dir).key_id.hex())
        for command in commands:
            await store.transact(command)
        await store.close()
        return store

    return asyncio.run(all_of_them())


def read(config: GatewayConfig, query: Callable[[Reader], Any]) -> Any:  # noqa: ANN401
    """Ask a store, opened as a gateway does."""

    async def ask() -> Any:  # noqa: ANN401
        store = store_of(config)
        await store.open()
        try:
            return await store.read(query)
        finally:
            await store.close()

    return asyncio.run(ask())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a gateway left that had work in every state, and something in every table."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    run(
        config_of(folder),
        lambda unit: unit.insert_namespace(namespace(CALLER)),
        lambda unit: unit.insert_namespace(namespace(HANDLER)),
        lambda unit: unit.put_endpoint(endpoint()),
        lambda unit: unit.put_keyset(keyset()),
        lambda unit: unit.put_worker_session(session()),
        starting(*(operation(number) for number in range(1, 6))),
        completing(key(1), key(2)),
        lambda unit: unit.retire_operations(ENDPOINT, closed_until=NOW, limit=100),
        completing(key(3)),
        lambda unit: unit.put_operation_token(key(4), b"token"),
    )
    with closing(sqlite3.connect(folder / "isthmus.db")) as file:
        for table in portable_tables(file):
            if file.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,):  # noqa: S608
                row = {"text": "ü", "bytea": b"\x00\xff", "bigint": 2**62}
                file.execute(table.insert, [row[type_] for type_ in table.types])
        file.commit()
    return folder


def rows_of(file: Path) -> Rows:
    """Return everything that a database file holds."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            table.name: connection.execute(
                f"SELECT * FROM {table.name} ORDER BY {', '.join(table.key)}"  # noqa: S608
            ).fetchall()
            for table in portable_tables(connection)
        }


def schema_of(dsn: str) -> list[tuple[Any, ...]]:
    """Return the columns and indexes of a database."""
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, collation_name, column_default, is_nullable"
            " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
    return [*columns, *indexes]


def test_nothing_is_lost_when_a_team_moves_to_postgresql_and_back(
    data: Path, tmp_path: Path, bare_dsn: str, postgresql_dsn: str
) -> None:
    """Row by row, but for the records of both restores; each store counts on behind what there was."""
    shared = server(tmp_path / "shared", bare_dsn)
    take(config_of(data), tmp_path / "backup-1")
    restore(shared, tmp_path / "backup-1")
    assert schema_of(bare_dsn) == schema_of(postgresql_dsn)
    take(shared, tmp_path / "backup-2")
    restore(config_of(tmp_path / "back"), tmp_path / "backup-2")
    before, after = rows_of(data / "isthmus.db"), rows_of(tmp_path / "back" / "isthmus.db")
    assert all(before.values())
    log, recorded = before.pop("audit_events"), after.pop("audit_events")
    assert after == before
    assert recorded[: len(log)] == log
    eras = [(era * ERA + place, "store_restored") for era in (1, 2) for place in (1, 2, 3)]
    assert [(event[0], event[2]) for event in recorded[len(log) :]] == eras


def test_operations_go_on_when_a_backup_is_restored_into_postgresql(
    data: Path, tmp_path: Path, bare_dsn: str
) -> None:
    """What was open ends, what was retired says so, and new places come after all of before."""
    shared = server(tmp_path / "shared", bare_dsn)
    take(config_of(data), tmp_path / "backup")
    restore(shared, tmp_path / "backup")
    run(shared, completing(key(4)), starting(operation(9)))

    def asked(reader: Reader) -> Any:  # noqa: ANN401
        return (
            [getattr(reader.operation(key(number)), "state", None) for number in (3, 4, 5, 9)],
            reader.identity(key(1)) is not None,
            reader.envelope(key(4), EnvelopeSlot.OUTCOME),
            [event.position for event in reader.audit_events(AuditFilter(limit=1000))],
        )

    states, expired, outcome, log = read(shared, asked)
    assert [state.value for state in states] == ["succeeded", "succeeded", "scheduled", "scheduled"]
    assert expired
    assert outcome == b"sealed outcome"
    assert log == sorted(set(log))
    assert log[-2:] == [ERA + 4, ERA + 5]
    with psycopg.connect(bare_dsn) as connection:
        places = connection.execute("SELECT position FROM operations ORDER BY position").fetchall()
    assert places[-1][0] > 5


def test_restore_is_refused_when_something_is_in_the_database(
    data: Path, tmp_path: Path, postgresql_dsn: str
) -> None:
    """Also an empty schema: whoever made it may be about to use it. The key of the place stays, too."""
    shared = server(tmp_path / "shared", postgresql_dsn)
    take(config_of(data), tmp_path / "backup")
    for attempt in (check_restore, partial(restore_backup, now=TAKEN_AT)):
        with pytest.raises(AlreadyExistsError, match="never overwrites"):
            attempt(shared, tmp_path / "backup")
    assert not list(shared.data_dir.glob("*"))
    assert read(shared, lambda reader: list(reader.list_namespaces("", 9))) == []


KILLED = """
import os, signal
from isthmus.gateway.store import postgresql_import
from tests.integration.test_backup_postgresql import *
copy = postgresql_import._copy
def dying(database, file, table):
    copy(database, file, table)
    if table.name == "operations":
        os.kill(os.getpid(), signal.SIGKILL)
postgresql_import._copy = dying
restore(server(Path({data!r}), {dsn!r}), Path({backup!r}))
"""


def test_database_is_empty_when_a_restore_is_killed(data: Path, tmp_path: Path, bare_dsn: str) -> None:
    """In the middle of its tables: no gateway can start on a half, and the next attempt does it."""
    shared = server(tmp_path / "shared", bare_dsn)
    take(config_of(data), tmp_path / "backup")
    program = KILLED.format(data=str(shared.data_dir), dsn=bare_dsn, backup=str(tmp_path / "backup"))
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    with psycopg.connect(bare_dsn) as connection:
        # Its transaction ends when the server notices; then there is no table.
        connection.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
        assert connection.execute("SELECT to_regclass('operations')").fetchone() == (None,)
    assert {file.name for file in shared.data_dir.iterdir()} == {
        "isthmus.db.restoring",
        "statement-key.pem",
    }
    restore(shared, tmp_path / "backup")
    run(shared, completing(key(4)))
    assert [file.name for file in shared.data_dir.iterdir()] == ["statement-key.pem"]


async def test_backup_is_of_one_moment_when_gateways_write_meanwhile(
    tmp_path: Path, postgresql_dsn: str
) -> None:
    """Everything acknowledged before is there; nothing is there without its request, task and record."""
    gateways = [PostgresqlStore(postgresql_dsn), PostgresqlStore(postgresql_dsn)]
    for gateway in gateways:
        await gateway.open()
    acknowledged, busy, stop = 0, asyncio.Event(), asyncio.Event()

    async def write(store: Store, first: int) -> None:
        nonlocal acknowledged
        for number in range(first, first + 100_000, 2):
            if stop.is_set():
                return
            await store.transact(starting(operation(number)))
            acknowledged += 1
            if acknowledged == ACKNOWLEDGED_BEFORE:
                busy.set()

    writing = [asyncio.ensure_future(write(store, first)) for first, store in enumerate(gateways, start=1)]
    await busy.wait()
    before = acknowledged
    shared = server(tmp_path, postgresql_dsn)
    await asyncio.to_thread(
        take_backup, shared, tmp_path / "backup", now=TAKEN_AT, software_version="1", with_key=False
    )
    after = acknowledged
    stop.set()
    await asyncio.gather(*writing)
    for gateway in gateways:
        await gateway.close()
    rows = rows_of(tmp_path / "backup" / "isthmus.db")
    counts = {name: len(rows[name]) for name in ("operations", "envelopes", "tasks", "audit_events")}
    assert len(set(counts.values())) == 1, counts
    # Two commits may be under way whose writers have not heard of them yet.
    assert before <= counts["operations"] <= after + 2
    assert after > before
    manifest = read_manifest(tmp_path / "backup")
    assert (manifest.open_operations, len(rows["meta"])) == (counts["operations"], 1)


@pytest.fixture
def older_dsn(bare_dsn: str) -> str:
    """A database of the first release that knew PostgreSQL."""
    with PostgresqlDatabase(bare_dsn).transaction() as connection:
        create(connection, "0013")
    with psycopg.connect(bare_dsn) as raw:
        raw.execute("INSERT INTO meta VALUES ('oldest_gateway', '0001')")
    return bare_dsn


def test_backup_keeps_its_schema_when_an_older_release_still_serves(tmp_path: Path, older_dsn: str) -> None:
    """The restore brings it to this release's."""
    shared = server(tmp_path, older_dsn)
    take_backup(shared, tmp_path / "backup", now=TAKEN_AT, software_version="1", with_key=False)
    assert read_manifest(tmp_path / "backup").schema == "0013"
    restore(config_of(tmp_path / "restored"), tmp_path / "backup")
    assert schema_state(SqliteFile(tmp_path / "restored" / "isthmus.db")).is_servable
    run(config_of(tmp_path / "restored"), starting(operation(1)))


def test_copies_are_refused_when_a_newer_release_wrote_them(
    data: Path, tmp_path: Path, bare_dsn: str, postgresql_dsn: str
) -> None:
    """Both ways, and even where that release lets this one serve: this one cannot know what to copy."""
    with psycopg.connect(postgresql_dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with closing(sqlite3.connect(data / "isthmus.db")) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
        file.commit()
    take(config_of(data), tmp_path / "backup")
    for attempt in (
        partial(take, server(data, postgresql_dsn), tmp_path / "newer"),
        partial(restore, server(tmp_path / "shared", bare_dsn), tmp_path / "backup"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            attempt()
        assert refused.value.reason == "STORE_SCHEMA_TOO_NEW"
    with pytest.raises(NotFoundError, match="there is nothing of Isthmus in"):
        take(server(data, bare_dsn), tmp_path / "nothing")


def test_gateways_start_when_a_backup_is_under_way_and_migrations_wait(
    data: Path, tmp_path: Path, postgresql_dsn: str, bare_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup holds up what would change tables under it, and nobody else; a restore lets nobody in."""
    short = {"lock_timeout": "50ms"}
    monkeypatch.setattr(postgresql_import, "_SETTINGS", postgresql_import._SETTINGS | short)  # type: ignore[operator]
    monkeypatch.setattr(postgresql_export, "_SETTINGS", postgresql_export._SETTINGS | short)  # type: ignore[operator]
    take(config_of(data), tmp_path / "backup")
    with psycopg.connect(postgresql_dsn, autocommit=True) as backup:
        backup.execute("SELECT pg_advisory_lock_shared(%s)", (SCHEMA_LOCK,))
        run(server(data, postgresql_dsn), starting(operation(100)))
        impatient = PostgresqlDatabase(postgresql_dsn, settings=short)
        with pytest.raises(UnavailableError), impatient.transaction():
            pass
    for dsn, attempt in (
        (bare_dsn, partial(restore, server(tmp_path / "shared", bare_dsn), tmp_path / "backup")),
        (postgresql_dsn, partial(take, server(data, postgresql_dsn), tmp_path / "late")),
    ):
        with psycopg.connect(dsn, autocommit=True) as restoring:
            restoring.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
            with pytest.raises(UnavailableError) as refused:
                attempt()
            assert refused.value.reason == "STORE_IN_USE"


@pytest.mark.parametrize("dsn", ["host=127.0.0.1 port=1 password=hunter2 dbname=isthmus", "no such thing"])
def test_password_is_not_told_when_the_server_cannot_be_reached(data: Path, tmp_path: Path, dsn: str) -> None:
    """Neither by a backup nor by a restore."""
    take(config_of(data), tmp_path / "backup")
    for attempt in (
        partial(take, server(data, dsn), tmp_path / "b"),
        partial(restore, server(tmp_path / "shared", dsn), tmp_path / "backup"),
    ):
        with pytest.raises(GatewayError) as refused:
            attempt()
        assert isinstance(refused.value, (UnavailableError, ConfigurationError))
        assert "hunter2" not in f"{refused.value} {refused.value.fix}"


def test_backup_is_refused_when_the_server_cannot_hold_what_it_says(
    data: Path, tmp_path: Path, bare_dsn: str
) -> None:
    """PostgreSQL has no text with a zero in it: nothing is restored, and nothing is left."""
    with closing(sqlite3.connect(data / "isthmus.db")) as file:
        file.execute("UPDATE endpoints SET description = 'a' || char(0) || 'b'")
        file.commit()
    take(config_of(data), tmp_path / "backup")
    with pytest.raises(BackupError, match="does not take the backup"):
        restore(server(tmp_path / "shared", bare_dsn), tmp_path / "backup")
    with psycopg.connect(bare_dsn) as connection:
        assert connection.execute("SELECT to_regclass('endpoints')").fetchone() == (None,)
