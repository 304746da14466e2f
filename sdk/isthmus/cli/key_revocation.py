"""Revokes a key at once, in steps that can be repeated: killed anywhere, it goes on from there.

A key that is in use gets a successor first, which is in the keyring before anybody is told to use it. Then a
keyset declares the successor active and the key revoked, and the keyring follows.
"""

from collections.abc import Callable

from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.publication import KeysetPublication
from isthmus.keys.rotation import activate, find_key, pre_publish, revoke
from isthmus.wire.public_key import KeyState
from isthmus.wire.trust_statement import Keyset


def revoke_key(
    keyring: FileKeyring, publication: KeysetPublication, key_id: bytes, *, now_ms: Callable[[], int]
) -> Keyset:
    """Tell everybody that nothing of a key may be believed any more; return the keyset that says so.

    Raises:
        KeysError: there is no such key, or keyring and gateway contradict each other.
        GatewayError: repeat the command.
    """
    key = find_key(keyring.contents, key_id)
    if key.record.state is KeyState.ACTIVE:
        successor = new_key(key.record.kind, state=KeyState.PRE_PUBLISHED, now_ms=now_ms())
        keyring.update(lambda contents: pre_publish(contents, successor))
    publication.publish(_revoked(keyring.contents, key_id))
    keyring.update(lambda contents: _revoked(contents, key_id))
    keyset, _ = publication.publish()
    return keyset


def _revoked(contents: KeyringContents, key_id: bytes) -> KeyringContents:
    key = find_key(contents, key_id)
    if key.record.state is KeyState.ACTIVE:
        contents = activate(contents, key.record.kind)
    return revoke(contents, key_id)
