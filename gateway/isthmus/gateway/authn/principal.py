"""Who is calling, as the gateway authenticated it."""

from dataclasses import dataclass
from datetime import datetime

from isthmus.gateway.core.audit_record import Actor
from isthmus.wire.names import NamespaceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A subject of a namespace. ``platform`` subjects administer the deployment besides.

    ``authenticated_at`` and ``expires_at`` are those of the credential, aware and in UTC: a stream drains
    before ``expires_at``.
    """

    namespace: NamespaceName
    subject: str
    issuer: str
    platform: bool = False
    authenticated_at: datetime
    expires_at: datetime

    @property
    def name(self) -> str:
        """``namespace/subject``: what sealed headers carry and audit events name."""
        return f"{self.namespace}/{self.subject}"

    @property
    def actor(self) -> Actor:
        """This principal as audit records name it."""
        return Actor(namespace=self.namespace, principal=self.name)
