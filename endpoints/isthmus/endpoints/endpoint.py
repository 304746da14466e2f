"""An endpoint: a named route to a namespace and a task queue, and who may call it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from isthmus.endpoints.versions import VersionSettings
from isthmus.wire.names import EndpointName, NamespaceName

DEFAULT_RETENTION = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowRule:
    """One entry of an allow list. An empty service or operation means every one."""

    namespace: NamespaceName
    service: str = ""
    operation: str = ""

    def permits(self, namespace: str, service: str, operation: str) -> bool:
        """Whether this entry lets the namespace call the operation."""
        return (
            self.namespace == namespace
            and (not self.service or self.service == service)
            and (not self.operation or self.operation == operation)
        )

    @property
    def scope(self) -> str:
        """What it permits, as audit events name it: ``namespace``, ``namespace/service`` or the whole."""
        if not (self.service or self.operation):
            return self.namespace
        return "/".join(part for part in (self.namespace, self.service, self.operation) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How failed attempts are repeated. ``max_attempts`` 0 means no limit."""

    initial_interval: timedelta = timedelta(seconds=1)
    max_interval: timedelta = timedelta(minutes=5)
    max_attempts: int = 0
    park_when_exhausted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """After how many failed attempts in a row a circuit opens, 0: never, and for how long."""

    failures: int = 10
    open_for: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class FairWeight:
    """How many tasks of a caller go out in its turn while other callers wait."""

    namespace: NamespaceName
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTerms:
    """What the newest record that its owner signed about an endpoint demands of requests."""

    version: int
    recipients: tuple[str, ...]
    """Whom the header of a request has to name, sorted."""
    contract_hash: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A named route, owned by one namespace. ``etag`` changes with every update.

    A caller without an entry in ``fair_weights`` has the weight 1. ``max_operations_per_second`` and
    ``max_open_operations`` are what each caller may have; 0 means no limit. ``retention`` is how long
    payloads and outcomes are kept after the end of their operation. While it drains, nothing new starts.
    Without a ``record`` its owner signed nothing about it.
    """

    name: EndpointName
    namespace: NamespaceName
    task_queue: str
    description: str = ""
    allow: tuple[AllowRule, ...] = ()
    retry: RetrySettings = field(default_factory=RetrySettings)
    max_payload_bytes: int = 0
    max_schedule_to_close: timedelta = timedelta(hours=24)
    fair_weights: tuple[FairWeight, ...] = ()
    max_operations_per_second: int = 0
    max_open_operations: int = 0
    retention: timedelta = DEFAULT_RETENTION
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    versions: VersionSettings = field(default_factory=VersionSettings)
    record: RecordTerms | None = None
    etag: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    draining_since: datetime | None = None
    offered_to: NamespaceName | None = None

    def weight_of(self, caller: str) -> int:
        """How many tasks of a caller go out in its turn, at least 1."""
        return next((entry.weight for entry in self.fair_weights if entry.namespace == caller), 1)
