"""What `check-config` finds out about a database server before a gateway starts."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.faults.moved_clock import move_clock, surroundings_of
from tests.integration.backup_process import config_of
from tests.integration.registry_gateway import development_config

from isthmus.gateway.config.settings import GatewayConfig, StoreSettings
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.server import Gateway
from isthmus.gateway.server_problems import server_problems
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE, StatementKey
from isthmus.gateway.store.postgresql import PostgresqlStore


def config_with(data_dir: Path, dsn: str) -> GatewayConfig:
    """Return the configuration of a gateway on PostgreSQL."""
    return replace(config_of(data_dir), store=StoreSettings(dsn=dsn))


def said(config: GatewayConfig) -> list[str]:
    """Return what is wrong, as people read it."""
    return [str(problem) for problem in server_problems(config)]


async def test_nothing_is_wrong_when_a_gateway_could_start(tmp_path: Path, postgresql_dsn: str) -> None:
    """Also beside others that have the same key; a file is none of its business."""
    config = config_with(tmp_path, postgresql_dsn)
    assert said(config) == []
    store = PostgresqlStore(postgresql_dsn)
    await store.pin(STATEMENT_KEY_FILE, StatementKey.load_or_create(tmp_path).key_id.hex())
    assert said(config) == []
    assert said(config_of(tmp_path)) == []


async def test_another_key_is_found_when_gateways_have_one_already(
    tmp_path: Path, postgresql_dsn: str
) -> None:
    """And a key that is not there: a new one would be made, and refused."""
    await PostgresqlStore(postgresql_dsn).pin(STATEMENT_KEY_FILE, "ab" * 16)
    config = config_with(tmp_path, postgresql_dsn)
    (missing,) = said(config)
    assert "there is no" in missing
    StatementKey.load_or_create(tmp_path)
    (other,) = said(config)
    assert "is another key than that of the other gateways" in other


async def test_gateway_does_not_start_when_its_clock_is_not_that_of_the_database(
    tmp_path: Path, postgresql_dsn: str
) -> None:
    """Whatever timed out by it would be lost to the other gateways, too."""
    moved = tmp_path / "clock"
    move_clock(moved, 90_000)
    config = replace(development_config(tmp_path), store=StoreSettings(dsn=postgresql_dsn))
    with pytest.raises(ConfigurationError, match="ahead of the database server's"):
        await Gateway.start(config, surroundings=surroundings_of(moved))


def test_server_is_named_when_it_cannot_be_used(tmp_path: Path, postgresql_dsn: str) -> None:
    """It does not answer, the DSN is none, or a newer release wrote the database."""
    (unreachable,) = said(config_with(tmp_path, "host=127.0.0.1 port=1 password=hunter2"))
    assert "cannot be reached" in unreachable
    assert "hunter2" not in unreachable
    (malformed,) = said(config_with(tmp_path, "hunter2"))
    assert "is no connection string" in malformed
    assert "hunter2" not in malformed
    with psycopg.connect(postgresql_dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE meta SET value = '9998' WHERE name = 'oldest_gateway'")
    (newer,) = said(config_with(tmp_path, postgresql_dsn))
    assert "a newer release of Isthmus wrote the database" in newer


@pytest.fixture
def reader_dsn(bare_dsn: str) -> str:
    """A database in which the role may not create anything."""
    with psycopg.connect(bare_dsn) as connection:
        role = f"reader_{connection.info.dbname}"
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(role)))
    return make_conninfo(bare_dsn, options=f"-c role={role}")


def test_role_is_named_when_it_may_not_create_tables(tmp_path: Path, reader_dsn: str) -> None:
    """The usual trap: since PostgreSQL 15 only its owner may create in the schema of a database."""
    (refused,) = said(config_with(tmp_path, reader_dsn))
    assert "may not create tables" in refused
