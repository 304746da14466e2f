"""A keyset is believed only when every rule holds; each rule has a test that breaks it alone."""

from dataclasses import replace

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, keyset_of, marks, pin_of, sign, signing_record, team

from isthmus.envelope.expected import SigningKeyState
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys.errors import KeysetRejectedError, NoSealingKeyError
from isthmus.keys.founding import found
from isthmus.keys.keyset import VerifiedKeyset, verify_keyset
from isthmus.wire import chain as chain_module
from isthmus.wire.chain import ChainProblem, Marks
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Keyset, SignedKeyset

OTHER = SigningPrivateKey.from_bytes(bytes(range(32)))
SIGNING = SigningPrivateKey.from_bytes(bytes(range(1, 33)))
ENCRYPTION = EncryptionPrivateKey.from_seed(bytes(range(2, 34)))
ENCRYPTION_RECORD = PublicKeyRecord(
    key_id=ENCRYPTION.key_id,
    kind=KeyKind.ENCRYPTION,
    state=KeyState.ACTIVE,
    public_key=ENCRYPTION.public.raw,
    created_at_ms=NOW_MS,
)
KEYSET = keyset_of(signing_record(SIGNING), ENCRYPTION_RECORD)


def verify(
    signed: SignedKeyset,
    *,
    seen: Marks | None = None,
    now_ms: int = NOW_MS,
    namespace: str = "app-team",
    known: Keyset | None = None,
) -> VerifiedKeyset:
    """Verify against the pinned root."""
    pin = replace(pin_of(team().contents), namespace=namespace)
    verified, _ = verify_keyset(signed, pin=pin, seen=seen, now_ms=now_ms, known=known)
    return verified


def problem_of(signed: SignedKeyset, **arguments: object) -> ChainProblem:
    """Return why a keyset is refused."""
    with pytest.raises(KeysetRejectedError) as caught:
        verify(signed, **arguments)  # type: ignore[arg-type]
    return caught.value.problem


def test_keyset_is_believed_when_every_rule_holds() -> None:
    """And offers its keys."""
    verified = verify(sign(KEYSET))
    assert verified.sealing_key().key == ENCRYPTION.public
    known = verified.find_signing_key(SIGNING.key_id)
    assert known is not None
    assert (known.key, known.state) == (SIGNING.public, SigningKeyState.ACTIVE)
    assert verified.find_signing_key(bytes(16)) is None
    assert verified.is_current(NOW_MS + DAY_MS - 1)
    assert not verified.is_current(NOW_MS + DAY_MS)


def test_keyset_is_refused_when_any_byte_differs() -> None:
    """The signature covers the bytes as transmitted."""
    signed = sign(keyset_of(signing_record(SIGNING)))
    for position in range(len(signed.keyset.statement)):
        mutated = bytearray(signed.keyset.statement)
        mutated[position] ^= 1
        changed = replace(signed.keyset, statement=bytes(mutated))
        assert problem_of(replace(signed, keyset=changed))


def test_keyset_is_refused_when_it_is_another_namespaces() -> None:
    """One root may serve two namespaces of a team; a keyset serves one."""
    assert problem_of(sign(KEYSET), namespace="data-team") is ChainProblem.NAMESPACE


def test_keyset_is_refused_when_it_is_of_another_trust_domain() -> None:
    """The same team in another deployment."""
    foreign = replace(KEYSET, trust_domain="elsewhere")
    assert problem_of(sign(foreign)) is ChainProblem.TRUST_DOMAIN


def test_keyset_is_refused_when_a_newer_one_was_seen() -> None:
    """Rollback."""
    signed = sign(KEYSET)
    assert problem_of(signed, seen=marks(2, bytes(32))) is ChainProblem.ROLLBACK


def test_keyset_is_refused_when_another_one_had_its_version() -> None:
    """Equivocation."""
    signed = sign(KEYSET)
    assert problem_of(signed, seen=marks(1, bytes(32))) is ChainProblem.EQUIVOCATION
    assert verify(signed, seen=marks(1, signed.hash)).keyset.keys


def test_keyset_is_refused_when_it_does_not_continue_the_last_one() -> None:
    """The hash chain of consecutive versions."""
    first = sign(KEYSET)
    forked = sign(replace(KEYSET, version=2, previous_hash=bytes(32)))
    continued = sign(replace(KEYSET, version=2, previous_hash=first.hash))
    seen = marks(1, first.hash)
    assert problem_of(forked, seen=seen) is ChainProblem.CHAIN
    assert verify(continued, seen=seen).keyset.version == 2


def test_keyset_is_refused_when_it_expired() -> None:
    """Freeze: an old keyset is kept alive by the directory."""
    assert problem_of(sign(KEYSET), now_ms=NOW_MS + DAY_MS) is ChainProblem.EXPIRED


def test_keyset_is_refused_when_it_was_issued_in_the_future() -> None:
    """Beyond the skew of clocks."""
    assert problem_of(sign(KEYSET), now_ms=NOW_MS - 60_001) is ChainProblem.FUTURE
    assert verify(sign(KEYSET), now_ms=NOW_MS - 60_000).keyset.keys


def test_keyset_is_refused_when_a_key_id_does_not_follow_from_its_key() -> None:
    """A chosen id."""
    record = replace(signing_record(SIGNING), key_id=ENCRYPTION.key_id)
    assert problem_of(sign(keyset_of(record))) is ChainProblem.KEY_ID


def test_keyset_is_refused_when_a_key_occurs_twice() -> None:
    """Once active and once revoked, for example."""
    records = (signing_record(SIGNING), signing_record(SIGNING, KeyState.REVOKED))
    assert problem_of(sign(keyset_of(*records))) is ChainProblem.DUPLICATE


def test_keyset_is_refused_when_a_known_id_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full key is compared: with ids this short, two keys have the same one."""

    def colliding(kind: KeyKind, public_key: bytes) -> bytes:
        return b"same id"

    monkeypatch.setattr(chain_module, "key_id_of", colliding)
    first = replace(signing_record(SIGNING), key_id=b"same id")  # type: ignore[arg-type]
    second = replace(signing_record(OTHER), key_id=b"same id")  # type: ignore[arg-type]
    known = verify(sign(keyset_of(first))).keyset
    changed = sign(keyset_of(second))
    assert verify(changed).keyset.keys
    assert problem_of(changed, known=known) is ChainProblem.KEY_CHANGED


@pytest.mark.parametrize("state", [KeyState.DECRYPT_ONLY, KeyState.DESTROYED])
def test_keyset_is_refused_when_a_signing_key_has_a_state_of_encryption_keys(state: KeyState) -> None:
    """Each kind has its own life."""
    assert problem_of(sign(keyset_of(signing_record(SIGNING, state)))) is ChainProblem.KEY_STATE


def test_keyset_is_refused_when_two_encryption_keys_are_active() -> None:
    """Senders must not have to choose."""
    other = EncryptionPrivateKey.from_seed(bytes(32))
    record = replace(ENCRYPTION_RECORD, key_id=other.key_id, public_key=other.public.raw)
    assert problem_of(sign(keyset_of(record, ENCRYPTION_RECORD))) is ChainProblem.KEY_STATE


def test_keyset_is_refused_when_a_key_has_the_wrong_size() -> None:
    """Before it is loaded."""
    record = replace(signing_record(SIGNING), public_key=bytes(33))
    assert problem_of(sign(keyset_of(record))) is ChainProblem.KEY


@pytest.mark.parametrize(
    "appended",
    [b"\xfa\x3f\x01x", b"\x18\x01", b"\x30\x00"],
    ids=["unknown field", "duplicate version", "default"],
)
def test_keyset_is_refused_when_it_is_not_canonical(appended: bytes) -> None:
    """Even when the root signed those bytes."""
    assert problem_of(sign(KEYSET.encode() + appended)) is ChainProblem.MALFORMED


@pytest.mark.parametrize("data", [b"\xff", b"\x42\x02\x10\x09", b"x" * (1024 * 1024 + 1)])
def test_keyset_is_refused_when_it_is_no_keyset(data: bytes) -> None:
    """Garbage, an unknown kind, too much."""
    assert problem_of(sign(data)) is ChainProblem.MALFORMED


def test_nothing_is_sealed_when_no_encryption_key_is_active() -> None:
    """Pre-published and decrypt-only keys are not for senders."""
    for state in (KeyState.PRE_PUBLISHED, KeyState.DECRYPT_ONLY, KeyState.DESTROYED, KeyState.REVOKED):
        verified = verify(sign(keyset_of(replace(ENCRYPTION_RECORD, state=state))))
        with pytest.raises(NoSealingKeyError):
            verified.sealing_key()


def test_nothing_is_sealed_when_the_suite_is_not_accepted() -> None:
    """There is no negotiation and no older suite."""
    verified = verify(sign(replace(KEYSET, suites=("ISE9",))))
    with pytest.raises(NoSealingKeyError):
        verified.sealing_key()


def test_message_says_what_to_do_when_another_root_signed() -> None:
    """A wrong pin is the first thing that goes wrong between two teams."""
    with pytest.raises(KeysetRejectedError, match="compare the fingerprint"):
        verify(sign(KEYSET, found(namespace="app-team", trust_domain="acme", now_ms=NOW_MS)))
