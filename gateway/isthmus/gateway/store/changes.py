"""What commands know and what they wrote, before any statement carries it to the database."""

from itertools import islice

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.feed import Cursor, PublishedEvent
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.ports import (
    KeyHolder,
    Namespace,
    StoredEndpointRecord,
    StoredKeyset,
    Task,
    WorkerSession,
)
from isthmus.gateway.store.audit_events import PendingEvent
from isthmus.gateway.store.key_holders import HolderName
from isthmus.gateway.store.operations import Ident, StoredOperation

CallerLine = tuple[str, str]
"""(endpoint, caller): what limits of open operations apply to."""
CursorName = tuple[str, str]
"""(namespace, name)."""


class Known:
    """The identity map of a group of commands: what they read or wrote so far. None: it does not exist.

    It lives as long as the group, but for its operations and counts: the next group may begin with them, as
    nobody else writes to the database. What the group wrote it learns when that goes to the database; until
    then the group's changes come first.
    """

    __slots__ = (
        "circuits",
        "cursors",
        "endpoints",
        "envelopes",
        "events",
        "identities",
        "keysets",
        "namespaces",
        "open_counts",
        "operations",
        "sessions",
        "tasks",
    )

    def __init__(
        self,
        operations: dict[Ident, StoredOperation | None] | None = None,
        open_counts: dict[CallerLine, int] | None = None,
    ) -> None:
        self.operations: dict[Ident, StoredOperation | None] = {} if operations is None else operations
        # Only of ids that name no operation: those of a repeated start, if any.
        self.identities: dict[Ident, Identity | None] = {}
        self.envelopes: dict[int, bytes | None] = {}
        self.tasks: dict[int, Task | None] = {}
        self.sessions: dict[bytes, WorkerSession | None] = {}
        self.circuits: dict[Line, Circuit | None] = {}
        self.namespaces: dict[str, Namespace | None] = {}
        self.endpoints: dict[str, Endpoint | None] = {}
        self.keysets: dict[str, StoredKeyset | None] = {}
        self.cursors: dict[CursorName, Cursor | None] = {}
        self.events: dict[str, PublishedEvent | None] = {}
        # Only of lines that somebody asked for.
        self.open_counts: dict[CallerLine, int] = {} if open_counts is None else open_counts

    def learn(self, changes: "Changes") -> None:
        """Take over what goes to the database."""
        self.operations.update(changes.operations)
        self.envelopes.update(changes.envelopes)
        self.tasks.update(changes.tasks)
        if changes.sessions:
            self.sessions.update(changes.sessions)
        if changes.circuits:
            self.circuits.update(changes.circuits)
        if changes.cursors:
            self.cursors.update(changes.cursors)
        if changes.events:
            self.events.update(changes.events)
        if changes.is_registry_changed:
            self.namespaces.update(changes.namespaces)
            self.endpoints.update(changes.endpoints)
            self.keysets.update(changes.newest_keysets)
        self.learn_counts(changes)

    def learn_counts(self, changes: "Changes") -> None:
        """Take over how many operations were opened and closed."""
        if self.open_counts:
            for line in self.open_counts.keys() & changes.opened.keys():
                self.open_counts[line] += changes.opened[line]

    def recent_operations(self, most: int) -> dict[Ident, StoredOperation | None]:
        """Return what is known of operations; of more than ``most`` entries only the newer ones."""
        if len(self.operations) > most:
            return dict(islice(self.operations.items(), len(self.operations) - most // 2, None))
        return self.operations


class Changes:
    """Writes that the database does not have yet: the last one to each thing, appends in their order."""

    __slots__ = (
        "audit",
        "circuits",
        "cursors",
        "endpoint_records",
        "endpoints",
        "envelopes",
        "events",
        "key_holders",
        "keysets",
        "namespaces",
        "new_operations",
        "newest_keysets",
        "opened",
        "operations",
        "sessions",
        "tasks",
        "tokens",
    )

    def __init__(self) -> None:
        self.operations: dict[Ident, StoredOperation] = {}
        # Positions of those that have no row yet.
        self.new_operations: set[int] = set()
        # By how much the number of open operations changes.
        self.opened: dict[CallerLine, int] = {}
        self.envelopes: dict[int, bytes] = {}
        self.tasks: dict[int, Task | None] = {}
        # By position: the handler and the key of the token.
        self.tokens: dict[int, tuple[str, bytes]] = {}
        self.sessions: dict[bytes, WorkerSession | None] = {}
        self.circuits: dict[Line, Circuit | None] = {}
        self.cursors: dict[CursorName, Cursor | None] = {}
        # By their keys.
        self.events: dict[str, PublishedEvent | None] = {}
        # No layer reads them: see key_holder_unit.
        self.key_holders: dict[HolderName, KeyHolder | None] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.endpoint_records: list[StoredEndpointRecord] = []
        self.keysets: dict[tuple[str, int], StoredKeyset] = {}
        self.newest_keysets: dict[str, StoredKeyset] = {}
        self.audit: list[PendingEvent] = []

    @property
    def is_registry_changed(self) -> bool:
        """Whether a namespace, an endpoint or a keyset is among them."""
        return bool(self.namespaces or self.endpoints or self.keysets or self.endpoint_records)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(
            self.operations
            or self.audit
            or self.tasks
            or self.envelopes
            or self.sessions
            or self.tokens
            or self.circuits
            or self.cursors
            or self.events
            or self.key_holders
            or self.is_registry_changed
        )

    def add(self, later: "Changes") -> None:
        """Append the changes of a later command."""
        if later.operations:
            self.operations.update(later.operations)
            self.new_operations |= later.new_operations
            for line, difference in later.opened.items():
                self.opened[line] = self.opened.get(line, 0) + difference
        if later.envelopes:
            self.envelopes.update(later.envelopes)
        if later.tasks:
            self.tasks.update(later.tasks)
        self.audit += later.audit
        if later.tokens:
            self.tokens.update(later.tokens)
        if later.sessions:
            self.sessions.update(later.sessions)
        if later.circuits:
            self.circuits.update(later.circuits)
        if later.cursors:
            self.cursors.update(later.cursors)
        if later.events:
            self.events.update(later.events)
        if later.key_holders:
            self.key_holders.update(later.key_holders)
        if later.is_registry_changed:
            self.namespaces.update(later.namespaces)
            self.endpoints.update(later.endpoints)
            self.endpoint_records += later.endpoint_records
            self.keysets.update(later.keysets)
            self.newest_keysets.update(later.newest_keysets)
