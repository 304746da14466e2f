"""One encapsulation for the messages of a minute: public-key work that is done once, not for each message.

A sender encapsulates a random secret to the recipient's key and wraps with it whatever it seals to that key
in the next minute. A wrap carries its encapsulation, so whoever holds the private key opens it with nothing
else at hand: another worker, after a restart, weeks later. Who opened one before remembers its secret and
spares the decapsulation.

    wrap          = encapsulation (1168 bytes) || AES-256-GCM(key, nonce 0, message key) (48 bytes)
    encapsulation = HPKE.Seal(public key, info = PAE("ise1/encapsulation", key id), secret)
    key           = HKDF-Expand(SHA-256, secret, info of the wrap, 32 bytes)

The info of a wrap contains the hash of a header with 16 random bytes of its own. So each key is used once,
which is why the nonce may be constant, and nothing is counted: threads, forks and restarts do no harm.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

LIFETIME_SECONDS: Final = 60
"""For how long a sender goes on with one secret: what its memory gives away, if it is taken, of what it
sent before."""
MAX_REMEMBERED: Final = 256
"""How many secrets a recipient remembers for each of its keys."""
ENCAPSULATION_BYTES: Final = 1168
_SECRET_BYTES: Final = 32
_NONCE: Final = bytes(12)
_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SHA256: Final = SHA256()


class _Encapsulation(NamedTuple):
    secret: bytes
    sent: bytes
    until: float

    def __repr__(self) -> str:
        return "_Encapsulation()"


class Encapsulator:
    """Wraps message keys for the holder of one private key."""

    __slots__ = ("_clock", "_current", "_info", "_key")

    def __init__(
        self, key: MLKEM768X25519PublicKey, info: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Encapsulate to ``key`` under ``info``; the clock gives seconds."""
        self._key = key
        self._info = info
        self._clock = clock
        self._current: _Encapsulation | None = None

    def wrap(self, message_key: bytes, info: bytes) -> bytes:
        """Wrap a message key under an info that no other message has."""
        now = self._clock()
        current = self._current
        if current is None or now >= current.until:
            secret = os.urandom(_SECRET_BYTES)
            sent = _HPKE.encrypt(secret, self._key, self._info)
            # Threads that come at the same time make one each: the last one stays.
            self._current = current = _Encapsulation(secret, sent, now + LIFETIME_SECONDS)
        return current.sent + _cipher(current.secret, info).encrypt(_NONCE, message_key, None)


class Decapsulator:
    """Unwraps what was wrapped for one private key."""

    __slots__ = ("_secret_of",)

    def __init__(self, key: MLKEM768X25519PrivateKey, info: bytes) -> None:
        """Decapsulate with ``key`` under ``info``."""
        # No reference to this object: the secrets go as soon as it does. What fails is not remembered.
        self._secret_of = functools.lru_cache(MAX_REMEMBERED)(
            functools.partial(_HPKE.decrypt, private_key=key, info=info)
        )

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes | None:
        """Return the message key, or None when it was not wrapped for this key and this ``info``."""
        try:
            secret = self._secret_of(wrapped[:ENCAPSULATION_BYTES])
            return _cipher(secret, info).decrypt(_NONCE, wrapped[ENCAPSULATION_BYTES:], None)
        except (InvalidTag, ValueError):
            return None


def _cipher(secret: bytes, info: bytes) -> AESGCM:
    return AESGCM(HKDFExpand(_SHA256, 32, info).derive(secret))
