"""What is wrong with the database server of a configuration: found before a start, nothing written."""

from collections.abc import Iterator
from datetime import UTC, datetime

from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import ConfigurationError, GatewayError
from isthmus.gateway.key_file import read_key
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE, StatementKey
from isthmus.gateway.store.migrate import refuse_newer, schema_state
from isthmus.gateway.store_choice import dsn_of, schema_database_of


def server_problems(config: GatewayConfig) -> Iterator[Problem]:
    """Yield what would stop a gateway at its database server; nothing where the store is a file.

    Args:
        config: without problems of its own, its files included.
    """
    if not config.store.is_postgresql:
        return
    try:
        state = schema_state(schema_database_of(config))
        if not state.is_servable:
            refuse_newer(state)
    except GatewayError as error:
        yield Problem(option="store", message=error.message, fix=error.fix)
        return
    from isthmus.gateway.store import postgresql_questions  # noqa: PLC0415 - an extra

    dsn = dsn_of(config.store)
    clock_problem = postgresql_questions.clock_problem(
        postgresql_questions.clock_difference(dsn, lambda: datetime.now(UTC))
    )
    if clock_problem:
        yield Problem(option="store", message=clock_problem, fix=postgresql_questions.CLOCK_FIX)
    if not state.is_servable and not postgresql_questions.may_create_tables(dsn):
        yield Problem(
            option="store",
            message="the role may not create tables in the database, and the schema is not this release's",
            fix="Let the role own the database, or run `isthmus gateway migrate` as one that does.",
        )
    if state.current:
        yield from _key_problems(config, postgresql_questions.pinned(dsn, STATEMENT_KEY_FILE))


def _key_problems(config: GatewayConfig, pinned: str | None) -> Iterator[Problem]:
    path = config.data_dir / STATEMENT_KEY_FILE
    if pinned is None:
        return
    try:
        own = StatementKey(read_key(path)).key_id.hex() if path.exists() else None
    except ConfigurationError:
        return  # It is among the problems of the files.
    if own != pinned:
        there = f"{path} is another key than" if own else f"there is no {path}, and it would not be"
        yield Problem(
            option="data_dir",
            message=f"{there} that of the other gateways of this database",
            fix=f"Copy {STATEMENT_KEY_FILE} from the data directory of one of them.",
        )
