"""A keyset is believed only when every rule holds; each rule has a test that breaks it alone."""

from dataclasses import replace

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, keyset_of, pin_of, signing_record

from isthmus.envelope.expected import SigningKeyState
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys import keyset as keyset_module
from isthmus.keys.errors import KeysetProblem, KeysetRejectedError, NoSealingKeyError
from isthmus.keys.keyset import Keyset, SeenKeyset, SignedKeyset, VerifiedKeyset, sign_keyset, verify_keyset
from isthmus.keys.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.keyset import keyset_signed_bytes

ROOT = SigningPrivateKey.from_bytes(bytes(range(32)))
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
    seen: SeenKeyset | None = None,
    now_ms: int = NOW_MS,
    namespace: str = "app-team",
    known: Keyset | None = None,
) -> VerifiedKeyset:
    """Verify against the pinned root."""
    return verify_keyset(signed, pin=pin_of(ROOT, namespace), seen=seen, now_ms=now_ms, known=known)


def sign_anything(keyset: Keyset) -> SignedKeyset:
    """Sign a keyset that breaks the rules of form, as a hostile owner of the root could."""
    data = keyset_module._serialize(keyset)
    return SignedKeyset(
        keyset=data, root_public_key=ROOT.public.raw, signature=ROOT.sign(keyset_signed_bytes(data))
    )


def problem_of(signed: SignedKeyset, **arguments: object) -> KeysetProblem:
    """Return why a keyset is refused."""
    with pytest.raises(KeysetRejectedError) as caught:
        verify(signed, **arguments)  # type: ignore[arg-type]
    return caught.value.problem


def test_keyset_is_believed_when_every_rule_holds() -> None:
    """And offers its keys."""
    verified = verify(sign_keyset(KEYSET, ROOT))
    assert verified.sealing_key().key == ENCRYPTION.public
    known = verified.find_signing_key(SIGNING.key_id)
    assert known is not None
    assert (known.key, known.state) == (SIGNING.public, SigningKeyState.ACTIVE)
    assert verified.find_signing_key(bytes(16)) is None
    assert verified.is_current(NOW_MS + DAY_MS - 1)
    assert not verified.is_current(NOW_MS + DAY_MS)


def test_keyset_is_refused_when_another_root_signed_it() -> None:
    """Substitution by the directory."""
    assert problem_of(sign_keyset(KEYSET, SIGNING)) is KeysetProblem.ROOT


def test_keyset_is_refused_when_its_signature_is_another_roots() -> None:
    """The right root key beside the wrong signature."""
    signed = replace(sign_keyset(KEYSET, SIGNING), root_public_key=ROOT.public.raw)
    assert problem_of(signed) is KeysetProblem.SIGNATURE


def test_keyset_is_refused_when_any_byte_differs() -> None:
    """The signature covers the bytes as transmitted."""
    signed = sign_keyset(keyset_of(signing_record(SIGNING)), ROOT)
    for position in range(len(signed.keyset)):
        mutated = bytearray(signed.keyset)
        mutated[position] ^= 1
        assert problem_of(replace(signed, keyset=bytes(mutated))) is KeysetProblem.SIGNATURE


def test_keyset_is_refused_when_it_is_another_namespaces() -> None:
    """One root may serve two namespaces of a team; a keyset serves one."""
    assert problem_of(sign_keyset(KEYSET, ROOT), namespace="data-team") is KeysetProblem.NAMESPACE


def test_keyset_is_refused_when_it_is_of_another_trust_domain() -> None:
    """The same team in another deployment."""
    foreign = replace(KEYSET, trust_domain="elsewhere")
    assert problem_of(sign_keyset(foreign, ROOT)) is KeysetProblem.TRUST_DOMAIN


def test_keyset_is_refused_when_a_newer_one_was_seen() -> None:
    """Rollback."""
    signed = sign_keyset(KEYSET, ROOT)
    assert problem_of(signed, seen=SeenKeyset(version=2, hash=bytes(32))) is KeysetProblem.ROLLBACK


def test_keyset_is_refused_when_another_one_had_its_version() -> None:
    """Equivocation."""
    signed = sign_keyset(KEYSET, ROOT)
    assert problem_of(signed, seen=SeenKeyset(version=1, hash=bytes(32))) is KeysetProblem.EQUIVOCATION
    assert verify(signed, seen=SeenKeyset(version=1, hash=signed.hash)).keyset.keys


def test_keyset_is_refused_when_it_does_not_continue_the_last_one() -> None:
    """The hash chain of consecutive versions."""
    first = sign_keyset(KEYSET, ROOT)
    forked = sign_keyset(replace(KEYSET, version=2, previous_hash=bytes(32)), ROOT)
    continued = sign_keyset(replace(KEYSET, version=2, previous_hash=first.hash), ROOT)
    seen = SeenKeyset(version=1, hash=first.hash)
    assert problem_of(forked, seen=seen) is KeysetProblem.CHAIN
    assert verify(continued, seen=seen).keyset.version == 2


def test_keyset_is_refused_when_it_expired() -> None:
    """Freeze: an old keyset is kept alive by the directory."""
    assert problem_of(sign_keyset(KEYSET, ROOT), now_ms=NOW_MS + DAY_MS) is KeysetProblem.EXPIRED


def test_keyset_is_refused_when_it_was_issued_in_the_future() -> None:
    """Beyond the skew of clocks."""
    assert problem_of(sign_keyset(KEYSET, ROOT), now_ms=NOW_MS - 60_001) is KeysetProblem.FUTURE
    assert verify(sign_keyset(KEYSET, ROOT), now_ms=NOW_MS - 60_000).keyset.keys


def test_keyset_is_refused_when_a_key_id_does_not_follow_from_its_key() -> None:
    """A chosen id."""
    record = replace(signing_record(SIGNING), key_id=ENCRYPTION.key_id)
    assert problem_of(sign_anything(keyset_of(record))) is KeysetProblem.KEY_ID


def test_keyset_is_refused_when_a_key_occurs_twice() -> None:
    """Once active and once revoked, for example."""
    records = (signing_record(SIGNING), signing_record(SIGNING, KeyState.REVOKED))
    assert problem_of(sign_anything(keyset_of(*records))) is KeysetProblem.DUPLICATE


def test_keyset_is_refused_when_a_known_id_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full key is compared: with ids this short, two keys have the same one."""

    def colliding(kind: KeyKind, public_key: bytes) -> bytes:
        return b"same id"

    monkeypatch.setattr(keyset_module, "key_id_of", colliding)
    first = replace(signing_record(SIGNING), key_id=b"same id")  # type: ignore[arg-type]
    second = replace(signing_record(ROOT), key_id=b"same id")  # type: ignore[arg-type]
    known = verify(sign_keyset(keyset_of(first), ROOT)).keyset
    changed = sign_keyset(keyset_of(second), ROOT)
    assert verify(changed).keyset.keys
    assert problem_of(changed, known=known) is KeysetProblem.KEY_CHANGED


@pytest.mark.parametrize("state", [KeyState.DECRYPT_ONLY, KeyState.DESTROYED])
def test_keyset_is_refused_when_a_signing_key_has_a_state_of_encryption_keys(state: KeyState) -> None:
    """Each kind has its own life."""
    assert problem_of(sign_anything(keyset_of(signing_record(SIGNING, state)))) is KeysetProblem.KEY_STATE


def test_keyset_is_refused_when_two_encryption_keys_are_active() -> None:
    """Senders must not have to choose."""
    other = EncryptionPrivateKey.from_seed(bytes(32))
    record = replace(ENCRYPTION_RECORD, key_id=other.key_id, public_key=other.public.raw)
    assert problem_of(sign_anything(keyset_of(record, ENCRYPTION_RECORD))) is KeysetProblem.KEY_STATE


def test_keyset_is_refused_when_a_key_has_the_wrong_size() -> None:
    """Before it is loaded."""
    record = replace(signing_record(SIGNING), public_key=bytes(33))
    assert problem_of(sign_anything(keyset_of(record))) is KeysetProblem.KEY


@pytest.mark.parametrize(
    "appended",
    [b"\xfa\x3f\x01x", b"\x18\x01", b"\x30\x00"],
    ids=["unknown field", "duplicate version", "default"],
)
def test_keyset_is_refused_when_it_is_not_canonical(appended: bytes) -> None:
    """Even when the root signed those bytes."""
    data = keyset_module._serialize(KEYSET) + appended
    signature = ROOT.sign(keyset_signed_bytes(data))
    signed = SignedKeyset(keyset=data, root_public_key=ROOT.public.raw, signature=signature)
    assert problem_of(signed) is KeysetProblem.MALFORMED


@pytest.mark.parametrize("data", [b"\xff", b"\x42\x02\x10\x09", b"x" * (1024 * 1024 + 1)])
def test_keyset_is_refused_when_it_is_no_keyset(data: bytes) -> None:
    """Garbage, an unknown kind, too much."""
    signature = ROOT.sign(keyset_signed_bytes(data))
    signed = SignedKeyset(keyset=data, root_public_key=ROOT.public.raw, signature=signature)
    assert problem_of(signed) is KeysetProblem.MALFORMED


def test_nothing_is_sealed_when_no_encryption_key_is_active() -> None:
    """Pre-published and decrypt-only keys are not for senders."""
    for state in (KeyState.PRE_PUBLISHED, KeyState.DECRYPT_ONLY, KeyState.DESTROYED, KeyState.REVOKED):
        verified = verify(sign_keyset(keyset_of(replace(ENCRYPTION_RECORD, state=state)), ROOT))
        with pytest.raises(NoSealingKeyError):
            verified.sealing_key()


def test_nothing_is_sealed_when_the_suite_is_not_accepted() -> None:
    """There is no negotiation and no older suite."""
    verified = verify(sign_keyset(replace(KEYSET, suites=("ISE9",)), ROOT))
    with pytest.raises(NoSealingKeyError):
        verified.sealing_key()


def test_message_says_what_to_do_when_another_root_signed() -> None:
    """A wrong pin is the first thing that goes wrong between two teams."""
    with pytest.raises(KeysetRejectedError, match="compare the fingerprint"):
        verify(sign_keyset(KEYSET, SIGNING))
