"""Which store a configuration asks for."""

from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.ports import Store
from isthmus.gateway.store.sqlite import SqliteStore


def store_of(config: GatewayConfig) -> Store:
    """Return the store of a configuration, not open yet.

    Raises:
        ConfigurationError: it is PostgreSQL, and its driver is not installed, or its DSN cannot be read.
    """
    settings = config.store
    if not settings.is_postgresql:
        return SqliteStore(config.database_file)
    try:
        from isthmus.gateway.store.postgresql import PostgresqlStore  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "the driver of PostgreSQL is not installed", fix="Run: pip install 'isthmus[postgresql]'"
        ) from error
    if settings.dsn_file is None:
        return PostgresqlStore(settings.dsn)
    try:
        return PostgresqlStore(settings.dsn_file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ConfigurationError(f"{settings.dsn_file} cannot be read: {error.strerror}") from error
