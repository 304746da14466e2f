"""The durable store: the only truth."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports.reader import Reader
from isthmus.gateway.ports.signals import Signal
from isthmus.gateway.ports.unit_of_work import Command
from isthmus.gateway.ports.world import Clock

T = TypeVar("T")

Listener = Callable[[Sequence[Signal]], None]
"""Takes signals, on the event loop that runs the store."""

Awaited = Callable[[], Collection[OperationKey]]
"""Returns the operations whose end somebody in this process waits for. Called on the event loop."""

CommitWatcher = Callable[[int, float], None]
"""Takes how many commands shared a commit, and how many seconds it took from the first one's turn on."""


class Store(Protocol):
    """The one durable thing. Commands of concurrent callers share commits."""

    is_shared: bool
    """Whether other gateways may use it at the same time: then what is connected here is not all there is."""

    async def transact(self, command: Command[T], *, reads: Sequence[OperationKey] = ()) -> T:
        """Run a command and return its result after its changes are on disk.

        ``reads`` names operations that the command will ask for: a hint, with which a store looks up those of
        all commands that share a commit at once.

        Commands see the changes of those before them. A command that raises changes nothing, and its error
        is raised here; it does not disturb others that share the commit. When the commit fails, every command
        in it gets UnavailableError and nothing of any of them is visible. Signals are delivered after the
        commit, in commit order, before this call returns. If the caller is cancelled, the command may still
        commit.

        A command may run more than once before it is committed, on a state that others changed meanwhile:
        only its last run counts, so it must not act on anything but the unit of work.

        Raises:
            UnavailableError: the store cannot commit now; nothing was changed.
            ExhaustedError: too many commands wait; nothing was changed.
        """
        ...

    def submit_all(
        self, commands: Sequence[Command[T]], *, reads: Sequence[OperationKey] = ()
    ) -> "asyncio.Future[list[T | BaseException]]":
        """Run commands as ``transact`` does each of them, and return at once with one future for all.

        They share a commit as far as they can, but each succeeds or fails on its own: entry i of the result
        is what command i returned, or its error. Cancelling the future changes nothing but that nobody learns
        the result.

        Raises:
            UnavailableError, ExhaustedError: as transact; none of them runs.
        """
        ...

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on a snapshot that contains every commit acknowledged so far."""
        ...

    async def can_commit(self) -> bool:
        """Whether commits succeed: at once as long as the last one did; else one more is tried."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Signal]], None]) -> None:
        """Call the listener with the signals of each commit, on the event loop that runs the store."""
        ...

    def subscribe_to_others(self, listener: Listener, awaited: Awaited) -> None:
        """Call the listener with what other gateways that use this database commit, soon after their commit.

        Of ends of operations it hears those that are awaited. Nothing that concerns only the gateway that
        committed is told: failed attempts, accepted operations. Signals may come twice, and after trouble
        with the database RegistryChanged may come without names: anything may have changed. A store that
        serves one gateway has nothing to tell.
        """
        ...

    def watch_commits(self, watcher: CommitWatcher) -> None:
        """Call the watcher after each commit that succeeded, on whichever thread made it."""
        ...

    async def pin(self, name: str, value: str) -> None:
        """Make sure that every gateway of this database has the same value, say of a key.

        Raises:
            ConfigurationError: another gateway pinned another value.
            UnavailableError: the store cannot be asked now.
        """
        ...

    async def check_clock(self, clock: Clock) -> None:
        """Make sure that a clock is that of this database's gateways: they end each other's operations by it.

        Raises:
            ConfigurationError: it is more than a second off.
            UnavailableError: the store cannot be asked now.
        """
        ...

    async def open(self) -> None:
        """Take the store: check its settings, its schema version and that no other gateway has it.

        Raises:
            ConfigurationError: the settings are not durable, or the schema does not fit.
            UnavailableError: another gateway has it.
        """
        ...

    async def close(self) -> None:
        """Commit what was accepted, refuse what comes later, release the store."""
        ...
