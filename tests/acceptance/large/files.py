"""What both programs of the test of large files speak, and how much memory a process has used."""

import hashlib
from pathlib import Path

import nexusrpc

from isthmus.blobs import File

PIECE_BYTES = 1024 * 1024


@nexusrpc.service
class Files:
    """Sends files back."""

    back: nexusrpc.Operation[File, File]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_bytes(pid: int | str) -> int:
    """Return the most memory that a process has had resident (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError
