"""What the statements of the store need of a database driver, and what can happen to a group of commands."""

from collections.abc import Sequence
from typing import Any, Protocol


class Result(Protocol):
    """What a statement found."""

    def fetchone(self) -> Any:  # noqa: ANN401 - the drivers say so
        """Return the next row, None when there is none left."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...


class Connection(Protocol):
    """A connection to SQLite or PostgreSQL: ``sqlite3.Connection`` is one as it is."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Result:
        """Run a statement: a ``Query``, or text that both databases understand."""
        ...


NO_SCOPES: frozenset[str] = frozenset()


class LostRaceError(Exception):
    """Another gateway changed what a group of commands read: the group is rolled back and runs again.

    ``scopes`` are locks that the next run has to hold from its beginning.
    """

    def __init__(self, reason: str, *, scopes: frozenset[str] = NO_SCOPES) -> None:
        super().__init__(reason)
        self.scopes = scopes
