"""The vectors of organization bundles: this implementation judges them as every other one has to."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.wire.bundle import (
    BundleMarks,
    VerifiedBundle,
    check_bundle_progress,
    check_bundle_time,
    verify_bundle,
)
from isthmus.wire.bundle_statement import Bundle, SignedBundle
from isthmus.wire.chain import ChainError, Mark
from isthmus.wire.hybrid import HybridSignature
from isthmus.wire.names import KeyId
from isthmus.wire.trust_statement import Root, SignedStatement, StatementKind, signed_bytes

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "bundles.json").read_text(encoding="utf-8")
)


def statement(name: str) -> SignedStatement:
    """Return a statement with its signatures."""
    vector = VECTORS["statements"][name]
    return SignedStatement(
        statement=bytes.fromhex(vector["statement"]),
        signatures=tuple(
            HybridSignature(
                key_id=KeyId(bytes.fromhex(one["key_id"])),
                ed25519=bytes.fromhex(one["ed25519"]),
                ml_dsa_65=bytes.fromhex(one["ml_dsa_65"]),
            )
            for one in vector["signatures"]
        ),
    )


def seen(names: dict[str, str]) -> BundleMarks:
    """Return what is remembered of statements."""
    root, bundle = statement(names["root"]), statement(names["bundle"])
    return BundleMarks(
        root=Mark(version=Root.decode(root.statement).version, hash=root.hash),
        bundle=Mark(version=Bundle.decode(bundle.statement).version, hash=bundle.hash),
    )


def judge(vector: dict[str, Any]) -> VerifiedBundle:
    """Apply every rule to a bundle. Raises ChainError."""
    verified = verify_bundle(
        SignedBundle(roots=tuple(map(statement, vector["roots"])), bundle=statement(vector["bundle"])),
        trust_domain=VECTORS["trust_domain"],
        organization=vector["organization"],
        fingerprint=statement(vector["pinned"]).hash,
    )
    if vector["seen"] is not None:
        check_bundle_progress(verified, seen(vector["seen"]))
    check_bundle_time(verified, vector["now_ms"])
    return verified


@pytest.mark.parametrize("vector", VECTORS["bundles"], ids=lambda vector: vector["name"])
def test_bundle_is_judged_as_its_vector_says(vector: dict[str, Any]) -> None:
    """Believed, or refused for a reason."""
    if vector["refused"] is None:
        assert judge(vector).bundle.pins[0].namespace == "app-team"
        return
    with pytest.raises(ChainError) as caught:
        judge(vector)
    assert caught.value.problem == vector["refused"]


@pytest.mark.parametrize("name", VECTORS["statements"])
def test_statement_is_what_its_vector_says(name: str) -> None:
    """Its bytes, what is signed of them, its hash, and signatures by the keys that are named."""
    vector, signed = VECTORS["statements"][name], statement(name)
    kind = StatementKind(vector["context"])
    decoder = Root if name.startswith("root") else Bundle
    assert decoder.decode(signed.statement).encode() == signed.statement
    data = signed_bytes(kind, signed.statement)
    assert hashlib.sha256(data).hexdigest() == vector["signed_bytes_sha256"]
    assert signed.hash.hex() == vector["hash"]
    keys = [HybridPrivateKey.from_bytes(bytes.fromhex(key["secret"])) for key in VECTORS["keys"].values()]
    by_id = {key.key_id: key.public for key in keys}
    assert all(by_id[one.key_id].verifies(one, data) for one in signed.signatures)


def test_every_rule_has_a_vector() -> None:
    """Of those that hold between statements, and the endpoints' own."""
    assert {vector["refused"] for vector in VECTORS["bundles"]} >= {
        "not-the-pinned-root",
        "namespace",
        "too-few-signers",
        "signed-twice",
        "not-the-signer",
        "signature",
        "not-signed-by-the-old-root",
        "bundle",
        "endpoint-claimed-twice",
        "duplicate",
        "expired",
        "future",
        "rollback",
        "equivocation",
        "chain",
    }
