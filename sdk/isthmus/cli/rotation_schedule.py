"""When the next rotation of a namespace's keys is due: the oldest key in use decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.cli.exit_code import CliError
from isthmus.client.profile import Profile
from isthmus.keys.contents import KeyringContents
from isthmus.wire.chain import DAY_MS
from isthmus.wire.public_key import KeyKind, KeyState

DEFAULT_DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When keys have to be replaced, and whether that has begun. Unix milliseconds."""

    due_at_ms: int
    is_under_way: bool

    def is_due(self, now_ms: int) -> bool:
        """Whether a rotation has to begin, or to go on."""
        return self.is_under_way or self.due_at_ms <= now_ms


def schedule_of(contents: KeyringContents, note: Path, *, days: int) -> Schedule:
    """Return when the keys of a keyring are as many days old; ``note`` is there while a rotation goes on."""
    made = [key.record.created_at_ms for kind in KeyKind for key in contents.in_state(kind, KeyState.ACTIVE)]
    return Schedule(due_at_ms=min(made, default=0) + days * DAY_MS, is_under_way=note.exists())


def days_of(profile: Profile) -> int:
    """Return after how many days keys are replaced. Raises CliError."""
    days = DEFAULT_DAYS if profile.key_rotation_days is None else profile.key_rotation_days
    if days < 1:
        raise CliError("key_rotation_days is at least 1")
    return days


def note_beside(keyring: Path) -> Path:
    """Return where the note of a rotation that goes on is."""
    return keyring.with_name(f"{keyring.name}.rotation")
