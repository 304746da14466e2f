"""The vectors of chains: what other implementations are tested with, this one is tested with, too."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.wire.chain import (
    Chain,
    ChainError,
    Mark,
    Marks,
    check_progress,
    check_time,
    verify_chain,
)
from isthmus.wire.hybrid import HybridSignature
from isthmus.wire.names import KeyId
from isthmus.wire.trust_statement import (
    Delegation,
    Keyset,
    Renewal,
    Root,
    SignedKeyset,
    SignedStatement,
    StatementKind,
    signed_bytes,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "chains.json").read_text(encoding="utf-8")
)
KINDS: dict[StatementKind, type[Root | Delegation | Keyset | Renewal]] = {
    StatementKind.ROOT: Root,
    StatementKind.DELEGATION: Delegation,
    StatementKind.KEYSET: Keyset,
    StatementKind.RENEWAL: Renewal,
}


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


def version_of(name: str) -> Mark:
    """Return what is remembered of a statement."""
    signed = statement(name)
    decoded = KINDS[StatementKind(VECTORS["statements"][name]["context"])].decode(signed.statement)
    assert not isinstance(decoded, Renewal)
    return Mark(version=decoded.version, hash=signed.hash)


def judge(vector: dict[str, Any]) -> Chain:
    """Apply every rule to a chain. Raises ChainError."""
    renewal = vector["renewal"]
    signed = SignedKeyset(
        roots=tuple(map(statement, vector["roots"])),
        delegation=statement(vector["delegation"]),
        keyset=statement(vector["keyset"]),
        renewal=None if renewal is None else statement(renewal),
    )
    chain = verify_chain(
        signed,
        trust_domain=VECTORS["trust_domain"],
        namespace=vector["namespace"],
        fingerprint=statement(vector["pinned"]).hash,
    )
    if vector["seen"] is not None:
        seen = {part: version_of(name) for part, name in vector["seen"].items()}
        check_progress(chain, Marks(**seen))
    check_time(chain, vector["now_ms"])
    return chain


@pytest.mark.parametrize("vector", VECTORS["chains"], ids=lambda vector: vector["name"])
def test_chain_is_judged_as_its_vector_says(vector: dict[str, Any]) -> None:
    """Believed until a moment, or refused for a reason."""
    if vector["refused"] is None:
        assert judge(vector).expires_at_ms == vector["expires_at_ms"]
        return
    with pytest.raises(ChainError) as caught:
        judge(vector)
    assert caught.value.problem == vector["refused"]


@pytest.mark.parametrize("name", VECTORS["statements"])
def test_statement_is_what_its_vector_says(name: str) -> None:
    """Its bytes, what is signed of them, its hash, and signatures by the keys that are named."""
    vector, signed = VECTORS["statements"][name], statement(name)
    kind = StatementKind(vector["context"])
    assert KINDS[kind].decode(signed.statement).encode() == signed.statement
    data = signed_bytes(kind, signed.statement)
    assert hashlib.sha256(data).hexdigest() == vector["signed_bytes_sha256"]
    assert signed.hash.hex() == vector["hash"]
    keys = {key.key_id: key for key in map(key_of, VECTORS["keys"])}
    assert all(keys[one.key_id].public.verifies(one, data) for one in signed.signatures)


def key_of(name: str) -> HybridPrivateKey:
    """Return a key pair."""
    return HybridPrivateKey.from_bytes(bytes.fromhex(VECTORS["keys"][name]["secret"]))


@pytest.mark.parametrize("name", VECTORS["keys"])
def test_key_follows_from_its_secret(name: str) -> None:
    """32 bytes of Ed25519, 32 bytes of ML-DSA seed."""
    vector, key = VECTORS["keys"][name], key_of(name)
    assert key.key_id.hex() == vector["key_id"]
    assert key.public.ed25519.hex() == vector["ed25519"]
    assert key.public.ml_dsa_65.hex() == vector["ml_dsa_65"]


def test_every_rule_has_a_vector() -> None:
    """Of those that hold between statements; the others are rules of one statement's form."""
    assert {vector["refused"] for vector in VECTORS["chains"]} >= {
        "not-the-pinned-root",
        "too-few-signers",
        "not-signed-by-the-old-root",
        "delegation",
        "not-the-signer",
        "renewal",
        "expired",
        "delegation-expired",
        "future",
        "namespace",
        "rollback",
        "equivocation",
        "chain",
    }
