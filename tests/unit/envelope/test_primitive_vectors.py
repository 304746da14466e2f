"""The primitives do what their specifications say: the vectors that ``cryptography`` is released with."""

import json
from pathlib import Path
from typing import Any

import cryptography
import cryptography_vectors
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from isthmus.envelope.key_material import EncryptionPrivateKey, expand_seed

FOLDER = Path(cryptography_vectors.__file__).parent
XWING, HKDF_SHA256, DHKEM_X25519, AES_256_GCM, CHACHA20 = 0x647A, 1, 0x20, 2, 3


def hpke_vectors(name: str) -> list[dict[str, Any]]:
    """Read the HPKE vectors of a file."""
    vectors: list[dict[str, Any]] = json.loads((FOLDER / "HPKE" / name).read_text(encoding="utf-8"))
    return vectors


def test_vectors_are_those_of_the_installed_library() -> None:
    """Both distributions are released together."""
    assert cryptography_vectors.__version__ == cryptography.__version__


def test_rfc9180_messages_open_when_sealed_to_x25519() -> None:
    """RFC 9180, appendix A: base mode, HKDF-SHA256, AES-256-GCM, first message of each vector."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    chosen = [
        vector
        for vector in hpke_vectors("test-vectors.json")
        if (vector["mode"], vector["kem_id"], vector["kdf_id"], vector["aead_id"])
        == (0, DHKEM_X25519, HKDF_SHA256, AES_256_GCM)
    ]
    assert chosen
    for vector in chosen:
        key = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skRm"]))
        first = vector["encryptions"][0]
        plaintext = rust_openssl.hpke._decrypt_with_aad(
            suite,
            bytes.fromhex(vector["enc"] + first["ct"]),
            key,
            bytes.fromhex(vector["info"]),
            bytes.fromhex(first["aad"]),
        )
        assert plaintext.hex() == first.get("pt", first.get("plaintext"))


def test_xwing_key_pair_follows_from_its_seed() -> None:
    """The seed expands as in the X-Wing draft: the public key of every vector comes out."""
    chosen = [vector for vector in hpke_vectors("hpke-pq-test-vectors.json") if vector["kem_id"] == XWING]
    assert chosen
    for vector in chosen:
        key = EncryptionPrivateKey.from_seed(bytes.fromhex(vector["skRm"]))
        assert key.public.raw.hex() == vector["pkRm"]


def test_xwing_messages_open_when_sealed_to_a_vector_key() -> None:
    """HPKE with X-Wing decapsulates what the vectors encapsulated (the vectors use ChaCha20-Poly1305)."""
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    chosen = [
        vector
        for vector in hpke_vectors("hpke-pq-test-vectors.json")
        if (vector["kem_id"], vector["kdf_id"], vector["aead_id"]) == (XWING, HKDF_SHA256, CHACHA20)
    ]
    assert chosen
    for vector in chosen:
        key = MLKEM768X25519PrivateKey(*expand_seed(bytes.fromhex(vector["skRm"])))
        first = vector["encryptions"][0]
        plaintext = rust_openssl.hpke._decrypt_with_aad(
            suite,
            bytes.fromhex(vector["enc"] + first["ct"]),
            key,
            bytes.fromhex(vector["info"]),
            bytes.fromhex(first["aad"]),
        )
        assert plaintext.hex() == first["pt"]
