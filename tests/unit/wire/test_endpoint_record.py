"""Records of endpoints: what is believed of them, and which requests follow them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isthmus.wire.chain import ChainError, Mark
from isthmus.wire.endpoint_record import (
    OVERLAP_MS,
    Difference,
    EndpointRecord,
    SignedEndpointRecord,
    VerifiedRecord,
    check_record_progress,
    check_record_time,
    difference,
    verify_record,
)
from isthmus.wire.header import Direction, Header
from isthmus.wire.hybrid import HybridPublicKey, HybridSignature
from isthmus.wire.names import KeyId, NamespaceName, OperationId
from isthmus.wire.trust_statement import SignedStatement, StatementKind, signed_bytes

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "endpoint_records.json").read_text(encoding="utf-8")
)
SIGNER = HybridPublicKey(
    ed25519=bytes.fromhex(VECTORS["signer"]["ed25519"]),
    ml_dsa_65=bytes.fromhex(VECTORS["signer"]["ml_dsa_65"]),
)
NOW_MS = 1_800_000_000_000


def statement(name: str) -> SignedStatement:
    """Return a record with its signature."""
    vector = VECTORS["records"][name]
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


def record(name: str) -> EndpointRecord:
    """Return what a record says."""
    return EndpointRecord.decode(statement(name).statement)


def judge(case: dict[str, Any]) -> None:
    """Apply every rule to a record, or to its absence. Raises ChainError."""
    verified = None
    if case["record"] is not None:
        signed = SignedEndpointRecord(
            record=statement(case["record"]),
            earlier=tuple(statement(name).statement for name in case["earlier"]),
        )
        verified = verify_record(
            signed,
            trust_domain=VECTORS["trust_domain"],
            namespace=VECTORS["namespace"],
            endpoint=VECTORS["endpoint"],
            signer=SIGNER,
        )
        check_record_time(verified.record, case["now_ms"])
    seen = None
    if case["seen"] is not None:
        seen = Mark(version=record(case["seen"]).version, hash=statement(case["seen"]).hash)
    check_record_progress(verified, seen)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_record_is_judged_as_its_vector_says_when_all_rules_are_applied(case: dict[str, Any]) -> None:
    """Genuine ones are believed; each other one breaks the rule that it names."""
    if case["refused"] is None:
        judge(case)
        return
    with pytest.raises(ChainError) as caught:
        judge(case)
    assert caught.value.problem == case["refused"]


@pytest.mark.parametrize("name", VECTORS["records"])
def test_record_has_the_bytes_of_its_vector_when_it_is_encoded_again(name: str) -> None:
    """One serialization, one hash, and what is signed follows from it."""
    vector = VECTORS["records"][name]
    data = bytes.fromhex(vector["statement"])
    assert EndpointRecord.decode(data).encode() == data
    assert statement(name).hash.hex() == vector["hash"]
    signed = signed_bytes(StatementKind.ENDPOINT_RECORD, data)
    assert hashlib.sha256(signed).hexdigest() == vector["signed_bytes_sha256"]


def test_record_is_refused_when_nobody_vouches_for_a_signer() -> None:
    """A namespace without a chain signs nothing."""
    with pytest.raises(ChainError):
        verify_record(
            SignedEndpointRecord(record=statement("record 1")),
            trust_domain=VECTORS["trust_domain"],
            namespace=VECTORS["namespace"],
            endpoint=VECTORS["endpoint"],
            signer=None,
        )


def verified(*, earlier: bool = True, version: int = 2) -> VerifiedRecord:
    """Return two records, one a day after the other."""
    newest = replace(record("record 2"), version=version)
    before = (record("record 1"),) if earlier else ()
    return VerifiedRecord(record=newest, mark=Mark(version=version, hash=bytes(32)), earlier=before)


@pytest.mark.parametrize(
    ("issued_at_ms", "versions"),
    [
        (NOW_MS - 1, [None, 1, 2]),
        (NOW_MS + OVERLAP_MS - 1, [None, 1, 2]),
        (NOW_MS + OVERLAP_MS, [1, 2]),
        (NOW_MS + 86_400_000 + OVERLAP_MS - 1, [1, 2]),
        (NOW_MS + 86_400_000 + OVERLAP_MS, [2]),
    ],
)
def test_request_may_follow_a_record_until_its_successor_was_heard_of(
    issued_at_ms: int, versions: list[int | None]
) -> None:
    """Ten minutes after the next one was issued nobody follows the one before any more."""
    found = [None if one is None else one.version for one in verified().in_force(issued_at_ms)]
    assert found == versions


def test_request_follows_the_newest_record_only_when_those_before_it_are_unknown() -> None:
    """What came before a later version is not "nothing"."""
    found = list(verified(earlier=False, version=7).in_force(NOW_MS - 86_400_000))
    assert [one.version for one in found if one is not None] == [7]


def header(**changes: Any) -> Header:
    """Return the header of a request that follows record 2."""
    known: dict[str, Any] = {
        "direction": Direction.REQUEST,
        "trust_domain": "vectors.example",
        "sender_namespace": NamespaceName("data-team"),
        "sender_key_id": KeyId(bytes(16)),
        "principal": "data-team/client",
        "recipient_namespace": NamespaceName("app-team"),
        "endpoint": "payments",
        "service": "Payments",
        "operation": "charge",
        "operation_id": OperationId(bytes(16)),
        "message_id": bytes(16),
        "issued_at_ms": NOW_MS,
        "recipients": ("app-team", "auditors", "escrow-team"),
        "contract_hash": hashlib.sha256(b"contract").digest(),
        **changes,
    }
    return Header(**known)


@pytest.mark.parametrize(
    ("changes", "queue", "found"),
    [
        ({}, None, None),
        ({}, "payments/blue", None),
        ({}, "payments/green", Difference.TASK_QUEUE),
        ({"contract_hash": b""}, None, Difference.CONTRACT),
        ({"recipients": ("app-team", "escrow-team")}, None, Difference.RECIPIENTS),
        ({"recipients": ("app-team", "auditors", "escrow-team", "mallory")}, None, Difference.RECIPIENTS),
    ],
)
def test_difference_is_found_when_a_request_does_not_follow_a_record(
    changes: dict[str, Any], queue: str | None, found: Difference | None
) -> None:
    """Recipients are exactly those, and so is the contract; the queue counts where a task came from one."""
    assert difference(record("record 2"), header(**changes), task_queue=queue) is found


@pytest.mark.parametrize(
    ("recipients", "found"),
    [
        (("app-team",), None),
        (("app-team", "data-team"), None),
        (("app-team", "escrow-team"), Difference.RECIPIENTS),
    ],
)
def test_nobody_reads_along_when_there_is_no_record(
    recipients: tuple[str, ...], found: Difference | None
) -> None:
    """Caller and handler are the only recipients then."""
    assert difference(None, header(recipients=recipients, contract_hash=b"")) is found
