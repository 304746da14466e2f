"""A database file as the portable form of every store: its tables, copied to and from a server."""

import sqlite3
from dataclasses import dataclass
from typing import Final

# What SQLite's declared types are called on PostgreSQL.
_TYPES: Final = {"TEXT": "text", "BLOB": "bytea", "INTEGER": "bigint"}
_ALEMBIC: Final = "alembic_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableTable:
    """A table that both databases have: its columns, PostgreSQL's types of them, and its primary key."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def column_list(self) -> str:
        """The names of the columns, as SQL lists them."""
        return ", ".join(self.columns)

    @property
    def insert(self) -> str:
        """The statement that writes a row into the file."""
        values = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({self.column_list}) VALUES ({values})"  # noqa: S608 - own names


def portable_tables(connection: sqlite3.Connection) -> list[PortableTable]:
    """Return the tables of a file; the revision of the schema is none of them."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        " AND name <> ? ORDER BY name",
        (_ALEMBIC,),
    ).fetchall()
    return [_described(connection, name) for (name,) in names]


def _described(connection: sqlite3.Connection, name: str) -> PortableTable:
    columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
    return PortableTable(
        name=name,
        columns=tuple(column for _, column, *_ in columns),
        types=tuple(_TYPES[type_] for _, _, type_, *_ in columns),
        key=tuple(column for _, column, *_, part in sorted(columns, key=lambda row: row[-1]) if part),
    )


def take_indexes_away(connection: sqlite3.Connection) -> list[str]:
    """Drop the indexes, as long as rows are written; return the statements that make them again."""
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    return [sql for _, sql in indexes]
