"""Which processes of a namespace said that they live, and which keys they have at hand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from isthmus.gateway.core.value import Value
from isthmus.wire.names import NamespaceName


class KeyHolder(Value):
    """What a process last said of the keys of its namespace. Nobody checks it: it is for its own team.

    ``alive_until`` is the moment of its report when it said that it leaves.
    """

    namespace: NamespaceName
    holder_id: bytes
    principal: str
    identity: str
    key_ids: tuple[bytes, ...]
    reported_at: datetime
    alive_until: datetime


class KeyHolderUnit(Protocol):
    """Key holders: written seldom, by nobody but the process itself."""

    def has_key_holder(self, namespace: str, holder_id: bytes) -> bool:
        """Whether a holder is there."""
        ...

    def count_key_holders(self, namespace: str) -> int:
        """Return how many holders of a namespace are there."""
        ...

    def put_key_holder(self, holder: KeyHolder) -> None:
        """Add or replace a holder."""
        ...

    def forget_key_holders(self, *, until: datetime, limit: int) -> int:
        """Delete holders of any namespace that lived until a moment, longest ago first; return how many."""
        ...


class KeyHolderReader(Protocol):
    """What a query may read of them."""

    def list_key_holders(self, namespace: str, after: bytes, limit: int) -> Sequence[KeyHolder]:
        """Return holders of a namespace, by id, from beyond an id."""
        ...
