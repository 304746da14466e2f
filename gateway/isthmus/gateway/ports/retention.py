"""What a command may do about operations whose retention is over."""

from datetime import datetime
from typing import Protocol

from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value


class Retired(Value):
    """How many operations were retired, and whether the endpoint may have more of them."""

    operations: int
    more: bool


class RetentionUnit(Protocol):
    """Retention: what stays of operations, and what of that is forgotten.

    What it costs does not depend on how many operations are kept, and operations that are not retired yet pay
    nothing for it: a store finds those that are due by going through the audit log of an endpoint once, or
    by the day that a partition holds.
    """

    def identity(self, key: OperationKey) -> Identity | None:
        """Return what stays of a retired operation. An operation that exists has no identity besides."""
        ...

    def retire_operations(self, endpoint: str, *, closed_until: datetime, limit: int) -> Retired:
        """Delete operations of an endpoint that closed until a moment, all of their messages, too.

        What stays are their identities; audit records stay as they are and are found as before. Looks at
        ``limit`` audit records of the endpoint at most, those of its oldest endings first.
        """
        ...

    def forget_identities(self, *, closed_until: datetime, limit: int) -> int:
        """Delete identities of operations that closed until a moment; return how many."""
        ...
