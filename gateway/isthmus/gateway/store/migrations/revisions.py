"""What each migration is, which of them a database has, and which gateways its schema leaves running."""

import re
from dataclasses import dataclass
from importlib import resources
from io import StringIO

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, delete, insert, select

from isthmus.gateway.store.schema import meta

_OLDEST_GATEWAY = "oldest_gateway"
# Statements about transactions belong to whoever runs a migration; the headline is Alembic's own.
_NOT_SHOWN = re.compile(r"^(--.*|BEGIN;|COMMIT;)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema: its revision, what it is for, and the statements that it runs."""

    revision: str
    purpose: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """The schema of a database, as this release sees it.

    ``current`` is empty when the database is. ``newest`` is what this release knows. ``oldest_gateway`` is
    the revision that a gateway has to know to serve this schema; empty when the database does not say.
    """

    current: str
    newest: str
    oldest_gateway: str
    known: frozenset[str]

    @property
    def is_newer(self) -> bool:
        """Whether a newer release wrote it."""
        return bool(self.current) and self.current not in self.known

    @property
    def is_servable(self) -> bool:
        """Whether a gateway of this release serves it, without a further migration."""
        return self.current == self.newest or (self.is_newer and self.oldest_gateway in self.known)


def migration_config() -> Config:
    """Return Alembic's configuration: the environment lies in this package, and there is no file for it."""
    config = Config()
    config.set_main_option("script_location", str(resources.files("isthmus.gateway.store.migrations")))
    return config


def read_state(connection: Connection) -> SchemaState:
    """Return the state of the schema behind a connection."""
    scripts = ScriptDirectory.from_config(migration_config())
    heads = MigrationContext.configure(connection).get_current_heads()
    return SchemaState(
        current=", ".join(sorted(heads)),
        newest=_newest(scripts).revision,
        # An empty database has no such table, and a foreign one may have another of that name.
        oldest_gateway=_read_oldest_gateway(connection) if heads else "",
        known=frozenset(script.revision for script in scripts.walk_revisions()),
    )


def upgrade(connection: Connection) -> None:
    """Run what the database lacks, and write down who may serve the result, in the open transaction."""
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.execute(delete(meta).where(meta.c.name == _OLDEST_GATEWAY))
    oldest = oldest_gateway(ScriptDirectory.from_config(config))
    connection.execute(insert(meta).values(name=_OLDEST_GATEWAY, value=oldest))


def create(connection: Connection, revision: str) -> None:
    """Make the schema of a revision in an empty database, in the open transaction."""
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def oldest_gateway(scripts: ScriptDirectory) -> str:
    """Return the revision that a gateway has to know to serve the newest schema.

    The last migration that says ``oldest_gateway`` decides; the others take nothing away that earlier
    gateways need.
    """
    for script in scripts.walk_revisions():
        said: str | None = getattr(script.module, _OLDEST_GATEWAY, None)
        if said is not None:
            return said
    return _newest(scripts).revision


def migrations_after(current: str, dialect: str) -> tuple[Migration, ...]:
    """Return what would run on a database of a revision (empty: on an empty one), in order."""
    scripts = ScriptDirectory.from_config(migration_config())
    pending: list[Script] = []
    for script in scripts.walk_revisions():
        if script.revision == current:
            break
        pending.append(script)
    return tuple(_describe(script, dialect) for script in reversed(pending))


def _describe(script: Script, dialect: str) -> Migration:
    output = StringIO()
    config = migration_config()
    config.output_buffer = output
    config.attributes["dialect"] = dialect
    before = script.down_revision or "base"
    command.upgrade(config, f"{before}:{script.revision}", sql=True)
    statements = _NOT_SHOWN.sub("", output.getvalue()).split(";\n")
    return Migration(
        revision=script.revision,
        purpose=script.doc.partition("\n")[0],
        statements=tuple(statement.strip() for statement in statements if statement.strip()),
    )


def _newest(scripts: ScriptDirectory) -> Script:
    return next(iter(scripts.walk_revisions()))


def _read_oldest_gateway(connection: Connection) -> str:
    return connection.execute(select(meta.c.value).where(meta.c.name == _OLDEST_GATEWAY)).scalar() or ""
