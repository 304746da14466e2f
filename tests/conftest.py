"""What tests of every kind may ask for."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.missing import missing
from tests.postgresql_server import Databases, NoServerError, running_server

# No test fails because the machine is busy.
settings.register_profile("isthmus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("isthmus")


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[Databases]:
    """A PostgreSQL server that makes databases; the test is skipped, saying why, where there is none."""
    try:
        with running_server() as databases:
            yield databases
    except NoServerError as error:
        raise missing(f"no PostgreSQL server: {error}") from None


@pytest.fixture
def postgresql_dsn(postgresql_databases: Databases) -> Iterator[str]:
    """An empty PostgreSQL database with the current schema."""
    dsn = postgresql_databases.create()
    yield dsn
    postgresql_databases.drop(dsn)


@pytest.fixture
def bare_dsn(postgresql_databases: Databases) -> Iterator[str]:
    """A PostgreSQL database with nothing in it."""
    dsn = postgresql_databases.create_bare()
    yield dsn
    postgresql_databases.drop(dsn)
