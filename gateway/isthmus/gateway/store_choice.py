"""Which store a configuration asks for: the store itself, its schema, and what people call it."""

import importlib.util

from isthmus.gateway.config.settings import GatewayConfig, StoreSettings
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.ports import Store
from isthmus.gateway.store.database_file import prepare_file
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase, SchemaDatabase, SqliteFile
from isthmus.gateway.store.sqlite import SqliteStore


def store_of(config: GatewayConfig) -> Store:
    """Return the store of a configuration, not open yet.

    Raises:
        ConfigurationError: it is PostgreSQL, and its driver is not installed, or its DSN cannot be read.
    """
    if not config.store.is_postgresql:
        return SqliteStore(config.database_file)
    dsn = dsn_of(config.store)
    from isthmus.gateway.store.postgresql import PostgresqlStore  # noqa: PLC0415 - an extra

    return PostgresqlStore(dsn)


def schema_database_of(config: GatewayConfig, *, to_write: bool = False) -> SchemaDatabase:
    """Return the database whose schema it is, found fit to be written where that is wanted.

    Raises:
        ConfigurationError: as ``store_of``; or the place is not fit for a database.
        UnavailableError: the server cannot be reached.
    """
    if not config.store.is_postgresql:
        if to_write:
            config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            prepare_file(config.database_file)
        return SqliteFile(config.database_file)
    dsn = dsn_of(config.store)
    from isthmus.gateway.store.postgresql_connection import check_server  # noqa: PLC0415 - an extra

    check_server(dsn)
    return PostgresqlDatabase(dsn)


def called(config: GatewayConfig) -> str:
    """Return what people call the database of a configuration: a path or an address, and no secret.

    Raises:
        ConfigurationError: as ``store_of``.
    """
    if not config.store.is_postgresql:
        return str(config.database_file)
    dsn = dsn_of(config.store)
    from isthmus.gateway.store import postgresql_connection  # noqa: PLC0415 - an extra

    return postgresql_connection.called(dsn)


def dsn_of(settings: StoreSettings) -> str:
    """Return how the database server is reached: a secret.

    Raises:
        ConfigurationError: its driver is not installed, or the file of the DSN cannot be read.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigurationError(
            "the driver of PostgreSQL is not installed", fix="Run: pip install 'isthmus[postgresql]'"
        )
    if settings.dsn_file is None:
        return settings.dsn
    try:
        return settings.dsn_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"{settings.dsn_file} cannot be read: {error.strerror}",
            fix="Check the path, and that the user that runs the gateway may read it.",
        ) from error
