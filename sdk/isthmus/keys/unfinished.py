"""A note that several new files are being made, so that a process which was killed leaves no half of them.

The note names the files by the hashes of what they are to hold, and is there before them. Who repeats the
work removes what the note names, and nothing else: a file that somebody put there stays.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from isthmus.keys.errors import KeyringError
from isthmus.keys.private_file import read_private, replace_private, sync_folder


def note_beginning(note: Path, files: Mapping[Path, bytes]) -> None:
    """Note which files are about to be written; durable before it returns."""
    named = {str(path.resolve()): hashlib.sha256(content).hexdigest() for path, content in files.items()}
    replace_private(note, json.dumps(named, indent=2).encode() + b"\n")


def note_end(note: Path) -> None:
    """Note that all of them are there. Nothing happens when there is no note."""
    if note.exists():
        note.unlink(missing_ok=True)
        sync_folder(note.parent)


def remove_unfinished(note: Path) -> None:
    """Remove the files that a killed process began with, and the note last of all.

    Raises:
        KeyringError: the note is damaged.
    """
    if not note.exists():
        return
    for path in unfinished(note):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    note_end(note)


def unfinished(note: Path) -> list[Path]:
    """Return the files that a killed process began with, none where there is no note.

    Raises:
        KeyringError: the note is damaged.
    """
    try:
        data, _ = read_private(note)
    except FileNotFoundError:
        return []
    try:
        named: dict[str, str] = dict(json.loads(data))
    except (TypeError, ValueError):
        raise KeyringError(f"{note} is damaged: look what is beside it, and remove it") from None
    return [
        path
        for path, digest in ((Path(name), digest) for name, digest in named.items())
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    ]
