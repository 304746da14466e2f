"""A value as bytes: what an envelope carries."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A serialized value. The representation shows sizes only: payloads do not belong in logs."""

    content_type: str
    """What ``data`` is, for example ``application/json``."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Headers of the application: lower-case names, sorted, unique."""
    data: bytes = field(repr=False)
