"""Restore a backup where no gateway is.

The database is made ready as a file in a folder of its own: copied, verified, brought to this release's
schema, with the restore on record in its log. Then the key gets its name, then the database gets to its
place: by a rename, or in one transaction. So whenever the process or the machine dies, there is either no
database, and the restore can be repeated, or the restored one.
"""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from isthmus.gateway.backups.manifest import DATABASE, FileDigest, Manifest, read_manifest
from isthmus.gateway.backups.places import place_of
from isthmus.gateway.commands.record_restore import record_restore
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import AlreadyExistsError, BackupError, ConfigurationError
from isthmus.gateway.durable_file import sync_directory, sync_file, write_private
from isthmus.gateway.ports import Reader
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.gateway.store.sqlite_copy import begin_next_era, fold_log, verify_database
from isthmus.wire.names import NamespaceName

_CHUNK_BYTES = 1024 * 1024
_PAGE = 1000


def check_restore(config: GatewayConfig, backup: Path) -> Manifest:
    """Return what a restore would bring back, if it may be done; nothing is written.

    Raises:
        NotFoundError: there is no backup.
        BackupError: the manifest cannot be understood.
        ConfigurationError: it is the backup of another trust domain.
        AlreadyExistsError: there is a database, or another key, and a restore never overwrites.
    """
    manifest = read_manifest(backup)
    if manifest.trust_domain != config.trust_domain:
        raise ConfigurationError(
            f"the backup is of the trust domain {manifest.trust_domain}, not {config.trust_domain}",
            fix="Restore it with the configuration of its own gateway.",
        )
    place_of(config).refuse_existing()
    _key_to_place(config, backup, manifest)
    return manifest


def restore_backup(config: GatewayConfig, backup: Path, *, now: datetime) -> Manifest:
    """Put the database and the key of a backup where a gateway of this configuration finds them.

    Raises:
        NotFoundError, AlreadyExistsError: as ``check_restore``.
        UnavailableError: a gateway has the database, or its server cannot be reached.
        BackupError: the backup is damaged.
        ConfigurationError: it is of another trust domain, or of a newer release that does not let this one
            serve it.
        OSError: the disk refuses.
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = place_of(config)
    with place.claimed() as staging:
        manifest = check_restore(config, backup)
        _copy_verified(backup / DATABASE, staging / DATABASE, manifest.files[DATABASE])
        _check_facts(staging / DATABASE, manifest)
        begin_next_era(staging / DATABASE)
        asyncio.run(_record(staging / DATABASE, manifest, now))
        fold_log(staging / DATABASE)
        key = _key_to_place(config, backup, manifest)
        if key is not None:
            _place_key(key, staging / STATEMENT_KEY_FILE, config.data_dir)
        place.put(staging / DATABASE)
    return manifest


def _key_to_place(config: GatewayConfig, backup: Path, manifest: Manifest) -> bytes | None:
    """Return the key of the backup; None when it has none, or when that very key is in place."""
    if STATEMENT_KEY_FILE not in manifest.files:
        return None
    key = (backup / STATEMENT_KEY_FILE).read_bytes()
    if hashlib.sha256(key).hexdigest() != manifest.files[STATEMENT_KEY_FILE].sha256:
        raise BackupError(f"{backup / STATEMENT_KEY_FILE} is damaged", fix="Use another backup.")
    path = config.data_dir / STATEMENT_KEY_FILE
    if not path.exists():
        return key
    if path.read_bytes() != key:
        raise AlreadyExistsError(
            f"{path} is another key than that of the backup, and a restore never overwrites",
            reason="KEY_EXISTS",
            fix="Move it away: statements are to be signed with the key of before.",
        )
    return None


def _copy_verified(source: Path, target: Path, wanted: FileDigest) -> None:
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            writing.write(chunk)
    if digest.hexdigest() != wanted.sha256:
        raise BackupError(f"{source} is damaged: it is not what the manifest says", fix="Use another backup.")
    sync_file(target)


def _check_facts(database: Path, manifest: Manifest) -> None:
    facts = verify_database(database)
    said = (manifest.schema, manifest.last_audit_position, manifest.open_operations)
    if (facts.schema, facts.last_audit_position, facts.open_operations) != said:
        raise BackupError(
            "the database is not the one that the manifest describes", fix="Use another backup."
        )


async def _record(database: Path, manifest: Manifest, now: datetime) -> None:
    """Bring the database to this release's schema, and put the restore on record, for every team to see."""
    store = SqliteStore(database)
    await store.open()
    try:
        namespaces = await store.read(_all_namespaces)
        await store.transact(
            lambda unit: record_restore(
                unit,
                namespaces=namespaces,
                taken_at=manifest.taken_at,
                last_position=manifest.last_audit_position,
                now=now,
            )
        )
    finally:
        await store.close()


def _all_namespaces(reader: Reader) -> Sequence[NamespaceName]:
    names: list[NamespaceName] = []
    while page := reader.list_namespaces(names[-1] if names else "", _PAGE):
        names += [entry.name for entry in page]
    return names


def _place_key(key: bytes, aside: Path, data_dir: Path) -> None:
    write_private(aside, key)
    aside.rename(data_dir / STATEMENT_KEY_FILE)
    sync_directory(data_dir)
