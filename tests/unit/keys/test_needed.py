"""What needs a key, and how it is sealed to another one; with a gateway that does as it likes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from isthmus.envelope.binding import wrap_info
from isthmus.envelope.key_material import EncryptionPrivateKey
from isthmus.keys.needed import BATCH, KeptMessage, Need, NewWrap, Rewrapped, needs, rewrap

OLD, NEW, STRANGER = (EncryptionPrivateKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
NAMESPACE = "app-team"


class Gateway:
    """Keeps messages; each has a message key of its own."""

    def __init__(self, count: int) -> None:
        self.kept = [self.message(number) for number in range(count)]
        self.calls = 0
        self.dies_after: int | None = None

    @staticmethod
    def message(number: int, *, key: EncryptionPrivateKey = OLD) -> KeptMessage:
        """Seal a message to a key."""
        header_hash = number.to_bytes(32, "big")
        wrap = key.public.wrap(b"message key %20d" % number, wrap_info(header_hash, NAMESPACE, key.key_id))
        return KeptMessage(
            place=f"place {number}",
            key_id=key.key_id,
            is_open=number % 3 == 0,
            header_hash=header_hash,
            wrap=wrap,
        )

    def messages(self, *, key_id: bytes = b"", with_wraps: bool = False) -> Iterator[KeptMessage]:
        """Go through them, as they were when it began."""
        for message in tuple(self.kept):
            if key_id in {b"", message.key_id}:
                yield message if with_wraps else replace(message, wrap=b"")

    def replace(self, wraps: Sequence[NewWrap]) -> int:
        """Replace wraps, until the process dies."""
        assert 0 < len(wraps) <= BATCH
        if self.calls == self.dies_after:
            raise ConnectionError
        self.calls += 1
        by_place = {wrap.message.place: wrap for wrap in wraps}
        self.kept = [
            replace(kept, key_id=by_place[kept.place].key_id, wrap=by_place[kept.place].wrap)
            if kept.place in by_place
            else kept
            for kept in self.kept
        ]
        return len(wraps)


def opens(kept: KeptMessage, key: EncryptionPrivateKey) -> bool:
    """Whether a key opens a message."""
    found = key.unwrap(kept.wrap, wrap_info(kept.header_hash, NAMESPACE, key.key_id))
    return found == b"message key %20d" % int(kept.place.split()[1])


def test_needs_are_counted_by_key() -> None:
    """And those of operations that have not ended among them."""
    gateway = Gateway(4)
    gateway.kept.append(Gateway.message(9, key=NEW))
    assert needs(gateway) == {OLD.key_id: Need(messages=4, open=2), NEW.key_id: Need(messages=1, open=1)}


def test_new_key_alone_opens_everything_when_it_was_rewrapped() -> None:
    """In batches; repeated, nothing is left to do."""
    gateway = Gateway(BATCH + 7)
    reported: list[int] = []
    done = rewrap(gateway, namespace=NAMESPACE, old=OLD, new=NEW.public, report=reported.append)
    assert done == Rewrapped(replaced=BATCH + 7, unreadable=0)
    assert reported == [BATCH, BATCH + 7]
    assert all(opens(kept, NEW) and not opens(kept, OLD) for kept in gateway.kept)
    again = rewrap(gateway, namespace=NAMESPACE, old=OLD, new=NEW.public)
    assert again == Rewrapped(replaced=0, unreadable=0)


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_rewrapping_goes_on_where_it_was_when_it_is_killed(batches: int) -> None:
    """What was replaced is not looked at again."""
    gateway = Gateway(3 * BATCH)
    gateway.dies_after = batches
    with pytest.raises(ConnectionError):
        rewrap(gateway, namespace=NAMESPACE, old=OLD, new=NEW.public)
    gateway.dies_after = None
    done = rewrap(gateway, namespace=NAMESPACE, old=OLD, new=NEW.public)
    assert done.replaced == (3 - batches) * BATCH
    assert all(opens(kept, NEW) for kept in gateway.kept)


def test_message_is_left_alone_when_the_old_key_does_not_open_it() -> None:
    """A wrap for somebody else, under another header, or cut off: counted, and nothing is made up."""
    gateway = Gateway(4)
    genuine, foreign, moved, cut = gateway.kept
    gateway.kept = [
        genuine,
        replace(Gateway.message(1, key=STRANGER), key_id=foreign.key_id),
        replace(moved, header_hash=bytes(32)),
        replace(cut, wrap=cut.wrap[:-1]),
    ]
    done = rewrap(gateway, namespace=NAMESPACE, old=OLD, new=NEW.public)
    assert done == Rewrapped(replaced=1, unreadable=3)
