"""Where the database of a gateway is, as its backups see it: a file, or a database server."""

import shutil
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from isthmus.gateway.backups.claimed_folder import claimed_folder
from isthmus.gateway.backups.manifest import DATABASE
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import AlreadyExistsError, NotFoundError
from isthmus.gateway.durable_file import sync_directory
from isthmus.gateway.store.database_facts import DatabaseFacts
from isthmus.gateway.store.database_file import FileLock, check_file
from isthmus.gateway.store.sqlite_copy import copy_database
from isthmus.gateway.store_choice import called, dsn_of

_RESTORING = ".restoring"
_BESIDE = ("-wal", "-shm", "-journal")


class Place(Protocol):
    """Where a database is, or is to be."""

    name: str
    """What people call it; no secret is in it."""

    def require(self) -> None:
        """Make sure that there is a database.

        Raises:
            NotFoundError: there is none.
            ConfigurationError, UnavailableError: it may not, or cannot, be opened.
        """
        ...

    def copy_to(self, target: Path, progress: Callable[[int, int], None]) -> DatabaseFacts:
        """Copy the database as it is at one moment into a new file, while gateways serve, and sync it.

        Raises:
            BackupError: it cannot be copied.
            ConfigurationError, UnavailableError: it may not, or cannot, be opened.
        """
        ...

    def refuse_existing(self) -> None:
        """Make sure that nothing is there.

        Raises:
            AlreadyExistsError: something is.
        """
        ...

    def claimed(self) -> AbstractContextManager[Path]:
        """Return a folder in which a database is made ready, by this process alone.

        Raises:
            UnavailableError: a gateway has the place.
            AlreadyExistsError: another process has it.
        """
        ...

    def put(self, prepared: Path) -> None:
        """Put a file of this release's schema into the place: all of it, or nothing."""
        ...


def place_of(config: GatewayConfig) -> Place:
    """Return where the database of a configuration is.

    Raises:
        ConfigurationError: it is PostgreSQL, and its driver is not installed, or its DSN cannot be read.
    """
    return ServerPlace(config) if config.store.is_postgresql else FilePlace(config)


class FilePlace:
    """``Place`` of the embedded store."""

    def __init__(self, config: GatewayConfig) -> None:
        self._path = config.database_file
        self.name = str(self._path)

    def require(self) -> None:
        """Look for the file, and at where it is."""
        if not self._path.is_file():
            raise NotFoundError(
                f"there is no database {self._path}", fix="Is it the gateway's configuration?"
            )
        check_file(self._path)

    def copy_to(self, target: Path, progress: Callable[[int, int], None]) -> DatabaseFacts:
        """Copy pages; the write-ahead log grows meanwhile."""
        return copy_database(self._path, target, progress)

    def refuse_existing(self) -> None:
        """Look for a file, and for what belongs to one."""
        beside = [self._path.with_name(self._path.name + suffix) for suffix in _BESIDE]
        # A gateway that was refused by the lock leaves an empty file.
        there = [path for path in (self._path, *beside) if path.exists() and path.stat().st_size > 0]
        if there:
            names = " ".join(str(path) for path in there)
            raise AlreadyExistsError(
                f"there is {names}, and a restore never overwrites",
                reason="STORE_EXISTS",
                fix="Move it all away, to a folder where you keep it: it may hold what the backup lacks.",
            )

    @contextmanager
    def claimed(self) -> Generator[Path]:
        """Take the lock of a gateway; the folder lies beside the place, on the same disk."""
        check_file(self._path)
        lock = FileLock(self._path)
        lock.acquire()
        try:
            folder = self._path.with_name(f"{self._path.name}{_RESTORING}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            yield folder
            shutil.rmtree(folder)
        finally:
            lock.release()

    def put(self, prepared: Path) -> None:
        """Give the file its name."""
        prepared.rename(self._path)
        sync_directory(self._path.parent)


class ServerPlace:
    """``Place`` on a PostgreSQL server."""

    def __init__(self, config: GatewayConfig) -> None:
        self._dsn = dsn_of(config.store)
        self._data_dir = config.data_dir
        self.name = called(config)

    def require(self) -> None:
        """Ask the server for a schema of Isthmus."""
        from isthmus.gateway.store.postgresql_export import require_database  # noqa: PLC0415 - an extra

        require_database(self._dsn)

    def copy_to(self, target: Path, progress: Callable[[int, int], None]) -> DatabaseFacts:
        """Copy rows of one snapshot; the server keeps what is deleted meanwhile until the end."""
        from isthmus.gateway.store.postgresql_export import export_database  # noqa: PLC0415 - an extra

        return export_database(self._dsn, target, progress)

    def refuse_existing(self) -> None:
        """Look for tables of Isthmus."""
        from isthmus.gateway.store.postgresql_import import refuse_filled  # noqa: PLC0415 - an extra

        refuse_filled(self._dsn)

    def claimed(self) -> AbstractContextManager[Path]:
        """Return a folder in the data directory: the database is made ready there before it is sent."""
        return claimed_folder(self._data_dir / f"{DATABASE}{_RESTORING}")

    def put(self, prepared: Path) -> None:
        """Send the file's content, in one transaction."""
        from isthmus.gateway.store.postgresql_import import import_database  # noqa: PLC0415 - an extra

        import_database(prepared, self._dsn)
