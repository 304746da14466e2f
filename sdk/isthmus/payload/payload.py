"""A value as bytes: what an envelope carries."""

from typing import NamedTuple


class Payload(NamedTuple):
    """A serialized value. The representation shows its type only: payloads do not belong in logs."""

    content_type: str
    """What ``data`` is, for example ``application/json``."""
    data: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the application: lower-case names, sorted, unique."""

    def __repr__(self) -> str:
        """Show the type and the size."""
        return f"Payload(content_type={self.content_type!r}, {len(self.data)} bytes)"
