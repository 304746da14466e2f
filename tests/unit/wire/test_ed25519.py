"""Ed25519 keys that prove nothing, and the signatures that nobody made with them."""

import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from isthmus.envelope.key_material import SigningPublicKey
from isthmus.wire.ed25519 import is_weak

P = 2**255 - 19
ORDER_EIGHT = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
# Every spelling of the points of small order: with either sign, and y or y + p where that fits.
WEAK = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, P, P + 1, *(int.from_bytes(bytes.fromhex(y), "little") for y in ORDER_EIGHT))
    for sign in (0, 1)
]


def forged(public_key: bytes, message: bytes) -> bytes | None:
    """Return a signature that verifies, made without any private key: R of small order, and S = 0."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    for point in WEAK:
        signature = point + bytes(32)
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return signature
    return None


@pytest.mark.parametrize("public_key", WEAK, ids=bytes.hex)
def test_key_is_refused_when_anybody_can_sign_with_it(public_key: bytes) -> None:
    """The library takes the key, and the forgery; this end does not take the key."""
    assert any(forged(public_key, b"I owe you %d" % amount) is not None for amount in range(100))
    assert is_weak(public_key)
    with pytest.raises(ValueError, match="small order"):
        SigningPublicKey(public_key)


@pytest.mark.parametrize("y", [P + 2, P + 18])
def test_key_is_refused_when_its_point_has_another_spelling(y: int) -> None:
    """Two ids would be one key."""
    assert is_weak(y.to_bytes(32, "little"))
    assert not is_weak((y - P).to_bytes(32, "little"))


def test_key_is_accepted_when_somebody_generated_it() -> None:
    """All of them; and nothing is forged under them."""
    for _ in range(20):
        raw = Ed25519PrivateKey.from_private_bytes(os.urandom(32)).public_key().public_bytes_raw()
        assert not is_weak(raw)
        assert SigningPublicKey(raw).raw == raw
        assert forged(raw, b"I owe you everything") is None
