"""What commands of ``isthmus keys`` would write and publish, in sentences for ``--dry-run``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from isthmus.cli.moment import format_duration, moment_of
from isthmus.cli.output import show
from isthmus.keys.contents import KeyringContents, StoredKey
from isthmus.keys.needed import Need
from isthmus.keys.publication import Published
from isthmus.keys.rotation import past_use
from isthmus.wire.public_key import KeyState
from isthmus.wire.trust_statement import Keyset, SignedStatement


def of_new_files(paths: Iterable[Path], contents: str) -> Iterator[str]:
    """Say which files would be made."""
    for path in paths:
        yield f"Would write {path}, for its owner alone."
    yield contents


def of_publication(keyset: Keyset, path: Path, *, is_new: bool) -> Iterator[str]:
    """Say which keyset would be published."""
    if not is_new:
        yield f"Would publish nothing: keyset {keyset.version} says the same, and lives on."
        return
    states = [f"{key.kind.name.lower()} {key.key_id.hex()} {_state(key.state)}" for key in keyset.keys]
    yield f"Would publish keyset {keyset.version}, until {show(moment_of(keyset.expires_at_ms))}:"
    yield from (f"  {state}" for state in states)
    yield f"Would note in {path} that it was published."


def of_rotation(
    contents: KeyringContents, published: Published | None, path: Path, *, under_way: bool, now_ms: int
) -> Iterator[str]:
    """Say which keys a rotation would replace and retire, and how many keysets would say so."""
    if under_way:
        yield f"A rotation is under way, as {path}.rotation says: would go on with it."
    else:
        yield f"Would write {path}.rotation while it lasts."
    version = contents.keyset_version if published is None else published.keyset.version
    active = [key.record for key in contents.keys if key.record.state is KeyState.ACTIVE]
    for record in sorted(active, key=lambda record: record.kind):
        yield f"Would add a successor of the {record.kind.name.lower()} key {record.key_id.hex()} to {path}."
    for key_id in past_use(contents, now_ms):
        yield f"Would retire the signing key {key_id.hex()}: nothing that it signed can still be in use."
    yield f"Would publish the keysets from {version + 1} on: announced, declared active, old ones passive."


def of_revoked_encryption_key(key: StoredKey, need: Need) -> Iterator[str]:
    """Say what happens to the messages that are sealed to a key."""
    yield from _of_successor(key)
    yield (
        f"The gateway keeps {need.messages} messages that are sealed to it, {need.open} of them of operations"
        " that have not ended: they stay readable until you rewrap them and destroy it."
    )


def of_revoked_signing_key(key: StoredKey, open_calls: int) -> Iterator[str]:
    """Say what is concerned when nothing is believed that a key signed."""
    yield from _of_successor(key)
    yield (
        f"{open_calls} operations that this team started have not ended: those whose request it signed fail"
        " at the worker, and have to be started again."
    )
    yield (
        "Which ones that are the gateway does not say, nor how many outcomes and events it signed, which are"
        " refused as well."
    )


def _of_successor(key: StoredKey) -> Iterator[str]:
    if key.record.state is KeyState.ACTIVE:
        yield "It is in use: would make a successor, and use that from then on."


def of_delegation(delegation: SignedStatement, path: Path) -> Iterator[str]:
    """Say what the root would delegate."""
    from isthmus.wire.trust_statement import Delegation

    said = Delegation.decode(delegation.statement)
    signer, until = said.signer.key_id.hex(), show(moment_of(said.expires_at_ms))
    yield f"Would write to {path}: delegation {said.version} to the signer {signer}, until {until}."
    yield f"Keysets would live for {format_duration(said.max_renewal_ms)} at a time."
    yield "Nothing would be published: that is for isthmus keys publish."


def _state(state: KeyState) -> str:
    return state.name.lower().replace("_", "-")
