"""Steps of a key's life, as functions from one keyring contents to the next.

Each step is idempotent: repeated after a crash it changes nothing more. A rotation is pre-publish (everybody
learns the key), wait two cache lifetimes, activate (the old key only decrypts or verifies from now on), wait
until nothing needs the old key, retire. The keyset is signed and published after each step.
"""

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, unique
from typing import Final

from isthmus.keys.contents import KeyringContents, StoredKey
from isthmus.keys.errors import KeyringError
from isthmus.wire import limits
from isthmus.wire.chain import DAY_MS, MAX_KEYS
from isthmus.wire.public_key import LIVES, KeyKind, KeyState

KEPT_FOR_REVOCATIONS = 32
"""Places of a keyset that rotations leave."""

_LATE_MS: Final = 7 * DAY_MS
NEEDED_FOR_MS: Final = limits.MAX_SCHEDULE_TO_CLOSE_MS + limits.MAX_RETENTION_MS + _LATE_MS
"""For so long after a signing key was replaced, somebody may ask for what it signed.

Whatever an endpoint's owner decides, no operation lives and none is kept for longer. The week is for clocks
that differ, and for a last keyset that an interrupted command published late.
"""


@unique
class RotationStep(Enum):
    """What comes next in the rotation of one kind of key."""

    PRE_PUBLISH = "pre-publish"
    ACTIVATE = "activate"
    RETIRE = "retire"


def next_step(contents: KeyringContents, kind: KeyKind) -> RotationStep:
    """Return the step that continues a rotation, or begins the next one."""
    if contents.in_state(kind, KeyState.PRE_PUBLISHED):
        return RotationStep.ACTIVATE
    if contents.in_state(kind, _passive(kind)):
        return RotationStep.RETIRE
    return RotationStep.PRE_PUBLISH


def pre_publish(contents: KeyringContents, key: StoredKey) -> KeyringContents:
    """Add a key that everybody may learn before it is used.

    Nothing changes when a key of its kind is pre-published already: a rotation that was interrupted goes on
    with the key that it began with.

    Raises:
        KeyringError: a keyset has no room for it.
    """
    kind = key.record.kind
    if contents.in_state(kind, KeyState.PRE_PUBLISHED):
        return contents
    if len(contents.keys) >= MAX_KEYS:
        raise KeyringError(f"a keyset has room for {MAX_KEYS} keys, and {contents.namespace} has as many")
    added = replace(key, record=replace(key.record, state=KeyState.PRE_PUBLISHED))
    return replace(contents, keys=(*contents.keys, added))


def require_room_to_rotate(contents: KeyringContents) -> None:
    """Require that a rotation leaves room for the successors of keys that are stolen.

    Raises:
        KeyringError: it would not.
    """
    room = MAX_KEYS - KEPT_FOR_REVOCATIONS
    if len(contents.keys) + len(KeyKind) > room:
        raise KeyringError(
            f"{contents.namespace} has {len(contents.keys)} keys, those that were replaced included; a keyset"
            f" has room for {MAX_KEYS}, and the last {KEPT_FOR_REVOCATIONS} are kept for revocations:"
            " the keys that are in use stay so"
        )


def activate(contents: KeyringContents, kind: KeyKind) -> KeyringContents:
    """Use the pre-published key from now on; what was active only decrypts or verifies any more.

    Nothing changes when no key is pre-published.
    """
    waiting = contents.in_state(kind, KeyState.PRE_PUBLISHED)
    if not waiting:
        return contents
    successor = waiting[0].record.key_id

    def moved(key: StoredKey) -> StoredKey:
        if key.record.key_id == successor:
            return _in_state(key, KeyState.ACTIVE)
        if key.record.kind is kind and key.record.state is KeyState.ACTIVE:
            return _in_state(key, _passive(kind))
        return key

    return replace(contents, keys=tuple(moved(key) for key in contents.keys))


def retire(contents: KeyringContents, key_id: bytes) -> KeyringContents:
    """Forget the secret of a key that was replaced or revoked. Nothing changes when that happened before.

    Raises:
        KeyringError: there is no such key, or it is still in use.

    """
    key = find_key(contents, key_id)
    end = LIVES[key.record.kind][-1]
    if key.record.state is end:
        return contents
    if key.record.state not in {_passive(key.record.kind), KeyState.REVOKED}:
        raise KeyringError(f"the key {key_id.hex()} is {key.record.state.name}: only a replaced key retires")
    return _with(contents, StoredKey(record=replace(key.record, state=end), secret=None))


def past_use(contents: KeyringContents, now_ms: int) -> tuple[bytes, ...]:
    """Return the ids of the replaced signing keys that signed nothing which can still be in use.

    A keyring does not say when a key was replaced. But nobody makes a key before the one that was made last
    is in use: when the second one after a key was made, that key had been replaced. A revoked one does not
    count, because it may have been revoked before it was ever used.
    """
    signing = [key.record for key in contents.keys if key.record.kind is KeyKind.SIGNING]
    ids: list[bytes] = []
    for place, record in enumerate(signing):
        later = [other for other in signing[place + 1 :] if other.state is not KeyState.REVOKED][:2]
        if record.state is KeyState.VERIFY_ONLY and len(later) > 1:
            replaced_before_ms = max(other.created_at_ms for other in later)
            if now_ms - replaced_before_ms >= NEEDED_FOR_MS:
                ids.append(bytes(record.key_id))
    return tuple(ids)


def retire_all(contents: KeyringContents, key_ids: Iterable[bytes]) -> KeyringContents:
    """Forget the secrets of several keys. Raises KeyringError as ``retire`` does."""
    for key_id in key_ids:
        contents = retire(contents, key_id)
    return contents


def revoke(contents: KeyringContents, key_id: bytes) -> KeyringContents:
    """Tell everybody that nothing of a key may be believed any more. Repeated, it changes nothing.

    The secret of an encryption key stays: what was sealed to it before can still be read.

    Raises:
        KeyringError: there is no such key.

    """
    return _with(contents, _in_state(find_key(contents, key_id), KeyState.REVOKED))


def _passive(kind: KeyKind) -> KeyState:
    return LIVES[kind][2]


def _in_state(key: StoredKey, state: KeyState) -> StoredKey:
    return replace(key, record=replace(key.record, state=state))


def find_key(contents: KeyringContents, key_id: bytes) -> StoredKey:
    """Return the key of an id. Raises KeyringError when there is none."""
    for key in contents.keys:
        if key.record.key_id == key_id:
            return key
    raise KeyringError(f"the keyring has no key {key_id.hex()}")


def _with(contents: KeyringContents, changed: StoredKey) -> KeyringContents:
    key_id = changed.record.key_id
    keys = tuple(changed if key.record.key_id == key_id else key for key in contents.keys)
    return replace(contents, keys=keys)
