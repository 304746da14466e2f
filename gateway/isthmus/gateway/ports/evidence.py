"""What is read of many operations at once: where each is, and the sealed messages that prove it."""

from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.value import Value


class Evidence(Value):
    """One operation, or what stays of it, or neither if nobody knows of it."""

    key: OperationKey
    operation: Operation | None = None
    identity: Identity | None = None
    request: bytes = b""
    outcome: bytes = b""
    """Empty unless the operation ended by the handler's outcome."""
    cancel: bytes = b""
    """Empty unless the gateway ended the operation because of it."""
