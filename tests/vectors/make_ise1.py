"""Makes the test vectors of ISE1: run once; what it wrote is checked in and must not change any more.

Sealing is randomized (HPKE encapsulates with fresh randomness, and so does Cobblestone), so a vector is to be
opened. What is deterministic is recomputed: PAE, header bytes, hashes, signature, digest, ids, fingerprint.

    python tests/vectors/make_ise1.py tests/vectors/ise1
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from isthmus.envelope import binding
from isthmus.envelope.encapsulation import ENCAPSULATION_BYTES
from isthmus.envelope.identity import derive_operation_id, fingerprint_of
from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey, expand_seed
from isthmus.envelope.seal import seal_body
from isthmus.payload.payload import Payload
from isthmus.wire.envelope import (
    SealedEnvelope,
    SealedWrap,
    encode_envelope,
    header_hash,
    message_digest,
    signed_bytes,
)
from isthmus.wire.header import Direction, Header, encode_header
from isthmus.wire.names import NamespaceName, format_operation_id
from isthmus.wire.pae import pae

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
ID_KEY = bytes(range(32))


def derived(label: str, count: int) -> bytes:
    """Return bytes that follow from a label: SHAKE-256 of it."""
    return hashlib.shake_256(f"isthmus/vectors/{label}".encode()).digest(count)


def sealed(name: str, header: Header, payload: Payload, request_id: str) -> dict[str, Any]:
    """Seal a payload and show every step."""
    signer = SigningPrivateKey.from_bytes(derived(f"{header.sender_namespace}/signing", 32))
    header_bytes = encode_header(header)
    hashed = header_hash(header_bytes)
    plaintext = encode_inner(payload)
    message_key = derived(f"{name}/message-key", 32)
    body = seal_body(plaintext, message_key=message_key, hashed_header=hashed)
    body_digest = hashlib.sha256(body).digest()
    keys = {ns: EncryptionPrivateKey.from_seed(derived(f"{ns}/encryption", 32)) for ns in header.recipients}
    infos = {ns: binding.wrap_info(hashed, ns, key.key_id) for ns, key in keys.items()}
    wraps = tuple(
        SealedWrap(namespace=ns, key_id=key.key_id, ciphertext=key.public.wrap(message_key, infos[ns]))
        for ns, key in keys.items()
    )
    signature = signer.sign(signed_bytes(hashed, body_digest))
    envelope = SealedEnvelope(
        header=header, header_bytes=header_bytes, wraps=wraps, body=body, signature=signature
    )
    return {
        "name": name,
        "header": _shown(header._asdict()),
        "header_bytes": header_bytes.hex(),
        "header_hash": hashed.hex(),
        "payload": {
            "content_type": payload.content_type,
            "headers": [list(pair) for pair in payload.headers],
            "data": payload.data.hex(),
        },
        "padded_plaintext": plaintext.hex(),
        "message_key": message_key.hex(),
        "body_context": binding.body_context(hashed).hex(),
        "body": body.hex(),
        "body_digest": body_digest.hex(),
        "wrap_info": {ns: info.hex() for ns, info in infos.items()},
        "encapsulated": {wrap.namespace: _encapsulated(wrap, keys[wrap.namespace]).hex() for wrap in wraps},
        "signing_key": {"private": signer.to_bytes().hex(), "public": signer.public.raw.hex()},
        "encryption_keys": {
            ns: {"seed": key.seed.hex(), "public": key.public.raw.hex(), "key_id": key.key_id.hex()}
            for ns, key in keys.items()
        },
        "signed_bytes": signed_bytes(hashed, body_digest).hex(),
        "signature": signature.hex(),
        "digest": message_digest(hashed, body_digest).hex(),
        "envelope": encode_envelope(envelope).hex(),
        "operation_id": {
            "id_key": ID_KEY.hex(),
            "request_id": request_id,
            "generation": 1,
            "value": header.operation_id.hex(),
            "shown": format_operation_id(header.operation_id),
        },
        "fingerprint": {"id_key": ID_KEY.hex(), "value": fingerprint_of(ID_KEY, payload).hex()},
    }


def vectors() -> Iterator[dict[str, Any]]:
    """Yield a vector for each direction, one of a request that is put off, and one with an empty payload."""
    caller, handler = NamespaceName("data-team"), NamespaceName("app-team")
    to_handler = {Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL}
    to_self = {Direction.STARTED: handler, Direction.DETAILS: handler, Direction.CONTEXT: caller}
    request_digest = b""
    kinds = [(direction.name.lower(), direction, 0) for direction in Direction]
    for name, direction, start_at_ms in [*kinds, ("request_later", Direction.REQUEST, NOW_MS + 60_000)]:
        sender = to_self.get(direction, caller if direction in to_handler else handler)
        recipient = to_self.get(direction, handler if direction in to_handler else caller)
        signer = SigningPrivateKey.from_bytes(derived(f"{sender}/signing", 32))
        payload = Payload(
            content_type="application/json",
            headers=(("encoding", "plain"), ("language", "en")),
            data=json.dumps({"direction": name, "amount": 42, "currency": "€"}).encode(),
        )
        if direction is Direction.CANCEL:
            payload = Payload(content_type="", data=b"")
        request_id = "order-42"
        is_request = direction is Direction.REQUEST
        ordered = direction in {Direction.SIGNAL, Direction.PROGRESS}
        header = Header(
            direction=direction,
            trust_domain="acme.example",
            sender_namespace=sender,
            sender_key_id=signer.key_id,
            principal=f"spiffe://acme.example/{sender}/worker",
            recipient_namespace=recipient,
            endpoint="payments",
            service="com.example.Payments",
            operation="charge card",
            operation_id=derive_operation_id(
                ID_KEY,
                trust_domain="acme.example",
                caller_namespace=caller,
                endpoint="payments",
                service="com.example.Payments",
                operation="charge card",
                request_id=request_id,
            ),
            message_id=derived(f"{name}/message-id", 16),
            request_digest=b"" if is_request or direction is Direction.EVENT else request_digest,
            sender_session=derived("session", 16) if ordered else b"",
            sequence=3 if ordered else 0,
            issued_at_ms=NOW_MS,
            expires_at_ms=NOW_MS + HOUR_MS if direction in to_handler else 0,
            schedule_to_start_timeout_ms=60_000 if is_request else 0,
            schedule_to_close_timeout_ms=HOUR_MS if is_request else 0,
            recipients=tuple(sorted({sender, recipient})),
            labels=(("data-class", "internal"), ("purpose", "billing")),
            contract_hash=hashlib.sha256(b"contract").digest(),
            fingerprint=fingerprint_of(ID_KEY, payload) if is_request else b"",
            start_at_ms=start_at_ms,
        )
        vector = sealed(name, header, payload, request_id)
        if is_request:
            request_digest = bytes.fromhex(vector["digest"])
        yield vector


def encodings() -> dict[str, Any]:
    """Return vectors of PAE."""
    lists: tuple[tuple[bytes, ...], ...] = ((), (b"",), (b"", b""), (b"a",), (b"ab", b"c"), (b"a", b"bc"))
    return {"pae": [{"parts": [p.hex() for p in parts], "encoded": pae(*parts).hex()} for parts in lists]}


def _encapsulated(wrap: SealedWrap, key: EncryptionPrivateKey) -> bytes:
    """Return the secret that a wrap encapsulates."""
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    private = MLKEM768X25519PrivateKey(*expand_seed(key.seed))
    info = binding.encapsulation_info(key.key_id)
    return suite.decrypt(wrap.ciphertext[:ENCAPSULATION_BYTES], private, info)


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def main() -> None:
    """Write the vectors; refuses to overwrite any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, vector in [("pae", encodings()), *((vector["name"], vector) for vector in vectors())]:
        with (folder / f"{name}.json").open("x", encoding="utf-8") as file:
            json.dump(vector, file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    main()
