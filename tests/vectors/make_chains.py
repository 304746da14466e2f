"""Makes the test vectors of chains of trust: what it wrote is checked in and must not change.

ML-DSA signatures are randomized, so a vector is to be verified, and what the file has stays as it is: only
statements and chains of a new name are added. Keys follow from labels. Statements and their
signatures stand once, and chains name them: genuine ones, and for each rule one that breaks it.

    python tests/vectors/make_chains.py tests/vectors/chains.json
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.statements import add_signature, first_root, next_delegation, next_root
from isthmus.wire.chain import MAX_VERSION_STEP
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Keyset, Renewal, SignedStatement, StatementKind, signed_bytes

TRUST_DOMAIN, NAMESPACE = "vectors.example", "app-team"
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


def derived(label: str, count: int) -> bytes:
    """Return bytes that follow from a label: SHAKE-256 of it."""
    return hashlib.shake_256(f"isthmus/vectors/{label}".encode()).digest(count)


NAMES = ("alice", "bob", "carol", "dave", "signer", "renewer", "eve")
KEYS = {name: HybridPrivateKey.from_bytes(derived(f"hybrid/{name}", 64)) for name in NAMES}


class Vectors:
    """Statements and chains, by name."""

    def __init__(self, made_before: dict[str, dict[str, Any]]) -> None:
        self.statements: dict[str, dict[str, Any]] = {}
        self._made_before = made_before
        self.chains: list[dict[str, Any]] = []

    def state(self, name: str, kind: StatementKind, data: bytes, *by: str) -> SignedStatement:
        """Sign a statement."""
        signed = SignedStatement(statement=data)
        for key in by:
            signed = add_signature(kind, signed, KEYS[key])
        self._keep(name, kind, signed)
        return signed

    def _keep(self, name: str, kind: StatementKind, signed: SignedStatement) -> None:
        data = signed.statement
        before = self._made_before.get(name)
        if before is not None:
            if bytes.fromhex(before["statement"]) != data:
                raise SystemExit(f"{name} is another statement than in the file")
            self.statements[name] = before
            return
        self.statements[name] = {
            "context": kind.value,
            "statement": data.hex(),
            "signed_bytes_sha256": hashlib.sha256(signed_bytes(kind, data)).hexdigest(),
            "hash": signed.hash.hex(),
            "signatures": [
                {
                    "key_id": one.key_id.hex(),
                    "ed25519": one.ed25519.hex(),
                    "ml_dsa_65": one.ml_dsa_65.hex(),
                }
                for one in signed.signatures
            ],
        }

    def doubled(self, name: str, of: str) -> None:
        """Repeat the signatures of a statement."""
        self.statements[name] = self.statements[of] | {"signatures": self.statements[of]["signatures"] * 2}

    def chain(self, name: str, roots: Sequence[str], delegation: str, keyset: str, **about: Any) -> None:
        """Say how a chain has to be judged."""
        self.chains.append(
            {
                "name": name,
                "roots": list(roots),
                "delegation": delegation,
                "keyset": keyset,
                "renewal": None,
                "pinned": "root 1",
                "namespace": NAMESPACE,
                "now_ms": NOW_MS + DAY_MS,
                "seen": None,
                "refused": None,
                "expires_at_ms": None,
                **about,
            }
        )


def make(made_before: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return all vectors; statements that were made before stay as they were."""
    vectors = Vectors(made_before)
    holders = [KEYS[name].public for name in ("alice", "bob", "carol")]
    root = first_root(
        trust_domain=TRUST_DOMAIN, namespace=NAMESPACE, keys=holders, threshold=2, now_ms=NOW_MS
    )
    first = vectors.state("root 1", StatementKind.ROOT, root.encode(), "alice", "bob")
    vectors.state("root 1, one signature", StatementKind.ROOT, root.encode(), "alice")
    vectors.doubled("root 1, alice twice", "root 1, one signature")
    later = next_root(
        first, keys=[KEYS[name].public for name in ("bob", "dave")], threshold=2, now_ms=NOW_MS + 1
    )
    second = vectors.state("root 2", StatementKind.ROOT, later.encode(), "alice", "bob", "dave")
    vectors.state("root 2, without the old one", StatementKind.ROOT, later.encode(), "bob", "dave")
    signer, renewer = KEYS["signer"].public, KEYS["renewer"].public
    delegation = next_delegation(first, None, signer=signer, renewer=renewer, now_ms=NOW_MS)
    delegated = vectors.state("delegation 1", StatementKind.DELEGATION, delegation.encode(), "bob", "carol")
    anew = next_delegation(second, delegated, signer=signer, renewer=None, now_ms=NOW_MS + 1)
    vectors.state("delegation 2", StatementKind.DELEGATION, anew.encode(), "bob", "dave")
    keyset = Keyset(
        trust_domain=TRUST_DOMAIN,
        namespace=NAMESPACE,
        version=1,
        previous_hash=b"",
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 7 * DAY_MS,
        keys=tuple(sorted(_records(), key=lambda record: record.key_id)),
    )
    published = vectors.state("keyset 1", StatementKind.KEYSET, keyset.encode(), "signer")
    vectors.state("keyset 1, by the renewer", StatementKind.KEYSET, keyset.encode(), "renewer")
    follows = replace(keyset, version=2, previous_hash=published.hash, issued_at_ms=NOW_MS + 2)
    vectors.state("keyset 2", StatementKind.KEYSET, follows.encode(), "signer")
    forked = replace(follows, previous_hash=bytes(32))
    vectors.state("keyset 2, another chain", StatementKind.KEYSET, forked.encode(), "signer")
    for name, ahead in (("far ahead", 0), ("too far ahead", 1)):
        skipping = replace(follows, version=1 + MAX_VERSION_STEP + ahead, previous_hash=bytes(32))
        vectors.state(f"keyset {name}", StatementKind.KEYSET, skipping.encode(), "signer")
    renewal = Renewal(
        trust_domain=TRUST_DOMAIN,
        namespace=NAMESPACE,
        keyset_hash=published.hash,
        issued_at_ms=NOW_MS + 6 * DAY_MS,
        expires_at_ms=NOW_MS + 13 * DAY_MS,
    )
    vectors.state("renewal of 1", StatementKind.RENEWAL, renewal.encode(), "renewer")
    vectors.state("renewal of 1, by a stranger", StatementKind.RENEWAL, renewal.encode(), "eve")
    too_long = replace(renewal, expires_at_ms=renewal.issued_at_ms + 8 * DAY_MS)
    vectors.state("renewal of 1, too long", StatementKind.RENEWAL, too_long.encode(), "renewer")
    _judge(vectors)
    return {
        "about": "Chains of trust: see isthmus.wire.chain and docs/envelope.md. Hexadecimal.",
        "trust_domain": TRUST_DOMAIN,
        "keys": {
            name: {
                "secret": key.to_bytes().hex(),
                "ed25519": key.public.ed25519.hex(),
                "ml_dsa_65": key.public.ml_dsa_65.hex(),
                "key_id": key.key_id.hex(),
            }
            for name, key in KEYS.items()
        },
        "statements": vectors.statements,
        "chains": vectors.chains,
    }


def _judge(vectors: Vectors) -> None:
    plain = (["root 1"], "delegation 1", "keyset 1")
    rotated = ["root 1", "root 2"]
    seen = {"root": "root 1", "delegation": "delegation 1", "keyset": "keyset 1"}
    week_ms = NOW_MS + 7 * DAY_MS
    vectors.chain("genuine", *plain, expires_at_ms=week_ms)
    vectors.chain(
        "renewed",
        *plain,
        renewal="renewal of 1",
        now_ms=NOW_MS + 8 * DAY_MS,
        expires_at_ms=NOW_MS + 13 * DAY_MS,
    )
    vectors.chain("root rotated", rotated, "delegation 2", "keyset 2", seen=seen, expires_at_ms=week_ms)
    vectors.chain(
        "root rotated, new one pinned",
        rotated,
        "delegation 2",
        "keyset 2",
        pinned="root 2",
        expires_at_ms=week_ms,
    )
    # Versions may be left out: whoever saw the first one cannot tell that there were others.
    far = (["root 1"], "delegation 1", "keyset far ahead")
    vectors.chain("versions left out", *far, seen=seen, expires_at_ms=week_ms)
    refused: dict[str, tuple[Any, dict[str, Any], str]] = {
        "another root is pinned": (plain, {"pinned": "root 2"}, "not-the-pinned-root"),
        "too few signatures": ((["root 1, one signature"], *plain[1:]), {}, "too-few-signers"),
        "new root without the old one": (
            (["root 1", "root 2, without the old one"], "delegation 2", "keyset 2"),
            {},
            "not-signed-by-the-old-root",
        ),
        "delegation by the old root": ((rotated, "delegation 1", "keyset 1"), {}, "delegation"),
        "renewer signs a keyset": ((*plain[:2], "keyset 1, by the renewer"), {}, "not-the-signer"),
        "renewal of another keyset": (
            (["root 1"], "delegation 1", "keyset 2"),
            {"renewal": "renewal of 1"},
            "renewal",
        ),
        "renewal by a stranger": (plain, {"renewal": "renewal of 1, by a stranger"}, "not-the-signer"),
        "one key signed twice": ((["root 1, alice twice"], *plain[1:]), {}, "signed-twice"),
        "too many versions left out": (
            (["root 1"], "delegation 1", "keyset too far ahead"),
            {"seen": seen},
            "chain",
        ),
        "renewal that lasts too long": (plain, {"renewal": "renewal of 1, too long"}, "renewal"),
        "expired": (plain, {"now_ms": week_ms}, "expired"),
        "delegation expired": (plain, {"now_ms": NOW_MS + 90 * DAY_MS}, "delegation-expired"),
        "from the future": (plain, {"now_ms": NOW_MS - 60_001}, "future"),
        "another namespace": (plain, {"namespace": "data-team"}, "namespace"),
        "older than seen": (plain, {"seen": {**seen, "keyset": "keyset 2"}}, "rollback"),
        "another one of the version seen": (
            (["root 1"], "delegation 1", "keyset 2, another chain"),
            {"seen": {**seen, "keyset": "keyset 2"}},
            "equivocation",
        ),
        "next one of another chain": (
            (["root 1"], "delegation 1", "keyset 2, another chain"),
            {"seen": seen},
            "chain",
        ),
    }
    for name, (parts, about, problem) in refused.items():
        vectors.chain(name, *parts, **about, refused=problem)


def _records() -> list[PublicKeyRecord]:
    signing = SigningPrivateKey.from_bytes(derived("chain/signing", 32))
    encryption = EncryptionPrivateKey.from_seed(derived("chain/encryption", 32))
    return [
        PublicKeyRecord(
            key_id=key_id, kind=kind, state=KeyState.ACTIVE, public_key=public, created_at_ms=NOW_MS
        )
        for key_id, kind, public in (
            (signing.key_id, KeyKind.SIGNING, signing.public.raw),
            (encryption.key_id, KeyKind.ENCRYPTION, encryption.public.raw),
        )
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    made_before = json.loads(file.read_text(encoding="utf-8"))["statements"] if file.exists() else {}
    file.write_text(json.dumps(make(made_before), indent=1) + "\n", encoding="utf-8")
