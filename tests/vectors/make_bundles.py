"""Makes the test vectors of organization bundles: run once; what it wrote is checked in and must not change.

Built as those of chains (``make_chains.py``): statements and their signatures stand once, bundles name them.

    python -m tests.vectors.make_bundles tests/vectors/bundles.json
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.vectors.make_chains import DAY_MS, KEYS, NOW_MS, TRUST_DOMAIN, Vectors, derived

from isthmus.keys.statements import first_root, next_root
from isthmus.wire.bundle_statement import Bundle, BundlePin
from isthmus.wire.trust_statement import SignedStatement, StatementKind

ORGANIZATION = "acme"
ROOT, BUNDLE = StatementKind.ORGANIZATION_ROOT, StatementKind.BUNDLE
PINS = (
    BundlePin(
        namespace="app-team", fingerprint=derived("root/app-team", 32), endpoints=("payments", "refunds")
    ),
    BundlePin(namespace="data-team", fingerprint=derived("root/data-team", 32)),
)
WEEK_MS = NOW_MS + 7 * DAY_MS


class Bundles(Vectors):
    """Statements and bundles, by name."""

    def __init__(self) -> None:
        super().__init__({})
        self.bundles: list[dict[str, Any]] = []

    def bundle(self, name: str, roots: Sequence[str], bundle: str, **about: Any) -> None:
        """Say how a bundle has to be judged."""
        self.bundles.append(
            {
                "name": name,
                "roots": list(roots),
                "bundle": bundle,
                "pinned": "root 1",
                "organization": ORGANIZATION,
                "now_ms": NOW_MS + DAY_MS,
                "seen": None,
                "refused": None,
                **about,
            }
        )


def make() -> dict[str, Any]:
    """Return all vectors."""
    vectors = Bundles()
    first, second = _roots(vectors)
    bundle = Bundle(
        trust_domain=TRUST_DOMAIN,
        organization=ORGANIZATION,
        version=1,
        previous_hash=b"",
        root_hash=first.hash,
        issued_at_ms=NOW_MS,
        expires_at_ms=WEEK_MS,
        pins=PINS,
    )
    made = vectors.state("bundle 1", BUNDLE, bundle.encode(), "alice", "carol")
    vectors.state("bundle 1, one signature", BUNDLE, bundle.encode(), "alice")
    vectors.state("bundle 1, signed by another key", BUNDLE, bundle.encode(), "alice", "eve")
    vectors.state("bundle 1, signed as a keyset", StatementKind.KEYSET, bundle.encode(), "alice", "carol")
    twice = vectors.statements["bundle 1, one signature"]
    vectors.statements["bundle 1, alice twice"] = twice | {"signatures": 2 * twice["signatures"]}
    mallory = BundlePin(namespace="mallory", fingerprint=derived("root/mallory", 32), endpoints=("payments",))
    _state(vectors, "bundle 1, payments claimed twice", replace(bundle, pins=(*PINS, mallory)))
    _state(vectors, "bundle 1, namespaces not sorted", replace(bundle, pins=PINS[::-1]))
    _state(vectors, "bundle 1, too long", replace(bundle, expires_at_ms=NOW_MS + 367 * DAY_MS))
    _state(vectors, "bundle 1, other pins", replace(bundle, pins=PINS[:1]))
    follows = replace(bundle, version=2, previous_hash=made.hash, issued_at_ms=NOW_MS + 1, pins=PINS[:1])
    _state(vectors, "bundle 2", follows)
    _state(vectors, "bundle 2, another chain", replace(follows, previous_hash=bytes(32)))
    rotated = replace(follows, root_hash=second.hash)
    vectors.state("bundle 2, of root 2", BUNDLE, rotated.encode(), "bob", "dave")
    _judge(vectors)
    return {
        "about": "Organization bundles: see isthmus.wire.bundle and docs/envelope.md. Hexadecimal.",
        "trust_domain": TRUST_DOMAIN,
        "keys": {
            name: {"secret": key.to_bytes().hex(), "key_id": key.key_id.hex()} for name, key in KEYS.items()
        },
        "statements": vectors.statements,
        "bundles": vectors.bundles,
    }


def _roots(vectors: Bundles) -> tuple[SignedStatement, SignedStatement]:
    holders = [KEYS[name].public for name in ("alice", "bob", "carol")]
    root = first_root(
        trust_domain=TRUST_DOMAIN, namespace=ORGANIZATION, keys=holders, threshold=2, now_ms=NOW_MS
    )
    first = vectors.state("root 1", ROOT, root.encode(), "alice", "bob")
    vectors.state("root 1, one signature", ROOT, root.encode(), "alice")
    vectors.state("root 1, of a namespace", StatementKind.ROOT, root.encode(), "alice", "bob")
    later = next_root(
        first, keys=[KEYS[name].public for name in ("bob", "dave")], threshold=2, now_ms=NOW_MS + 1
    )
    second = vectors.state("root 2", ROOT, later.encode(), "alice", "bob", "dave")
    vectors.state("root 2, without the old one", ROOT, later.encode(), "bob", "dave")
    return first, second


def _state(vectors: Bundles, name: str, bundle: Bundle) -> None:
    vectors.state(name, BUNDLE, bundle.encode(), "alice", "carol")


def _judge(vectors: Bundles) -> None:
    one, rotated = ["root 1"], ["root 1", "root 2"]
    seen = {"root": "root 1", "bundle": "bundle 1"}
    vectors.bundle("genuine", one, "bundle 1")
    vectors.bundle("next", one, "bundle 2", seen=seen)
    vectors.bundle("root rotated", rotated, "bundle 2, of root 2", seen=seen)
    vectors.bundle("root rotated, new one pinned", rotated, "bundle 2, of root 2", pinned="root 2")
    refused: dict[str, tuple[Any, dict[str, Any], str]] = {
        "another root is pinned": ((one, "bundle 1"), {"pinned": "root 2"}, "not-the-pinned-root"),
        "another organization": ((one, "bundle 1"), {"organization": "evil"}, "namespace"),
        "too few signatures": ((one, "bundle 1, one signature"), {}, "too-few-signers"),
        "too few signatures on the root": ((["root 1, one signature"], "bundle 1"), {}, "too-few-signers"),
        "one key twice": ((one, "bundle 1, alice twice"), {}, "signed-twice"),
        "a key that has no say": ((one, "bundle 1, signed by another key"), {}, "not-the-signer"),
        "signatures of another kind": ((one, "bundle 1, signed as a keyset"), {}, "signature"),
        "root of a namespace": ((["root 1, of a namespace"], "bundle 1"), {}, "signature"),
        "new root without the old one": (
            (["root 1", "root 2, without the old one"], "bundle 2, of root 2"),
            {},
            "not-signed-by-the-old-root",
        ),
        "bundle of the old root": ((rotated, "bundle 1"), {}, "bundle"),
        "endpoint claimed twice": ((one, "bundle 1, payments claimed twice"), {}, "endpoint-claimed-twice"),
        "namespaces not sorted": ((one, "bundle 1, namespaces not sorted"), {}, "duplicate"),
        "lives too long": ((one, "bundle 1, too long"), {}, "bundle"),
        "expired": ((one, "bundle 1"), {"now_ms": WEEK_MS}, "expired"),
        "from the future": ((one, "bundle 1"), {"now_ms": NOW_MS - 60_001}, "future"),
        "older than seen": ((one, "bundle 1"), {"seen": {**seen, "bundle": "bundle 2"}}, "rollback"),
        "another one of the version seen": ((one, "bundle 1, other pins"), {"seen": seen}, "equivocation"),
        "root older than seen": ((one, "bundle 2"), {"seen": {**seen, "root": "root 2"}}, "rollback"),
        "next one of another chain": ((one, "bundle 2, another chain"), {"seen": seen}, "chain"),
    }
    for name, (parts, about, problem) in refused.items():
        vectors.bundle(name, *parts, **about, refused=problem)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.parse_args().file.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
