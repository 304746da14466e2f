"""Which Ed25519 signatures count, whichever library computes them; and keys that prove nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.wire.edwards import L, Signed, counts, sign

from isthmus.envelope.key_material import SigningPrivateKey, SigningPublicKey
from isthmus.wire import ed25519
from isthmus.wire.ed25519 import is_weak, signer, verifier

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


LIBRARIES = {"libsodium": ed25519._by_sodium, "OpenSSL": None}
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "ed25519.json").read_text(encoding="utf-8"))


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either library, whichever this machine would take by itself."""
    name: str = request.param
    assert ed25519._by_sodium is not None
    monkeypatch.setattr(ed25519, "_by_sodium", LIBRARIES[name])
    return name


def is_believed(signed: Signed) -> bool:
    """Ask as an end does: a key that proves nothing is not even loaded."""
    try:
        return verifier(signed.public_key)(signed.signature, signed.message)
    except ValueError:
        return False


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
@pytest.mark.usefixtures("library")
def test_signature_counts_by_the_rule_when_libraries_differ(vector: dict[str, Any]) -> None:
    """In the corners: the rule in plain Python, both libraries and the file are of one mind."""
    public_key, message, signature = (
        bytes.fromhex(vector[name]) for name in ("public_key", "message", "signature")
    )
    signed = Signed(public_key=public_key, message=message, signature=signature)
    assert is_believed(signed) is counts(signed)
    assert counts(signed) is vector["counts"]


SIGNED = st.builds(
    sign,
    st.binary(max_size=80),
    secret=st.integers(1, L - 1),
    nonce=st.sampled_from((0, 1, 5, L - 1)),
    key_torsion=st.integers(0, 7),
    nonce_torsion=st.integers(0, 7),
    wraps=st.integers(0, 2),
)


@settings(max_examples=60, deadline=None)
@given(signed=SIGNED)
def test_signature_counts_by_the_rule_whatever_its_points_are(signed: Signed) -> None:
    """Parts of small order in key and commitment, S beyond the order: with either library."""
    for name, library in LIBRARIES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ed25519, "_by_sodium", library)
            assert is_believed(signed) is counts(signed), name


@pytest.mark.usefixtures("library")
def test_signature_counts_for_its_own_message_only_when_the_cut_moves() -> None:
    """Libsodium takes signature and message as one string: the rule says where one ends."""
    key = SigningPrivateKey.generate()
    message = os.urandom(70)
    signature = key.sign(message)
    assert key.public.verify(signature, message)
    joined = signature + message
    for cut in (0, 1, 63, 65, 66, len(joined)):
        assert not key.public.verify(joined[:cut], joined[cut:])


@pytest.mark.usefixtures("library")
def test_signature_does_not_count_when_a_byte_of_it_differs() -> None:
    """Any of the 64."""
    key = SigningPrivateKey.generate()
    signature = key.sign(b"message")
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not key.public.verify(bytes(changed), b"message")


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_signature_is_the_same_byte_by_byte_whichever_library_makes_it(seed: bytes, message: bytes) -> None:
    """RFC 8032 leaves nothing to chance."""
    expected = Ed25519PrivateKey.from_private_bytes(seed).sign(message)
    for library in LIBRARIES.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ed25519, "_by_sodium", library)
            assert signer(seed)(message) == expected


def test_library_is_not_used_when_it_counts_otherwise() -> None:
    """One that accepts everything, one that accepts nothing, one that reduces S."""
    genuine = ed25519._by_openssl

    def generous(_key: bytes) -> ed25519.Verify:
        return lambda _signature, _message: True

    def stingy(_key: bytes) -> ed25519.Verify:
        return lambda _signature, _message: False

    def reducing(key: bytes) -> ed25519.Verify:
        def verify(signature: bytes, message: bytes) -> bool:
            answer = int.from_bytes(signature[32:], "little") % L
            return genuine(key)(signature[:32] + answer.to_bytes(32, "little"), message)

        return verify

    assert ed25519._counts_alike(genuine)
    assert not any(ed25519._counts_alike(other) for other in (generous, stingy, reducing))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_is_refused_when_it_has_another_size(size: int) -> None:
    """Before any library sees it."""
    with pytest.raises(ValueError, match="32"):
        verifier(bytes(size))
    with pytest.raises(ValueError, match="32"):
        signer(bytes(size))
