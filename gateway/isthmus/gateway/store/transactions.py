"""What the writer needs of a database: a connection of its own, and groups of commands as transactions."""

from collections.abc import Sequence
from typing import Protocol

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.store.group import Group


class Transactions(Protocol):
    """One connection, one transaction at a time. Used on the writer thread only."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises: the transaction is of no use any more."""
        ...

    @property
    def unstorable(self) -> tuple[type[Exception], ...]:
        """What a driver says of values, not of the database: a command wrote what cannot be stored."""
        ...

    @property
    def lost_races(self) -> tuple[type[Exception], ...]:
        """Which of them say that another gateway was faster: the group runs again."""
        ...

    def connect(self) -> None:
        """Connect, unless it is connected.

        Raises:
            ConfigurationError: the connection is not durable.
            Exception: of ``errors``, when the database cannot be reached.
        """
        ...

    def begin(self, commands: int, reads: Sequence[OperationKey], scopes: frozenset[str]) -> Group:
        """Begin a transaction of so many commands, holding the locks of the scopes, and look up operations.

        Raises:
            LostRaceError: to be run again.
            Exception: of ``errors``.
        """
        ...

    def commit(self, group: Group, *, prove: bool) -> None:
        """Commit what the group wrote. To ``prove`` that commits work, one of nothing writes too.

        Raises:
            LostRaceError: nothing is committed; to be run again.
            InDoubtError: the database went away, and nobody knows whether it committed. The next ``begin``
                succeeds only when that is over.
            Exception: of ``errors`` or ``unstorable``; nothing is committed.
        """
        ...

    def abandon(self) -> None:
        """Roll back, whatever state the connection is in. Raises nothing."""
        ...

    def disconnect(self) -> None:
        """Close the connection. Raises nothing."""
        ...
