"""One rotation of a namespace's keys, in steps that can be repeated: killed anywhere, it goes on from there.

1. A note beside the keyring says which keys are being replaced; it is removed at the very end.
2. New keys are added to the keyring, pre-published, and a keyset tells everybody. The private keys reach the
   team's processes, which re-read the file, before anybody uses the public ones: see ``propagation``.
3. Then a keyset declares them active; the old signing key stays active beside the new one. Only then the
   keyring follows, so nothing is ever signed with a key that is not accepted yet.
4. A last keyset says what the keyring says: the old keys only decrypt and verify. A process that still uses
   an old one is told so, re-reads keyring and keyset, and seals again: its copy of the keyring may be the one
   from before step 3, because which of its keys are in use the keyset says. Signing keys of earlier rotations
   retire in it, once nothing that they signed can still be in use.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from isthmus.cli.propagation import Propagation
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.errors import KeysError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.private_file import read_private, replace_private
from isthmus.keys.publication import KeysetPublication
from isthmus.keys.rotation import activate, past_use, pre_publish, require_room_to_rotate, retire_all
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation did."""

    activated: tuple[bytes, ...]
    replaced: tuple[bytes, ...]
    retired: tuple[bytes, ...]
    """Signing keys of earlier rotations that are believed no more, and whose secrets are gone."""
    keyset_version: int


class KeyRotation:
    """Rotates the encryption key and the signing key of one keyring."""

    def __init__(
        self,
        *,
        keyring: FileKeyring,
        note: Path,
        publication: KeysetPublication,
        propagation: Propagation,
        now_ms: Callable[[], int],
        report: Callable[[str], None],
    ) -> None:
        """Prepare a rotation.

        Args:
            keyring: whose keys are replaced.
            note: a file beside the keyring, there exactly while a rotation is under way.
            publication: where keysets go.
            propagation: waits until announced keys are where they are needed.
            now_ms: Unix milliseconds.
            report: tells the person what is going on.
        """
        self._keyring = keyring
        self._note = note
        self._publication = publication
        self._propagation = propagation
        self._now_ms = now_ms
        self._report = report

    def run(self) -> Rotated:
        """Carry a rotation through, beginning one unless one is under way.

        Raises:
            KeysError: keyring and gateway contradict each other.
            CliError: a process that lives does not have the new keys. GatewayError. Repeat the command.
        """
        replaced = self._begin()
        if _active(self._keyring.contents) & replaced:
            self._keyring.update(lambda contents: _with_successors(contents, replaced, self._now_ms()))
            newest = self._publication.newest()
            if newest is None or not _declares(newest.keyset, _successors(self._keyring.contents)):
                self._announce()
                keyset, _ = self._publication.publish(_overlapping(self._keyring.contents))
                self._report(f"Keyset {keyset.version} declares the new keys active.")
            self._keyring.update(_activated)
        retired = self._retire()
        keyset, _ = self._publication.publish()
        self._note.unlink(missing_ok=True)
        return Rotated(
            activated=tuple(sorted(_active(self._keyring.contents))),
            replaced=tuple(sorted(replaced)),
            retired=tuple(sorted(retired)),
            keyset_version=keyset.version,
        )

    def _begin(self) -> frozenset[bytes]:
        """Return the ids of the keys to replace: those of the rotation under way, or those active now."""
        try:
            data, _ = read_private(self._note)
        except FileNotFoundError:
            require_room_to_rotate(self._keyring.contents)
            replaced = frozenset(_active(self._keyring.contents))
            document = {"replaces": sorted(key_id.hex() for key_id in replaced)}
            replace_private(self._note, json.dumps(document).encode() + b"\n")
            return replaced
        self._report("A rotation is under way: going on with it.")
        try:
            return frozenset(bytes.fromhex(key_id) for key_id in json.loads(data)["replaces"])
        except (KeyError, TypeError, ValueError):
            raise KeysError(f"{self._note} is damaged; remove it to begin a new rotation") from None

    def _retire(self) -> tuple[bytes, ...]:
        """Forget the secrets of signing keys that nothing needs; the keyset that follows says so."""
        retired = past_use(self._keyring.contents, self._now_ms())
        if retired:
            self._keyring.update(lambda contents: retire_all(contents, retired))
        return retired

    def _announce(self) -> None:
        keyset, _ = self._publication.publish()
        self._report(f"Keyset {keyset.version} announces the new keys.")
        successors = frozenset(_successors(self._keyring.contents))
        self._propagation.until_known(successors, announced_at_ms=keyset.issued_at_ms)


def _with_successors(contents: KeyringContents, replaced: frozenset[bytes], now_ms: int) -> KeyringContents:
    for kind in KeyKind:
        active = {bytes(key.record.key_id) for key in contents.in_state(kind, KeyState.ACTIVE)}
        if active & replaced:
            successor = new_key(kind, state=KeyState.PRE_PUBLISHED, now_ms=now_ms)
            contents = pre_publish(contents, successor)
    return contents


def _activated(contents: KeyringContents) -> KeyringContents:
    for kind in KeyKind:
        contents = activate(contents, kind)
    return contents


def _overlapping(contents: KeyringContents) -> KeyringContents:
    """Return the contents after the activation, but with the old signing keys as active as the new one."""
    old = {bytes(key.record.key_id) for key in contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)}
    activated = _activated(contents)
    keys = tuple(
        replace(key, record=replace(key.record, state=KeyState.ACTIVE)) if key.record.key_id in old else key
        for key in activated.keys
    )
    return replace(activated, keys=keys)


def _active(contents: KeyringContents) -> set[bytes]:
    return _in_state(contents, KeyState.ACTIVE)


def _successors(contents: KeyringContents) -> set[bytes]:
    return _in_state(contents, KeyState.PRE_PUBLISHED)


def _in_state(contents: KeyringContents, state: KeyState) -> set[bytes]:
    return {bytes(key.record.key_id) for kind in KeyKind for key in contents.in_state(kind, state)}


def _declares(keyset: Keyset, key_ids: set[bytes]) -> bool:
    """Whether a keyset says that all these keys are active."""
    return key_ids <= {bytes(key.key_id) for key in keyset.keys if key.state is KeyState.ACTIVE}
