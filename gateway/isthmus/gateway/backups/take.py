"""Take a backup of a gateway, which may serve meanwhile.

The order in which things become durable: the files of the backup, each synced; the manifest; the names in the
folder; then the folder gets its name, and that name is synced. So a folder with the wanted name is a whole
backup, whenever the process or the machine died, and what has no such name is ``NAME.partial``: the next
attempt clears it away.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from isthmus.gateway.backups.claimed_folder import claimed_folder
from isthmus.gateway.backups.manifest import DATABASE, MANIFEST, FileDigest, Manifest, digest_of
from isthmus.gateway.backups.places import place_of
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import AlreadyExistsError, BackupError, ConfigurationError
from isthmus.gateway.durable_file import sync_directory, write_private
from isthmus.gateway.key_file import read_key
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE
from isthmus.gateway.store.sqlite_copy import verify_database


def take_backup(
    config: GatewayConfig,
    destination: Path,
    *,
    now: datetime,
    software_version: str,
    with_key: bool = True,
    progress: Callable[[int, int], None] = lambda _copied, _all: None,
) -> Manifest:
    """Make a folder that holds a whole, verified backup, readable by its owner only.

    Args:
        config: of the gateway.
        destination: the folder to make.
        now: the time.
        software_version: of what takes it.
        with_key: whether the key that signs statements belongs to it.
        progress: is told how much of the database is copied (pages, or rows), and of how much.

    Raises:
        NotFoundError: there is no database.
        UnavailableError: the database server cannot be reached, or is being migrated.
        AlreadyExistsError: there is such a folder, or another process is about to make it.
        ConfigurationError: the key is missing or open to others, the database lies on a network file
            system, or a newer release wrote it.
        BackupError: the copy is damaged.
        OSError: the disk refuses.
    """
    place = place_of(config)
    place.require()
    key = _read_statement_key(config.data_dir) if with_key else None
    with _partial_folder(destination) as partial:
        facts = place.copy_to(partial / DATABASE, progress)
        if verify_database(partial / DATABASE) != facts:
            raise BackupError("the copy differs from the database", fix="Take the backup again.")
        files: dict[str, FileDigest] = {DATABASE: digest_of(partial / DATABASE)}
        if key is not None:
            write_private(partial / STATEMENT_KEY_FILE, key)
            files[STATEMENT_KEY_FILE] = digest_of(partial / STATEMENT_KEY_FILE)
        manifest = Manifest(
            software_version=software_version,
            trust_domain=config.trust_domain,
            taken_at=now,
            schema=facts.schema,
            last_audit_position=facts.last_audit_position,
            open_operations=facts.open_operations,
            files=files,
        )
        write_private(partial / MANIFEST, manifest.to_bytes())
        sync_directory(partial)
        try:
            partial.rename(destination)
        except OSError as error:
            if destination.exists():
                raise _exists(destination) from error
            raise
        sync_directory(destination.parent)
    return manifest


def _read_statement_key(data_dir: Path) -> bytes:
    path = data_dir / STATEMENT_KEY_FILE
    if not path.exists():
        raise ConfigurationError(
            f"there is no {path}",
            reason="KEY_FILE",
            fix="Is data_dir the gateway's? If its key is kept elsewhere, leave it out: --without-key.",
        )
    read_key(path)
    return path.read_bytes()


@contextmanager
def _partial_folder(destination: Path) -> Generator[Path]:
    """Make the folder that becomes the backup, for this process only; remove it if it does not."""
    if destination.exists():
        raise _exists(destination)
    if not destination.parent.is_dir():
        raise ConfigurationError(
            f"there is no folder {destination.parent}", fix="Make it, or name another one."
        )
    with claimed_folder(destination.with_name(f"{destination.name}.partial")) as partial:
        yield partial


def _exists(destination: Path) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"{destination} exists, and a backup never overwrites", fix="Name a new folder, by date for example."
    )
