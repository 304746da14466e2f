"""Which of one's own keys are in use: what the keyring says, unless the namespace's newest keyset is newer.

A rotation changes the keyring where it runs. Elsewhere processes read copies, and a copy that has the new
keys says for a while that the old ones are in use. The keyset that the team published says better, and it is
signed: whoever can sign it decides which keys are in use anyway. Secrets come from the keyring alone.
"""

from dataclasses import replace

from isthmus.keys.contents import KeyringContents, StoredKey
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset


def in_use(contents: KeyringContents, published: Keyset | None) -> KeyringContents:
    """Return the contents with the states that a keyset of the namespace says, if the keyring is no newer.

    Keys of a kind stay as they are while the keyring has the secret of none that the keyset says is active:
    a rotation that was too early for this copy.
    """
    if published is None or published.version < contents.keyset_version:
        return contents
    states = {bytes(key.key_id): key.state for key in published.keys}
    keys = contents.keys
    for kind in KeyKind:
        moved = tuple(_moved(key, states) if key.record.kind is kind else key for key in keys)
        if any(_is_usable(key, kind) for key in moved):
            keys = moved
    return replace(contents, keys=keys)


def _moved(key: StoredKey, states: dict[bytes, KeyState]) -> StoredKey:
    state = states.get(bytes(key.record.key_id), key.record.state)
    return key if state is key.record.state else replace(key, record=replace(key.record, state=state))


def _is_usable(key: StoredKey, kind: KeyKind) -> bool:
    record = key.record
    return record.kind is kind and record.state is KeyState.ACTIVE and key.secret is not None
