"""Our own vectors open, and what is deterministic about them comes out again, byte for byte."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from isthmus.envelope import binding
from isthmus.envelope.expected import Expected
from isthmus.envelope.identity import derive_operation_id, fingerprint_of
from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey, expand_seed
from isthmus.envelope.open import Opened, open_envelope
from isthmus.keys.keyring import OwnKeys
from isthmus.wire.envelope import parse_envelope, signed_bytes
from isthmus.wire.header import Direction, Header, encode_header
from isthmus.wire.names import format_operation_id, parse_operation_id
from isthmus.wire.pae import pae
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord

FOLDER = Path(__file__).parents[2] / "vectors" / "ise1"
SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
NAMES = [*(direction.name.lower() for direction in Direction), "request_later"]


class Decrypter:
    """The private key of one recipient of a vector."""

    def __init__(self, key: EncryptionPrivateKey) -> None:
        self.key = key

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return the key when it has this id."""
        return self.key if key_id == self.key.key_id else None


def load(name: str) -> dict[str, Any]:
    """Read a vector."""
    vector: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return vector


def opened_by(vector: dict[str, Any], namespace: str) -> Opened:
    """Open the envelope of a vector as one of its recipients."""
    envelope = parse_envelope(bytes.fromhex(vector["envelope"]))
    header = envelope.header
    record = PublicKeyRecord(
        key_id=header.sender_key_id,
        kind=KeyKind.SIGNING,
        state=KeyState.ACTIVE,
        public_key=bytes.fromhex(vector["signing_key"]["public"]),
        created_at_ms=header.issued_at_ms,
    )
    expected = Expected(
        directions=frozenset({header.direction}),
        trust_domain="acme.example",
        sender_namespace=header.sender_namespace,
        recipient_namespace=header.recipient_namespace,
        endpoint="payments",
        service="com.example.Payments",
        operation="charge card",
        operation_id=bytes.fromhex(vector["operation_id"]["value"]),
        request_digest=bytes.fromhex(vector["header"]["request_digest"]),
    )
    return open_envelope(
        bytes.fromhex(vector["envelope"]),
        expected=expected,
        sender_keys=OwnKeys(
            namespace=header.sender_namespace, trust_domain=header.trust_domain, public_keys=(record,)
        ),
        decrypter=Decrypter(
            EncryptionPrivateKey.from_seed(bytes.fromhex(vector["encryption_keys"][namespace]["seed"]))
        ),
        namespace=namespace,
        now_ms=header.issued_at_ms,
    )


@pytest.mark.parametrize("name", NAMES)
def test_vector_opens_when_any_of_its_recipients_opens_it(name: str) -> None:
    """Every direction, every recipient."""
    vector = load(name)
    for namespace in vector["encryption_keys"]:
        opened = opened_by(vector, namespace)
        assert opened.payload.content_type == vector["payload"]["content_type"]
        assert [list(pair) for pair in opened.payload.headers] == vector["payload"]["headers"]
        assert opened.payload.data.hex() == vector["payload"]["data"]
        assert opened.digest.hex() == vector["digest"]
        assert encode_inner(opened.payload).hex() == vector["padded_plaintext"]


@pytest.mark.parametrize("name", NAMES)
def test_vector_comes_out_again_when_its_deterministic_parts_are_recomputed(name: str) -> None:
    """Header, hashes, bindings, signature, digest, ids and fingerprint."""
    vector = load(name)
    envelope = parse_envelope(bytes.fromhex(vector["envelope"]))
    header_bytes = encode_header(envelope.header)
    hashed = hashlib.sha256(header_bytes).digest()
    assert header_bytes.hex() == vector["header_bytes"]
    assert shown(envelope.header) == vector["header"]
    assert hashed.hex() == vector["header_hash"]
    assert binding.body_context(hashed).hex() == vector["body_context"]
    signer = SigningPrivateKey.from_bytes(bytes.fromhex(vector["signing_key"]["private"]))
    signed = signed_bytes(hashed, envelope.body_digest)
    assert signed == pae("ise1/sig", hashed, hashlib.sha256(envelope.body).digest())
    assert signer.sign(signed).hex() == vector["signature"] == envelope.signature.hex()
    assert hashlib.sha256(signed).hexdigest() == vector["digest"] == envelope.digest.hex()


@pytest.mark.parametrize("name", NAMES)
def test_vector_opens_step_by_step_when_only_primitives_are_used(name: str) -> None:
    """The message key of the vector opens the body, and every wrap contains it."""
    vector = load(name)
    envelope = parse_envelope(bytes.fromhex(vector["envelope"]))
    message_key = bytes.fromhex(vector["message_key"])
    decryptor = Cobblestone256Decryptor(message_key, bytes.fromhex(vector["body_context"]))
    plaintext = decryptor.update(envelope.body) + decryptor.finalize()
    assert plaintext.hex() == vector["padded_plaintext"]
    for wrap in envelope.wraps:
        key = EncryptionPrivateKey.from_seed(bytes.fromhex(vector["encryption_keys"][wrap.namespace]["seed"]))
        assert key.public.raw.hex() == vector["encryption_keys"][wrap.namespace]["public"]
        assert key.key_id.hex() == vector["encryption_keys"][wrap.namespace]["key_id"] == wrap.key_id.hex()
        info = binding.wrap_info(bytes.fromhex(vector["header_hash"]), wrap.namespace, wrap.key_id)
        assert info.hex() == vector["wrap_info"][wrap.namespace]
        assert key.unwrap(wrap.ciphertext, info) == message_key
        private = MLKEM768X25519PrivateKey(*expand_seed(key.seed))
        secret = SUITE.decrypt(wrap.ciphertext[:1168], private, pae("ise1/encapsulation", key.key_id))
        assert secret.hex() == vector["encapsulated"][wrap.namespace]
        once = AESGCM(HKDFExpand(SHA256(), 32, info).derive(secret))
        assert once.decrypt(bytes(12), wrap.ciphertext[1168:], None) == message_key


@pytest.mark.parametrize("name", NAMES)
def test_vector_identities_come_out_again_when_derived(name: str) -> None:
    """Operation id from the request id, fingerprint from the payload."""
    vector = load(name)
    identity = vector["operation_id"]
    id_key = bytes.fromhex(identity["id_key"])
    operation_id = derive_operation_id(
        id_key,
        trust_domain="acme.example",
        caller_namespace="data-team",
        endpoint="payments",
        service="com.example.Payments",
        operation="charge card",
        request_id=identity["request_id"],
        generation=identity["generation"],
    )
    assert operation_id.hex() == identity["value"]
    assert format_operation_id(operation_id) == identity["shown"]
    assert parse_operation_id(identity["shown"]) == operation_id
    recipient = next(iter(vector["encryption_keys"]))
    payload = opened_by(vector, recipient).payload
    assert fingerprint_of(id_key, payload).hex() == vector["fingerprint"]["value"]


def test_pae_vectors_come_out_again_when_encoded() -> None:
    """The encoding that everything is bound with."""
    for vector in load("pae")["pae"]:
        assert pae(*(bytes.fromhex(part) for part in vector["parts"])).hex() == vector["encoded"]


def shown(header: Header) -> dict[str, Any]:
    """Return a header as JSON shows it."""
    values = {name: v.hex() if isinstance(v, bytes) else v for name, v in header._asdict().items()}
    loaded: dict[str, Any] = json.loads(json.dumps(values))
    return loaded
