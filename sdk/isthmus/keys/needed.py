"""What the gateway keeps that only one of a namespace's keys opens, and how it is sealed to another one.

Only the message key is opened and encapsulated anew, for the same header: sender, body and signature stay
what they were, and the sender is not asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from isthmus.envelope.binding import wrap_info
from isthmus.envelope.key_material import EncryptionPrivateKey, EncryptionPublicKey

BATCH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMessage:
    """A message that the gateway keeps, as it is sealed to this namespace."""

    place: str
    """Opaque."""
    key_id: bytes
    is_open: bool
    """Whether its operation has not ended."""
    header_hash: bytes
    wrap: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWrap:
    """The message key of a kept message, encapsulated for another key."""

    message: KeptMessage
    key_id: bytes
    wrap: bytes = field(repr=False)


class KeptMessages(Protocol):
    """What the gateway keeps for one's own namespace."""

    def messages(self, *, key_id: bytes = b"", with_wraps: bool = False) -> Iterator[KeptMessage]:
        """Go through what is sealed to a key, or to any; what arrives meanwhile may be missed."""
        ...

    def replace(self, wraps: Sequence[NewWrap]) -> int:
        """Replace up to 64 wraps; return how many were replaced."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """How much of what the gateway keeps only one key opens."""

    messages: int = 0
    open: int = 0
    """Of these, so many belong to operations that have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """What came of sealing messages to another key."""

    replaced: int
    unreadable: int
    """Nobody opens these with the old key: somebody sealed nonsense."""


def needs(kept: KeptMessages) -> dict[bytes, Need]:
    """Return what is needed of each key."""
    messages: Counter[bytes] = Counter()
    still_open: Counter[bytes] = Counter()
    for message in kept.messages():
        messages[message.key_id] += 1
        still_open[message.key_id] += message.is_open
    return {key_id: Need(messages=count, open=still_open[key_id]) for key_id, count in messages.items()}


def rewrap(
    kept: KeptMessages,
    *,
    namespace: str,
    old: EncryptionPrivateKey,
    new: EncryptionPublicKey,
    report: "Report | None" = None,
) -> Rewrapped:
    """Seal everything that is sealed to one key to another one. Repeated, it goes on where it was."""
    replaced = unreadable = 0
    found = kept.messages(key_id=old.key_id, with_wraps=True)
    for batch in _batches(found, BATCH):
        wraps = [_wrapped(message, namespace=namespace, old=old, new=new) for message in batch]
        readable = [wrap for wrap in wraps if wrap is not None]
        unreadable += len(wraps) - len(readable)
        if readable:
            replaced += kept.replace(readable)
        if report is not None:
            report(replaced)
    return Rewrapped(replaced=replaced, unreadable=unreadable)


class Report(Protocol):
    """Hears how many messages were sealed to the new key so far."""

    def __call__(self, replaced: int, /) -> None:
        """Take note."""
        ...


def _wrapped(
    message: KeptMessage, *, namespace: str, old: EncryptionPrivateKey, new: EncryptionPublicKey
) -> NewWrap | None:
    message_key = old.unwrap(message.wrap, wrap_info(message.header_hash, namespace, old.key_id))
    if message_key is None:
        return None
    wrap = new.wrap(message_key, wrap_info(message.header_hash, namespace, new.key_id))
    return NewWrap(message=message, key_id=new.key_id, wrap=wrap)


def _batches(messages: Iterable[KeptMessage], size: int) -> Iterator[list[KeptMessage]]:
    batch: list[KeptMessage] = []
    for message in messages:
        batch.append(message)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
