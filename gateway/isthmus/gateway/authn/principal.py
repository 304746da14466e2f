"""Who is calling, as the gateway authenticated it."""

from dataclasses import dataclass, field
from datetime import datetime

from isthmus.gateway.core.audit_record import Actor
from isthmus.wire.names import NamespaceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A subject of a namespace. ``platform`` subjects administer the deployment besides.

    ``authenticated_at`` and ``expires_at`` are those of the credential, aware and in UTC: a stream drains
    before ``expires_at``.

    Made of these: ``name``, ``namespace/subject``, which sealed headers carry and audit events name, and
    ``actor``, this principal as audit records name it.
    """

    namespace: NamespaceName
    subject: str
    issuer: str
    platform: bool = False
    authenticated_at: datetime
    expires_at: datetime

    name: str = field(init=False)
    actor: Actor = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every call asks for."""
        name = f"{self.namespace}/{self.subject}"
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "actor", Actor(namespace=self.namespace, principal=name))
