"""Cobblestone-256 is what its specification says, shown in two steps.

The vectors of C2SP chunked-encryption that come with ``cryptography`` use HKDF with SHA-256. Cobblestone uses
SHA-512, and the library offers nothing else. So a second implementation, of a few lines, is held against all
vectors with SHA-256, good ones and bad ones, and then, with SHA-512, against the library.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(cryptography_vectors.__file__).parent / "chunked-encryption" / "vectors.json"
CHUNK_BYTES, TAG_BYTES, SALT_BYTES, COMMITMENT_BYTES = 16 * 1024, 16, 24, 32
KEY_BYTES, NONCE_BYTES = 32, 12
PREFIX = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

Keys = tuple[AESGCM, bytes, bytes]


def vectors(expected: str) -> list[dict[str, Any]]:
    """Read the vectors with AES-256-GCM that must succeed, or fail."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    return [
        vector
        for vector in document["vectors"]
        if (vector["aead"], vector["expect"]) == ("AEAD_AES_256_GCM", expected)
    ]


def derive(algorithm: HashAlgorithm, key: bytes, context: bytes, salt: bytes) -> Keys:
    """Derive the cipher, the base nonce and the commitment of one message. Raises InvalidTag."""
    if len(key) != KEY_BYTES:
        raise InvalidTag
    length = KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES
    derived = HKDFExpand(algorithm, length, PREFIX + salt + context).derive(key)
    nonce_end = KEY_BYTES + NONCE_BYTES
    return AESGCM(derived[:KEY_BYTES]), derived[KEY_BYTES:nonce_end], derived[nonce_end:]


def nonce_of(base_nonce: bytes, chunk: int) -> bytes:
    """Return the base nonce with the chunk's number in it."""
    return (int.from_bytes(base_nonce) ^ chunk).to_bytes(NONCE_BYTES)


def encrypt(algorithm: HashAlgorithm, key: bytes, context: bytes, salt: bytes, message: bytes) -> bytes:
    """Encrypt a message; its last chunk is always shorter than a full one."""
    cipher, base_nonce, commitment = derive(algorithm, key, context, salt)
    chunks = [message[start : start + CHUNK_BYTES] for start in range(0, len(message) + 1, CHUNK_BYTES)]
    sealed = [cipher.encrypt(nonce_of(base_nonce, n), chunk, None) for n, chunk in enumerate(chunks)]
    return salt + commitment + b"".join(sealed)


def decrypt(algorithm: HashAlgorithm, key: bytes, context: bytes, ciphertext: bytes) -> bytes:
    """Decrypt a message. Raises InvalidTag."""
    header = SALT_BYTES + COMMITMENT_BYTES
    cipher, base_nonce, commitment = derive(algorithm, key, context, ciphertext[:SALT_BYTES])
    if ciphertext[SALT_BYTES:header] != commitment:
        raise InvalidTag
    step = CHUNK_BYTES + TAG_BYTES
    chunks = [ciphertext[start : start + step] for start in range(header, len(ciphertext) + 1, step)]
    if not TAG_BYTES <= len(chunks[-1]) < step:
        raise InvalidTag
    return b"".join(cipher.decrypt(nonce_of(base_nonce, n), chunk, None) for n, chunk in enumerate(chunks))


def ciphertext_of(vector: dict[str, Any]) -> bytes:
    """Return the ciphertext of a vector; one that is missing is empty."""
    data = base64.b64decode(vector.get("ciphertext") or "")
    return zlib.decompress(data) if vector.get("compressed") else data


@pytest.mark.parametrize("vector", vectors("success"), ids=lambda vector: vector["name"])
def test_vector_opens_when_it_is_good(vector: dict[str, Any]) -> None:
    """The second implementation derives the keys of the vector, and opens it."""
    plaintext = decrypt(
        SHA256(), bytes.fromhex(vector["key"]), vector["context"].encode(), ciphertext_of(vector)
    )
    assert len(plaintext) == vector["payload_length"]
    assert hashlib.sha256(plaintext).hexdigest() == vector["payload_sha256"]


@pytest.mark.parametrize("vector", vectors("failure"), ids=lambda vector: vector["name"])
def test_vector_is_refused_when_it_is_bad(vector: dict[str, Any]) -> None:
    """The second implementation refuses what must be refused."""
    with pytest.raises(InvalidTag):
        decrypt(SHA256(), bytes.fromhex(vector["key"]), vector["context"].encode(), ciphertext_of(vector))


@given(
    key=st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    context=st.binary(max_size=64),
    salt=st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES),
    size=st.sampled_from([0, 1, 200, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]),
)
def test_library_agrees_when_the_hash_is_sha512(key: bytes, context: bytes, salt: bytes, size: int) -> None:
    """What one implementation encrypts, the other opens, both ways."""
    message = hashlib.shake_128(salt).digest(size)
    decryptor = Cobblestone256Decryptor(key, context)
    assert decryptor.update(encrypt(SHA512(), key, context, salt, message)) + decryptor.finalize() == message
    encryptor = Cobblestone256Encryptor(key, context)
    sealed = encryptor.update(message) + encryptor.finalize()
    assert decrypt(SHA512(), key, context, sealed) == message
