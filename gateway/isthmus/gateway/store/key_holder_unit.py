"""What commands do about key holders: ``ports.KeyHolderUnit`` over a buffer.

They are read seldom and by one command only, so no layer remembers them: a look goes to the database.
"""

from datetime import datetime

from isthmus.gateway.ports.key_holders import KeyHolder
from isthmus.gateway.store import key_holders
from isthmus.gateway.store.moments import to_microseconds
from isthmus.gateway.store.unit_part import BufferedPart


class BufferedKeyHolders(BufferedPart):
    """The part of a unit of work that is about key holders."""

    __slots__ = ()

    def has_key_holder(self, namespace: str, holder_id: bytes) -> bool:
        """Whether a holder is there."""
        return bool(self._buffer.scan(key_holders.HAS, (key_holders.holder_key((namespace, holder_id)),)))

    def count_key_holders(self, namespace: str) -> int:
        """Return how many holders of a namespace are there."""
        ((counted,),) = self._buffer.scan(key_holders.COUNT, (namespace,))
        return int(counted)

    def put_key_holder(self, holder: KeyHolder) -> None:
        """Add or replace a holder."""
        self._buffer.changes.key_holders[holder.namespace, holder.holder_id] = holder

    def forget_key_holders(self, *, until: datetime, limit: int) -> int:
        """Delete holders that lived until a moment, longest ago first; return how many."""
        rows = self._buffer.scan(key_holders.SELECT_GONE, (to_microseconds(until), limit))
        self._buffer.changes.key_holders.update(
            ((namespace, bytes(holder_id)), None) for namespace, holder_id in rows
        )
        return len(rows)
