"""Pins that an organization signed: taken in, combined with one's own, ended."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.keys.world import NOW_MS, TRUST_DOMAIN, marks, sign, team

from isthmus.keys.bundle_draft import (
    decode_bundle_file,
    encode_bundle_file,
    first_bundle,
    missing_signatures,
    next_bundle,
    sign_bundle,
)
from isthmus.keys.directory import KeysetCache
from isthmus.keys.errors import BundleExpiredError, BundleRejectedError, KeysError, RecipientError, TrustError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.keyset import Pin
from isthmus.keys.statements import next_keyset
from isthmus.keys.trust import TrustStore
from isthmus.wire.bundle_statement import BundlePin, SignedBundle
from isthmus.wire.chain import DAY_MS, ChainProblem

ALICE, BOB, CAROL, DAVE = (HybridPrivateKey.generate() for _ in range(4))
A, B = bytes(range(32)), bytes(32)
APP = BundlePin(namespace="app-team", fingerprint=A, endpoints=("payments",))
DATA = BundlePin(namespace="data-team", fingerprint=B)


@dataclass
class Clock:
    """A clock that tests set."""

    now_ms: int = NOW_MS


def signed_by(draft: SignedBundle, *keys: HybridPrivateKey) -> SignedBundle:
    """Sign with several keys."""
    for key in keys:
        draft = sign_bundle(draft, key)
    return draft


def first(*pins: BundlePin, organization: str = "acme", days: int = 90) -> SignedBundle:
    """Return a first bundle that two of three signed."""
    draft = first_bundle(
        trust_domain=TRUST_DOMAIN,
        organization=organization,
        keys=[key.public for key in (ALICE, BOB, CAROL)],
        threshold=2,
        pins=pins,
        now_ms=NOW_MS,
        lifetime_ms=days * DAY_MS,
    )
    return signed_by(draft, ALICE, CAROL)


def following(before: SignedBundle, *pins: BundlePin) -> SignedBundle:
    """Return the next bundle, signed."""
    return signed_by(next_bundle(before, pins=pins, now_ms=NOW_MS + 1), BOB, ALICE)


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture(params=["file", "memory"])
def trust(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> TrustStore:
    """An empty store, of either kind."""
    path = tmp_path / "trust.json" if request.param == "file" else None
    return TrustStore(path, trust_domain=TRUST_DOMAIN, clock_ms=lambda: clock.now_ms)


def problem(trust: TrustStore, signed: SignedBundle) -> ChainProblem:
    """Return why a bundle is refused, and that the one before stays."""
    before = trust.bundles()
    with pytest.raises(BundleRejectedError) as caught:
        trust.take_bundle(signed)
    assert trust.bundles() == before
    return caught.value.problem


def test_namespaces_are_trusted_when_a_bundle_vouches_for_them(trust: TrustStore) -> None:
    """Pins, endpoints and their end; nobody else."""
    bundle = first(APP, DATA)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    assert trust.namespace_of_endpoint("payments") == "app-team"
    pin = trust.pin("app-team")
    assert (pin.fingerprint, pin.expires_at_ms) == (A, NOW_MS + 90 * DAY_MS)
    assert [entry.organizations for entry in trust.namespaces()] == [("acme",), ("acme",)]
    with pytest.raises(TrustError, match="not trusted"):
        trust.pin("mallory")


def test_bundle_comes_back_when_the_store_is_opened_again(tmp_path: Path) -> None:
    """With what was seen of those whom it vouches for, in a private file."""
    path, bundle = tmp_path / "trust.json", first(APP)
    trust = TrustStore(path, trust_domain=TRUST_DOMAIN, clock_ms=lambda: NOW_MS)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    seen = marks(3, bytes(32))
    trust.record_seen(trust.pin("app-team"), seen)
    again = TrustStore(path, trust_domain=TRUST_DOMAIN, clock_ms=lambda: NOW_MS)
    assert again.bundles() == trust.bundles()
    assert again.seen("app-team") == seen
    assert path.stat().st_mode & 0o777 == 0o600


def test_bundle_is_refused_when_its_root_is_not_pinned(trust: TrustStore) -> None:
    """Or another one is; the first pin stays."""
    bundle = first(APP)
    with pytest.raises(TrustError, match="not pinned"):
        trust.take_bundle(bundle)
    with pytest.raises(BundleRejectedError) as caught:
        trust.take_bundle(bundle, fingerprint=bytes(32))
    assert caught.value.problem is ChainProblem.PIN
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    with pytest.raises(TrustError, match="another root"):
        trust.take_bundle(bundle, fingerprint=bytes(32))
    assert trust.trusted("app-team") is not None


def test_nothing_changes_when_a_bundle_is_only_tried(trust: TrustStore) -> None:
    """The same checks, and no write."""
    bundle = first(APP)
    rehearsal = trust.rehearsal()
    assert rehearsal.take_bundle(bundle, fingerprint=bundle.roots[0].hash).bundle.pins == (APP,)
    assert rehearsal.add("ai-team", A).fingerprint == A
    assert len(rehearsal.namespaces()) == 2
    assert trust.bundles() == ()
    assert trust.namespaces() == ()


def test_bundle_is_refused_when_it_breaks_a_rule(trust: TrustStore, clock: Clock) -> None:
    """Too few signers, an older one, a second one of a version, another chain, expired; the newest stays."""
    one = first(APP, DATA)
    trust.take_bundle(one, fingerprint=one.roots[0].hash)
    two = following(one, APP)
    assert (
        problem(trust, sign_bundle(next_bundle(one, now_ms=NOW_MS + 1), BOB)) is ChainProblem.TOO_FEW_SIGNERS
    )
    trust.take_bundle(two)
    assert problem(trust, one) is ChainProblem.ROLLBACK
    assert problem(trust, following(one, DATA)) is ChainProblem.EQUIVOCATION
    fork = following(following(one, DATA), APP)
    assert problem(trust, fork) is ChainProblem.CHAIN
    clock.now_ms = NOW_MS + 91 * DAY_MS
    assert problem(trust, following(two, APP)) is ChainProblem.EXPIRED
    trust.take_bundle(signed_by(next_bundle(two, now_ms=clock.now_ms), ALICE, BOB))
    assert [accepted.bundle.version for accepted in trust.bundles()] == [3]


def test_namespace_is_not_trusted_any_more_when_a_bundle_leaves_it_out(trust: TrustStore) -> None:
    """Nor are its endpoints its own; what was seen of it is forgotten."""
    one = first(APP, DATA)
    trust.take_bundle(one, fingerprint=one.roots[0].hash)
    trust.record_seen(trust.pin("app-team"), marks(3, bytes(32)))
    trust.take_bundle(following(one, DATA))
    assert trust.trusted("app-team") is None
    with pytest.raises(TrustError, match="no trusted namespace"):
        trust.namespace_of_endpoint("payments")
    with pytest.raises(TrustError, match="not trusted"):
        trust.pin("app-team")
    trust.remove_bundle("acme")
    assert trust.namespaces() == ()


def test_root_of_an_organization_is_replaced_when_the_old_one_signs(trust: TrustStore) -> None:
    """The pin stays; a new one may take its place; a root that the old one did not sign is refused."""
    one = first(APP)
    trust.take_bundle(one, fingerprint=one.roots[0].hash)
    draft = next_bundle(one, keys=[BOB.public, DAVE.public], threshold=2, now_ms=NOW_MS + 1)
    assert missing_signatures(draft) == {"new root": 2, "old root": 2, "bundle": 2}
    usurped = signed_by(draft, BOB, DAVE)
    assert missing_signatures(usurped) == {"old root": 1}
    assert problem(trust, usurped) is ChainProblem.OLD_ROOT
    two = sign_bundle(usurped, ALICE)
    trust.take_bundle(two)
    trust.take_bundle(two, fingerprint=two.roots[-1].hash)
    (accepted,) = trust.bundles()
    assert accepted.fingerprint == two.roots[-1].hash
    with pytest.raises(KeysError, match="nothing to sign"):
        sign_bundle(two, ALICE)


def test_own_pin_wins_when_a_bundle_says_something_else(trust: TrustStore) -> None:
    """About a root and about an endpoint; the conflict is shown."""
    trust.add("app-team", B, endpoints=("refunds",))
    trust.add("data-team", B, endpoints=("reports",))
    bundle = first(APP, BundlePin(namespace="ai-team", fingerprint=A, endpoints=("agents", "reports")), DATA)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    ai, app, data = trust.namespaces()
    assert (app.fingerprint, app.endpoints) == (B, ("refunds",))
    assert (app.expires_at_ms, app.organizations) == (None, ())
    assert "you pinned" in app.conflicts[0]
    with pytest.raises(TrustError, match="no trusted namespace"):
        trust.namespace_of_endpoint("payments")
    assert trust.namespace_of_endpoint("reports") == "data-team"
    assert ai.endpoints == ("agents",)
    assert "reports" in ai.conflicts[0]
    assert (data.organizations, data.conflicts) == (("acme",), ())


def test_bundle_adds_endpoints_when_one_pinned_the_same_root(trust: TrustStore) -> None:
    """Or one that the pinned root vouched for; what one pinned oneself does not end."""
    seen = marks()
    trust.add("app-team", seen.root.hash)
    bundle = first(APP, days=1)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    with pytest.raises(TrustError):
        trust.namespace_of_endpoint("payments")
    trust.remove("app-team")
    trust.add("app-team", B)
    rotated = marks()
    trust.record_seen(trust.pin("app-team"), rotated)
    again = following(
        bundle, BundlePin(namespace="app-team", fingerprint=rotated.root.hash, endpoints=("payments",))
    )
    trust.take_bundle(again)
    assert trust.namespace_of_endpoint("payments") == "app-team"
    assert trust.pin("app-team").expires_at_ms is None


def test_what_was_seen_stays_when_a_pin_becomes_ones_own_and_back(trust: TrustStore) -> None:
    """No older keyset is believed because of it."""
    bundle = first(APP)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    seen = marks(5, bytes(32))
    trust.record_seen(trust.pin("app-team"), seen)
    trust.add("app-team", A)
    assert trust.seen("app-team") == seen
    trust.remove("app-team")
    assert trust.seen("app-team") == seen
    trust.take_bundle(following(bundle, BundlePin(namespace="app-team", fingerprint=B)))
    assert trust.seen("app-team") is None


def test_bundles_decide_nothing_when_they_contradict_each_other(trust: TrustStore, clock: Clock) -> None:
    """Neither about a root nor about an endpoint; also when one has ended; one's own pin decides."""
    acme = first(APP, DATA)
    other = first(
        BundlePin(namespace="app-team", fingerprint=B),
        BundlePin(namespace="mallory", fingerprint=B, endpoints=("invoices",)),
        organization="other",
        days=1,
    )
    third = first(
        BundlePin(namespace="ai-team", fingerprint=A, endpoints=("invoices",)), organization="third"
    )
    for bundle in (acme, other, third):
        trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    for _ in range(2):
        with pytest.raises(TrustError, match="acme and other contradict"):
            trust.pin("app-team")
        with pytest.raises(TrustError, match="other and third contradict"):
            trust.namespace_of_endpoint("invoices")
        clock.now_ms = NOW_MS + 2 * DAY_MS
    trust.add("app-team", A, endpoints=("invoices",))
    assert trust.pin("app-team").fingerprint == A
    assert trust.namespace_of_endpoint("invoices") == "app-team"


def test_nothing_is_sent_when_the_only_bundle_has_ended(trust: TrustStore, clock: Clock) -> None:
    """The error says what to do; one's own pins and the next bundle work."""
    bundle = first(APP, days=1)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    clock.now_ms = NOW_MS + DAY_MS
    with pytest.raises(BundleExpiredError, match="isthmus trust bundle update"):
        trust.namespace_of_endpoint("payments")
    with pytest.raises(BundleExpiredError, match="acme"):
        trust.pin("app-team")
    trust.take_bundle(signed_by(next_bundle(bundle, now_ms=clock.now_ms), ALICE, BOB))
    assert trust.namespace_of_endpoint("payments") == "app-team"


def test_keyset_at_hand_ends_with_the_bundle_that_vouched_for_it(clock: Clock) -> None:
    """No cache lifetime and no silent gateway makes it live longer."""
    founded = team()
    trust = TrustStore(None, trust_domain=TRUST_DOMAIN, clock_ms=lambda: clock.now_ms)
    root = founded.contents.fingerprint
    bundle = first(BundlePin(namespace="app-team", fingerprint=root), days=1)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    clock.now_ms = NOW_MS + DAY_MS - 1000
    cache = KeysetCache(trust, clock_ms=lambda: clock.now_ms)
    verified = cache.accept("app-team", sign(next_keyset(founded.contents, now_ms=NOW_MS)))
    assert verified.expires_at_ms == NOW_MS + DAY_MS
    assert cache.at_hand("app-team") is verified
    clock.now_ms = NOW_MS + DAY_MS
    assert cache.at_hand("app-team") is None


def test_people_are_warned_once_a_day_when_a_bundle_ends_soon(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """From two weeks before, by whoever uses a team that only it vouches for; until a newer one is there."""
    founded = team()
    trust = TrustStore(None, trust_domain=TRUST_DOMAIN, clock_ms=lambda: clock.now_ms)
    pin = BundlePin(namespace="app-team", fingerprint=founded.contents.fingerprint)
    bundle = first(pin, days=16)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    cache = KeysetCache(trust, clock_ms=lambda: clock.now_ms)
    signed = sign(next_keyset(founded.contents, now_ms=NOW_MS))
    warnings = []
    for hours in (0, 47, 48, 50, 71, 72):
        clock.now_ms = NOW_MS + hours * DAY_MS // 24
        cache.accept("app-team", signed)
        warnings.append(len(caplog.records))
    assert warnings == [0, 0, 1, 1, 1, 2]
    assert "the bundle of acme ends on" in caplog.text
    assert "isthmus trust bundle update" in caplog.text
    trust.take_bundle(signed_by(next_bundle(bundle, now_ms=clock.now_ms), ALICE, BOB))
    clock.now_ms += 2 * DAY_MS
    cache.accept("app-team", signed)
    assert len(caplog.records) == warnings[-1]


def test_first_use_decides_nothing_when_bundles_speak(clock: Clock) -> None:
    """Where it is on, for development."""
    trust = TrustStore(
        None, trust_domain=TRUST_DOMAIN, allow_trust_on_first_use=True, clock_ms=lambda: clock.now_ms
    )
    acme, other = first(APP), first(BundlePin(namespace="app-team", fingerprint=B), organization="other")
    for bundle in (acme, other):
        trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    with pytest.raises(TrustError, match="contradict"):
        trust.pin("app-team", presented=A)
    with pytest.raises(TrustError):
        trust.record_seen(Pin(namespace="app-team", trust_domain=TRUST_DOMAIN, fingerprint=A), marks())


def test_file_of_a_bundle_is_refused_when_its_words_are_not_what_is_signed() -> None:
    """So that a review of the file is one of the bundle."""
    data = encode_bundle_file(first(APP))
    assert encode_bundle_file(decode_bundle_file(data)) == data
    for before, after in ((b'"payments"', b'"payouts"'), (b'"version": 1', b'"version": 2')):
        with pytest.raises(KeysError, match="something else"):
            decode_bundle_file(data.replace(before, after, 1))
    for damaged in (b"{}", b"[]", b"\xff", data[:-20]):
        with pytest.raises(KeysError, match="damaged"):
            decode_bundle_file(damaged)


def test_next_bundle_is_not_drafted_when_the_one_before_lacks_signatures() -> None:
    """Nobody has it yet."""
    draft = next_bundle(first(APP), now_ms=NOW_MS + 1)
    with pytest.raises(KeysError, match="lacks signatures"):
        next_bundle(draft, now_ms=NOW_MS + 2)


def test_nobody_else_reads_along_when_a_bundle_gives_a_name_to_another_root(trust: TrustStore) -> None:
    """Consent is for whom a person meant: not for whom an organization calls by that name later."""
    bundle = first(DATA)
    trust.take_bundle(bundle, fingerprint=bundle.roots[0].hash)
    trust.set_recipient("data-team", consent=True)
    trust.require_recipient("data-team", "payments")
    emptied = following(bundle, APP)
    trust.take_bundle(emptied)
    with pytest.raises(RecipientError):
        trust.require_recipient("data-team", "payments")
    again = following(emptied, APP, DATA)
    trust.take_bundle(again)
    trust.require_recipient("data-team", "payments")
    trust.take_bundle(following(again, APP, BundlePin(namespace="data-team", fingerprint=A)))
    assert trust.recipients() == frozenset()
    with pytest.raises(RecipientError, match="isthmus trust add data-team --as-recipient"):
        trust.require_recipient("data-team", "payments")
    trust.set_recipient("data-team", consent=True)
    assert trust.recipients() == {"data-team"}
