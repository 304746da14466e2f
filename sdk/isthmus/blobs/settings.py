"""What a team decides about its large payloads."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from isthmus.blobs.address import Prefixes, check_prefix, check_prefixes
from isthmus.transport.errors import ConfigurationError

DEFAULT_THRESHOLD_BYTES: Final = 256 * 1024
DEFAULT_MAX_BYTES: Final = 16 * 1024**3
DEFAULT_RETENTION_DAYS: Final = 90
MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
"""Largest blob that becomes a value in memory; what is larger travels as a File."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSettings:
    """Where blobs are written, and which ones are read."""

    store: str | None = None
    """Prefix below which this namespace writes. None: it writes no blobs."""
    threshold_bytes: int = DEFAULT_THRESHOLD_BYTES
    """Payloads above it leave the envelope, where there is a store."""
    prefixes: Prefixes = field(default_factory=dict)
    """What is read, by the namespace that sends. What is not listed is not read."""
    spool: Path | None = None
    """Folder for private temporary files. None: the system's."""
    retention_days: int = DEFAULT_RETENTION_DAYS
    """How long a blob is kept, at the least: results are read days later."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Largest blob that is read, as ciphertext."""

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigurationError."""
        if self.store is not None:
            check_prefix(self.store, setting="blob_store")
        object.__setattr__(self, "prefixes", check_prefixes(self.prefixes))
        if self.threshold_bytes < 0 or self.retention_days < 1 or self.max_bytes < 1:
            raise ConfigurationError(
                "blob_threshold_bytes is at least 0, blob_retention_days and blob_max_bytes are at least 1"
            )
