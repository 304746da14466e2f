"""Makes the test vectors of endpoint records: run once; what it wrote is checked in and must not change.

ML-DSA signatures are randomized, so a vector is to be verified. Keys follow from labels, as those of chains.
Genuine records, and for each rule one that breaks it.

    python tests/vectors/make_endpoint_records.py tests/vectors/endpoint_records.json
"""

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.record_publication import sign_record
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.trust_statement import SignedStatement, StatementKind, signed_bytes

TRUST_DOMAIN, NAMESPACE, ENDPOINT = "vectors.example", "app-team", "payments"
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


def _key(name: str) -> HybridPrivateKey:
    label = f"isthmus/vectors/hybrid/{name}".encode()
    return HybridPrivateKey.from_bytes(hashlib.shake_256(label).digest(64))


KEYS = {name: _key(name) for name in ("signer", "eve")}


class Vectors:
    """Records by name, and how they have to be judged."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.cases: list[dict[str, Any]] = []

    def state(self, name: str, record: EndpointRecord, by: str = "signer") -> SignedStatement:
        """Sign a record."""
        signed = sign_record(record, KEYS[by])
        self.records[name] = {
            "statement": signed.statement.hex(),
            "signed_bytes_sha256": hashlib.sha256(
                signed_bytes(StatementKind.ENDPOINT_RECORD, signed.statement)
            ).hexdigest(),
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
        return signed

    def case(self, name: str, record: str | None, **about: Any) -> None:
        """Say how a record has to be judged."""
        self.cases.append(
            {
                "name": name,
                "record": record,
                "earlier": [],
                "now_ms": NOW_MS + DAY_MS,
                "seen": None,
                "refused": None,
                **about,
            }
        )


def make() -> dict[str, Any]:
    """Return everything."""
    vectors = Vectors()
    first = EndpointRecord(
        trust_domain=TRUST_DOMAIN,
        namespace=NAMESPACE,
        endpoint=ENDPOINT,
        version=1,
        previous_hash=b"",
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 90 * DAY_MS,
        task_queue="payments/blue",
    )
    named = vectors.state("record 1", first).hash
    second = replace(
        first,
        version=2,
        previous_hash=named,
        issued_at_ms=NOW_MS + DAY_MS,
        expires_at_ms=NOW_MS + 91 * DAY_MS,
        required_recipients=("auditors", "escrow-team"),
        contract_hash=hashlib.sha256(b"contract").digest(),
    )
    vectors.state("record 2", second)
    vectors.state("record 1, another queue", replace(first, task_queue="payments/green"))
    vectors.state("record 1, by a stranger", first, by="eve")
    vectors.state("record 2, another chain", replace(second, previous_hash=bytes(32)))
    vectors.state("of another namespace", replace(first, namespace="mallory"))
    vectors.state("of another endpoint", replace(first, endpoint="invoices"))
    vectors.state("of another trust domain", replace(first, trust_domain="elsewhere.example"))
    vectors.state("too long a life", replace(first, expires_at_ms=NOW_MS + 91 * DAY_MS))
    vectors.state("no queue", replace(first, task_queue=""))
    vectors.state("version 0", replace(first, version=0))
    vectors.state("version 1 with one before", replace(first, previous_hash=bytes(32)))
    vectors.state("recipients not sorted", replace(second, required_recipients=("escrow-team", "auditors")))
    vectors.state("recipient twice", replace(second, required_recipients=("auditors", "auditors")))
    vectors.state("owner as a recipient", replace(second, required_recipients=(NAMESPACE,)))
    many = tuple(f"team-{number:02}" for number in range(15))
    vectors.state("too many recipients", replace(second, required_recipients=many))
    vectors.state("half a contract hash", replace(second, contract_hash=bytes(16)))
    _judge(vectors)
    return {
        "about": "Endpoint records: see isthmus.wire.endpoint_record and docs/envelope.md. Hexadecimal.",
        "trust_domain": TRUST_DOMAIN,
        "namespace": NAMESPACE,
        "endpoint": ENDPOINT,
        "signer": {
            "secret": KEYS["signer"].to_bytes().hex(),
            "ed25519": KEYS["signer"].public.ed25519.hex(),
            "ml_dsa_65": KEYS["signer"].public.ml_dsa_65.hex(),
        },
        "records": vectors.records,
        "cases": vectors.cases,
    }


def _judge(vectors: Vectors) -> None:
    case = vectors.case
    later_ms = NOW_MS + 2 * DAY_MS
    case("the first", "record 1")
    case("the first again", "record 1", seen="record 1")
    case("the next", "record 2", seen="record 1", earlier=["record 1"], now_ms=later_ms)
    case("the next, for who saw nothing", "record 2", now_ms=later_ms)
    case("there is none", None)
    case("there was one", None, seen="record 1", refused="withheld")
    case("rollback", "record 1", seen="record 2", refused="rollback")
    case("equivocation", "record 1, another queue", seen="record 1", refused="equivocation")
    case("another chain", "record 2, another chain", seen="record 1", now_ms=later_ms, refused="chain")
    case("by a stranger", "record 1, by a stranger", refused="not-the-signer")
    case("of another namespace", "of another namespace", refused="namespace")
    case("of another endpoint", "of another endpoint", refused="endpoint")
    case("of another trust domain", "of another trust domain", refused="trust-domain")
    case("expired", "record 1", now_ms=NOW_MS + 90 * DAY_MS, refused="expired")
    case("from the future", "record 1", now_ms=NOW_MS - 60_001, refused="future")
    for name in (
        "too long a life",
        "no queue",
        "version 0",
        "version 1 with one before",
        "recipients not sorted",
        "recipient twice",
        "owner as a recipient",
        "too many recipients",
        "half a contract hash",
    ):
        case(name, name, now_ms=later_ms, refused="endpoint-record")
    case(
        "an earlier one is none",
        "record 2",
        earlier=["record 1, another queue"],
        now_ms=later_ms,
        refused="chain",
    )


def main() -> None:
    """Write the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    path: Path = parser.parse_args().path
    path.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
