"""Text compared by code points on PostgreSQL, as on SQLite, whatever the language of the database."""

from sqlalchemy import Dialect, Text
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler


class _CodePointText(PGTypeCompiler):
    def visit_TEXT(self, type_: Text, **kw: object) -> str:  # noqa: N802 - SQLAlchemy calls it
        return f'{super().visit_TEXT(type_, **kw)} COLLATE "C"'


def compare_by_code_points(dialect: Dialect) -> None:
    """Let columns of text that the dialect of PostgreSQL declares say so; other dialects stay as they are."""
    if dialect.name == "postgresql":
        dialect.type_compiler_instance = _CodePointText(dialect)
