"""What a backup says of itself: ``manifest.json``, written last."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from isthmus.gateway.core.errors import BackupError, NotFoundError

MANIFEST = "manifest.json"
DATABASE = "isthmus.db"
_FORMAT = 1
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """A file of the backup as it has to be."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Whose backup it is, of which moment, and what belongs to it.

    ``taken_at`` is when the copy began: everything acknowledged before that is in it. ``files`` are by name.
    """

    software_version: str
    trust_domain: str
    taken_at: datetime
    schema: str
    last_audit_position: int
    open_operations: int
    files: dict[str, FileDigest]

    def to_bytes(self) -> bytes:
        """Return it as it is written."""
        document = {"format": _FORMAT, **asdict(self), "taken_at": self.taken_at.isoformat()}
        return json.dumps(document, indent=2).encode() + b"\n"


def read_manifest(backup: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        NotFoundError: there is no backup.
        BackupError: it is of another format, or damaged.
    """
    try:
        text = (backup / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"{backup} is no backup: it has no {MANIFEST}",
            fix="Name the folder that `isthmus gateway backup` made.",
        ) from None
    try:
        document: dict[str, Any] = json.loads(text)
        if document.pop("format") != _FORMAT:
            raise BackupError(
                f"{backup} is of a newer format", fix="Restore it with the release that made it."
            )
        document["taken_at"] = datetime.fromisoformat(document["taken_at"])
        document["files"] = {name: FileDigest(**entry) for name, entry in document["files"].items()}
        return Manifest(**document)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BackupError(f"{backup / MANIFEST} cannot be understood", fix="Use another backup.") from None


def digest_of(path: Path) -> FileDigest:
    """Return what a file is."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(size_bytes=size, sha256=digest.hexdigest())
