"""What can be configured, with its defaults: the sections of ``isthmus.toml`` as typed values.

A field is an option: ``listen.address`` in the file, ``ISTHMUS_GATEWAY_LISTEN_ADDRESS`` in the environment.
"""

from dataclasses import dataclass, field
from pathlib import Path

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.wire import limits

DEVELOPMENT = "development"
JWT = "jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where the gateway listens. Port 0 takes any free one. TLS is for every address beyond loopback."""

    address: str = "127.0.0.1:7243"
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics and probes are served, when they are: plain HTTP, readable by whoever reaches it.

    ``address`` is ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz``; port 0 takes any free one.
    """

    enabled: bool = False
    address: str = "127.0.0.1:7244"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How much one gateway process takes on.

    ``max_in_flight`` is for the whole process, all connections and namespaces together: that many RPCs run
    at the same time, streams that are open among them, health checks too; more are refused with
    RESOURCE_EXHAUSTED. A call on a stream is no RPC of its own. ``max_waiters`` is how many waits for
    outcomes there are at a time, on streams or not; ``max_streams_per_connection`` how many RPCs one
    connection may have open: further ones wait at the client. ``max_frame_bytes`` is the largest message
    that is read.
    """

    max_frame_bytes: int = limits.MAX_FRAME_BYTES
    max_waiters: int = 100_000
    max_in_flight: int = 20_000
    max_streams_per_connection: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged and how: ``json`` lines, ``text`` for people, ``auto`` chooses by the terminal."""

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRule:
    """Subjects of an issuer and what they are here. ``subject`` is exact, or ends with one ``*``."""

    subject: str
    namespace: str
    platform: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One issuer of tokens, and what is believed of it.

    ``kind`` is ``jwt``, or ``development``: the gateway's own issuer, on loopback only, whose subjects are
    ``namespace/subject``. ``namespace`` is for subjects that no rule names; empty, those are refused.
    """

    kind: str = JWT
    issuer: str = ""
    algorithm: str = ""
    audience: str = ""
    key_file: Path | None = None
    jwks_file: Path | None = None
    types: tuple[str, ...] = ("JWT",)
    max_lifetime_seconds: int = 600
    leeway_seconds: int = 30
    namespace: str = ""
    subjects: tuple[SubjectRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """A PostgreSQL database instead of the embedded file, for several gateways.

    ``dsn`` is a connection string or URI of libpq, ``dsn_file`` a file that holds one, readable by its owner
    only. It is a secret, never shown; a password may also come from ``PGPASSWORD`` or a password file.
    """

    dsn: str = field(default="", repr=False)
    dsn_file: Path | None = None

    @property
    def is_postgresql(self) -> bool:
        """Whether the store is PostgreSQL."""
        return bool(self.dsn) or self.dsn_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything that a gateway needs to know before it starts.

    ``database`` is a file; None means ``isthmus.db`` in the data directory. ``lease_seconds`` is how long a
    worker session lives without a sign of life, ``drain_seconds`` how long a stopping gateway finishes what
    is under way.
    """

    trust_domain: str
    data_dir: Path
    database: Path | None = None
    lease_seconds: int = 30
    drain_seconds: int = 30
    reflection: bool = True
    listen: ListenSettings = field(default_factory=ListenSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    log: LogSettings = field(default_factory=LogSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    issuers: tuple[IssuerSettings, ...] = ()

    @property
    def database_file(self) -> Path:
        """The file that holds the store.

        Raises:
            ConfigurationError: there is none, the store is PostgreSQL.
        """
        if self.store.is_postgresql:
            raise ConfigurationError(
                "the store is PostgreSQL: there is no database file",
                reason="STORE_IS_POSTGRESQL",
                fix="Name a configuration of the embedded store.",
            )
        return self.database if self.database is not None else self.data_dir / "isthmus.db"
