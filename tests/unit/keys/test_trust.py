"""What people pinned stays pinned."""

import os
from pathlib import Path

import pytest
from tests.unit.keys.world import marks

from isthmus.keys.errors import TrustError
from isthmus.keys.keyset import Pin
from isthmus.keys.private_file import replace_private
from isthmus.keys.trust import TrustStore

FINGERPRINT = bytes(range(32))


def store(path: Path | None, *, first_use: bool = False) -> TrustStore:
    """Open a trust store."""
    return TrustStore(path, trust_domain="acme", allow_trust_on_first_use=first_use)


@pytest.fixture(params=["file", "memory"])
def trust(request: pytest.FixtureRequest, tmp_path: Path) -> TrustStore:
    """An empty store, of either kind."""
    return store(tmp_path / "trust.json" if request.param == "file" else None)


def pin(fingerprint: bytes = FINGERPRINT) -> Pin:
    """Return the pin of app-team."""
    return Pin(namespace="app-team", trust_domain="acme", fingerprint=fingerprint)


def test_pin_comes_back_when_the_store_is_opened_again(tmp_path: Path) -> None:
    """Fingerprint, endpoints and the version seen; in a private file."""
    path = tmp_path / "trust.json"
    trust = store(path)
    trust.add("app-team", FINGERPRINT, endpoints=("payments", "invoices"))
    trust.record_seen(pin(), marks(3, bytes(32)))
    (trusted,) = store(path).namespaces()
    assert trusted.endpoints == ("invoices", "payments")
    assert trusted.seen == marks(3, bytes(32))
    assert not trusted.on_first_use
    assert store(path).pin("app-team") == pin()
    assert path.stat().st_mode & 0o777 == 0o600


def test_endpoint_names_its_namespace_when_it_is_pinned(trust: TrustStore) -> None:
    """And nothing else does."""
    trust.add("app-team", FINGERPRINT, endpoints=("payments",))
    assert trust.namespace_of_endpoint("payments") == "app-team"
    with pytest.raises(TrustError, match=r"isthmus trust add NAMESPACE .* --endpoint payouts"):
        trust.namespace_of_endpoint("payouts")


def test_endpoint_is_refused_when_it_is_pinned_to_another_namespace(trust: TrustStore) -> None:
    """One endpoint, one namespace; the first pin stays."""
    trust.add("app-team", FINGERPRINT, endpoints=("payments",))
    with pytest.raises(TrustError, match="pinned to"):
        trust.add("mallory", bytes(32), endpoints=("payments",))
    assert trust.namespace_of_endpoint("payments") == "app-team"
    assert trust.trusted("mallory") is None


def test_fingerprint_is_refused_when_another_one_is_pinned(trust: TrustStore) -> None:
    """It must be removed on purpose first."""
    trust.add("app-team", FINGERPRINT)
    with pytest.raises(TrustError):
        trust.add("app-team", bytes(32))
    assert trust.pin("app-team").fingerprint == FINGERPRINT
    trust.remove("app-team")
    trust.add("app-team", bytes(32))
    assert trust.pin("app-team").fingerprint == bytes(32)


def test_pin_moves_when_the_pinned_root_vouched_for_the_new_one(trust: TrustStore) -> None:
    """The team rotated its root: the new fingerprint is that of the newest root seen."""
    trust.add("app-team", FINGERPRINT, endpoints=("payments",))
    seen = marks()
    trust.record_seen(pin(), seen)
    with pytest.raises(TrustError):
        trust.add("app-team", bytes(32))
    trust.add("app-team", seen.root.hash)
    assert trust.pin("app-team").fingerprint == seen.root.hash
    assert trust.namespace_of_endpoint("payments") == "app-team"
    assert trust.seen("app-team") == seen


def test_version_never_goes_back_when_an_older_one_is_recorded(trust: TrustStore) -> None:
    """Two processes record in any order."""
    trust.add("app-team", FINGERPRINT)
    newer = marks(5, bytes(32))
    trust.record_seen(pin(), newer)
    trust.record_seen(pin(), marks(4, bytes(32)))
    assert trust.seen("app-team") == newer
    with pytest.raises(TrustError, match="same version"):
        trust.record_seen(pin(), marks(5, bytes(31) + b"x"))


def test_nothing_is_recorded_when_the_pin_changed_meanwhile(trust: TrustStore) -> None:
    """A keyset that was verified against a pin that is gone."""
    trust.add("app-team", FINGERPRINT)
    with pytest.raises(TrustError):
        trust.record_seen(pin(bytes(32)), marks(1, bytes(32)))


def test_other_processes_pins_are_seen_when_they_wrote_the_file(tmp_path: Path) -> None:
    """Without a restart."""
    first, second = store(tmp_path / "trust.json"), store(tmp_path / "trust.json")
    first.add("app-team", FINGERPRINT, endpoints=("payments",))
    assert second.namespace_of_endpoint("payments") == "app-team"
    second.add("data-team", bytes(32))
    assert first.trusted("data-team") is not None
    assert len(first.namespaces()) == 2


def test_endpoint_is_learned_only_when_trust_on_first_use_is_on(tmp_path: Path) -> None:
    """And never against a pin."""
    careful, careless = store(tmp_path / "trust.json"), store(tmp_path / "trust.json", first_use=True)
    careful.add("app-team", FINGERPRINT, endpoints=("payments",))
    careful.add("mallory", bytes(32))
    with pytest.raises(TrustError):
        careful.add_endpoint_on_first_use("app-team", "invoices")
    careless.add_endpoint_on_first_use("app-team", "invoices")
    assert careless.namespace_of_endpoint("invoices") == "app-team"
    with pytest.raises(TrustError):
        careless.add_endpoint_on_first_use("mallory", "payments")
    with pytest.raises(TrustError):
        careless.add_endpoint_on_first_use("unknown", "payouts")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"format": "isthmus-trust/9", "trust_domain": "acme", "namespaces": []}',
        b'{"format": "isthmus-trust/2", "trust_domain": "other", "namespaces": []}',
        b'{"format": "isthmus-trust/2", "trust_domain": "acme", "namespaces": [{}]}',
        (
            b'{"format": "isthmus-trust/2", "trust_domain": "acme", "namespaces": [{"namespace": "a",'
            b' "fingerprint": "00", "endpoints": [], "on_first_use": false, "seen": null}]}'
        ),
    ],
)
def test_store_is_refused_when_it_is_damaged(tmp_path: Path, content: bytes) -> None:
    """Never an empty store instead."""
    replace_private(tmp_path / "trust.json", content)
    with pytest.raises(TrustError):
        store(tmp_path / "trust.json")


def test_store_is_refused_when_others_may_write_it(tmp_path: Path) -> None:
    """Who writes pins decides whom we trust."""
    store(tmp_path / "trust.json").add("app-team", FINGERPRINT)
    (tmp_path / "trust.json").chmod(0o620)
    with pytest.raises(TrustError):
        store(tmp_path / "trust.json")
    assert os.access(tmp_path / "trust.json", os.R_OK)


def test_message_names_the_file_when_something_is_wrong_with_it(tmp_path: Path) -> None:
    """Whoever has three of them knows which one to mend."""
    path = tmp_path / "trust.json"
    trust = store(path)
    with pytest.raises(TrustError, match=r"payments in the trust store .*trust\.json"):
        trust.namespace_of_endpoint("payments")
    with pytest.raises(TrustError, match=r"fingerprint in the trust store .*trust\.json first"):
        trust.pin("app-team")
    trust.add("app-team", FINGERPRINT)
    with pytest.raises(TrustError, match=r"trust\.json belongs to another trust domain than other"):
        TrustStore(path, trust_domain="other")
    replace_private(path, b"{}")
    with pytest.raises(TrustError, match=r"trust\.json is damaged"):
        store(path)


def test_endpoint_has_a_new_owner_when_it_is_moved(tmp_path: Path) -> None:
    """Only on request; the other endpoints and the pin itself of the one before stay."""
    store = TrustStore(tmp_path / "trust.json", trust_domain="example.com")
    store.add("app-team", b"a" * 32, endpoints=("payments", "refunds"))
    with pytest.raises(TrustError, match="pinned to"):
        store.add("new-team", b"n" * 32, endpoints=("payments",))
    store.add("new-team", b"n" * 32, endpoints=("payments",), move_endpoints=True)
    assert store.namespace_of_endpoint("payments") == "new-team"
    assert store.namespace_of_endpoint("refunds") == "app-team"
    store.add("new-team", b"n" * 32, endpoints=("payments",), move_endpoints=True)
    assert store.namespace_of_endpoint("payments") == "new-team"
