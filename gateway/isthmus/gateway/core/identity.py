"""What stays of an operation when its retention is over: that it existed, how it ended, and digests."""

from datetime import datetime, timedelta

from isthmus.gateway.core.audit_record import OperationRef
from isthmus.gateway.core.errors import OperationExpiredError
from isthmus.gateway.core.operation import OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.wire.names import EndpointName, NamespaceName

IDENTITY_LIFE = timedelta(days=400)
"""How long after its end an operation's id is remembered: longer than any retention."""


class Identity(Value):
    """An operation whose payloads are gone."""

    key: OperationKey
    handler: NamespaceName
    endpoint: EndpointName
    service: str
    operation: str
    state: State
    request_digest: bytes
    outcome_digest: bytes
    closed_at: datetime

    @property
    def ref(self) -> OperationRef:
        """The operation, as audit records refer to it."""
        return OperationRef(
            key=self.key,
            handler=self.handler,
            endpoint=self.endpoint,
            service=self.service,
            operation=self.operation,
        )

    @property
    def expired(self) -> OperationExpiredError:
        """What to answer to whoever asks for the operation, or starts it again."""
        return OperationExpiredError(
            f"the operation ended ({self.state.value}) at {self.closed_at:%Y-%m-%d %H:%M:%S} UTC, and its"
            " payloads are not kept any more",
            fix="start it under another id if it is to run again; how it ended is in the audit log",
        )
