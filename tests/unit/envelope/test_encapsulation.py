"""A secret that is encapsulated once wraps the keys of a minute's messages, each for itself."""

import weakref

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from isthmus.envelope.encapsulation import (
    ENCAPSULATION_BYTES,
    LIFETIME_SECONDS,
    MAX_REMEMBERED,
    Decapsulator,
    Encapsulator,
)
from isthmus.envelope.key_material import EncryptionPrivateKey, expand_seed

SEED = bytes(range(32))
INFO = b"of this key"
FIRST, SECOND = b"header of the first", b"header of the second"
KEY = b"a message key of thirty-two byte"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return them."""
        return self.now


def decapsulator(info: bytes = INFO, seed: bytes = SEED) -> Decapsulator:
    """Return one that has opened nothing yet, as after a restart."""
    return Decapsulator(MLKEM768X25519PrivateKey(*expand_seed(seed)), info)


def encapsulator(clock: Clock | None = None, info: bytes = INFO) -> Encapsulator:
    """Return one for the private key of SEED."""
    raw = EncryptionPrivateKey(SEED).public.raw
    key = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:-32]), X25519PublicKey.from_public_bytes(raw[-32:])
    )
    return Encapsulator(key, info, clock or Clock())


def test_one_encapsulation_serves_many_messages_when_they_follow_within_a_minute() -> None:
    """It is the same, and what it wraps is not."""
    clock = Clock()
    sender = encapsulator(clock)
    first = sender.wrap(KEY, FIRST)
    clock.now += LIFETIME_SECONDS - 1
    second = sender.wrap(KEY, SECOND)
    assert first[:ENCAPSULATION_BYTES] == second[:ENCAPSULATION_BYTES]
    assert first[ENCAPSULATION_BYTES:] != second[ENCAPSULATION_BYTES:]
    clock.now += 1
    third = sender.wrap(KEY, SECOND)
    assert third[:ENCAPSULATION_BYTES] != first[:ENCAPSULATION_BYTES]


def test_wrap_opens_by_itself_when_nothing_was_opened_before() -> None:
    """Any process that holds the key opens any message, in any order."""
    sender = encapsulator()
    first, second = sender.wrap(KEY, FIRST), sender.wrap(KEY, SECOND)
    assert decapsulator().unwrap(second, SECOND) == KEY
    one = decapsulator()
    assert [one.unwrap(second, SECOND), one.unwrap(first, FIRST), one.unwrap(first, FIRST)] == [KEY] * 3


def test_wrap_is_refused_when_it_is_bound_to_something_else() -> None:
    """To another message, another key's id, another key."""
    wrapped = encapsulator().wrap(KEY, FIRST)
    receiver = decapsulator()
    assert receiver.unwrap(wrapped, FIRST) == KEY
    assert receiver.unwrap(wrapped, SECOND) is None
    assert decapsulator(info=b"of another key").unwrap(wrapped, FIRST) is None
    assert decapsulator(seed=bytes(32)).unwrap(wrapped, FIRST) is None


def test_wrap_is_refused_when_a_bit_of_it_differs() -> None:
    """Whether its encapsulation was opened before, or not."""
    wrapped = encapsulator().wrap(KEY, FIRST)
    receiver = decapsulator()
    assert receiver.unwrap(wrapped, FIRST) == KEY
    for place in [*range(0, len(wrapped), 37), *range(ENCAPSULATION_BYTES, len(wrapped))]:
        flipped = wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        assert receiver.unwrap(flipped, FIRST) is None


@pytest.mark.parametrize("kept", [0, 1, ENCAPSULATION_BYTES - 1, ENCAPSULATION_BYTES, -1])
def test_wrap_is_refused_when_it_is_cut(kept: int) -> None:
    """At every seam."""
    assert decapsulator().unwrap(encapsulator().wrap(KEY, FIRST)[:kept], FIRST) is None


def test_wrap_is_refused_when_its_encapsulation_is_another_one() -> None:
    """Of the same sender and for the same key."""
    clock = Clock()
    sender, receiver = encapsulator(clock), decapsulator()
    first = sender.wrap(KEY, FIRST)
    clock.now += LIFETIME_SECONDS
    later = sender.wrap(KEY, FIRST)
    assert receiver.unwrap(first, FIRST) == receiver.unwrap(later, FIRST) == KEY
    spliced = later[:ENCAPSULATION_BYTES] + first[ENCAPSULATION_BYTES:]
    assert receiver.unwrap(spliced, FIRST) is None


def test_memory_is_bounded_when_there_are_many_encapsulations() -> None:
    """Only so many are remembered, and none that fails."""
    receiver = decapsulator()
    for _ in range(MAX_REMEMBERED + 10):
        assert receiver.unwrap(encapsulator().wrap(KEY, FIRST), FIRST) == KEY
    assert receiver._secret_of.cache_info().currsize == MAX_REMEMBERED
    fresh = decapsulator()
    for number in range(10):
        assert fresh.unwrap(bytes([number]) * 1216, FIRST) is None
    assert fresh._secret_of.cache_info().currsize == 0


def test_secrets_go_when_the_key_goes() -> None:
    """At once, not when garbage is collected: the key may have been destroyed."""
    key = EncryptionPrivateKey(SEED)
    assert key.unwrap(key.public.wrap(KEY, FIRST), FIRST) == KEY
    remembered = weakref.ref(key._decapsulator._secret_of)
    del key
    assert remembered() is None


def test_secret_is_not_shown_when_a_sender_is_looked_at() -> None:
    """In a debugger, a log or a crash report."""
    sender = encapsulator()
    sender.wrap(KEY, FIRST)
    assert sender._current is not None
    assert repr(sender._current) == "_Encapsulation()"
