"""A gateway's files, and what tests do with them: back up, restore, read the log."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.contract.samples import CALLER, HANDLER, namespace, operation, start
from tests.integration.backup_process import TAKEN_AT, config_of

from isthmus.gateway.backups.restore import restore_backup
from isthmus.gateway.backups.take import take_backup
from isthmus.gateway.ports import AuditFilter, StoredAuditEvent, UnitOfWork
from isthmus.gateway.statement_key import StatementKey
from isthmus.gateway.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]


def left_by_a_gateway(folder: Path) -> Path:
    """Make what a gateway left that knows two namespaces and three operations: three events in its log."""
    folder.mkdir(mode=0o700)
    StatementKey.load_or_create(folder)
    asyncio.run(_fill(SqliteStore(folder / "isthmus.db")))
    return folder


async def _fill(store: SqliteStore) -> None:
    def starting(number: int) -> Callable[[UnitOfWork], None]:
        return lambda unit: start(unit, operation(number))

    await store.open()
    await store.transact(lambda unit: unit.insert_namespace(namespace(CALLER)))
    await store.transact(lambda unit: unit.insert_namespace(namespace(HANDLER)))
    for number in (1, 2, 3):
        await store.transact(starting(number))
    await store.close()


def take(data: Path, backup: Path) -> None:
    """Take a backup."""
    take_backup(config_of(data), backup, now=TAKEN_AT, software_version="1")


def restore(data: Path, backup: Path) -> None:
    """Restore it."""
    restore_backup(config_of(data), backup, now=TAKEN_AT)


def log_of(data: Path) -> list[StoredAuditEvent]:
    """Open the store as a gateway would, and return its log."""

    async def read() -> list[StoredAuditEvent]:
        store = SqliteStore(data / "isthmus.db")
        await store.open()
        events = await store.read(lambda reader: list(reader.audit_events(AuditFilter(limit=1_000_000))))
        await store.close()
        return events

    return asyncio.run(read())


def positions_of(data: Path) -> list[int]:
    """Return the places of a log, in its order."""
    return [event.position for event in log_of(data)]
