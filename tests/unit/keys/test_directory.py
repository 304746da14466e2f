"""The directory asks the gateway when it must, and no more often than it may; it believes what is pinned."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, TRUST_DOMAIN, make_keyring, publish

from isthmus.envelope.errors import KeyUnavailableError
from isthmus.keys import rotation
from isthmus.keys.contents import new_key
from isthmus.keys.directory import AsyncKeyDirectory, KeyDirectory, KeysetCache
from isthmus.keys.errors import DirectoryUnreachableError, KeysetRejectedError, TrustError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.trust import TrustStore
from isthmus.wire.chain import ChainProblem
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import SignedKeyset


class Gateway:
    """Relays what was published; can be cut off, and can lie."""

    def __init__(self, published: SignedKeyset) -> None:
        self.published = published
        self.reachable = True
        self.asked = 0

    def fetch(self, namespace: str) -> SignedKeyset:
        """Answer, or be unreachable."""
        assert namespace == "app-team"
        self.asked += 1
        if not self.reachable:
            raise DirectoryUnreachableError("cut off")
        return self.published

    async def fetch_async(self, namespace: str) -> SignedKeyset:
        """Answer, or be unreachable."""
        return self.fetch(namespace)


class Setting:
    """A keyring that publishes, a gateway that relays, a directory that asks, a clock that is set by hand."""

    def __init__(self, folder: Path, *, first_use: bool = False, pinned: bool = True) -> None:
        self.now_ms = NOW_MS
        self.folder = folder
        self.first_use = first_use
        self.keyring: FileKeyring = make_keyring(folder / "keys.json")
        self.gateway = Gateway(publish(self.keyring))
        self.restart()
        if pinned:
            self.trust.add("app-team", self.keyring.contents.fingerprint)

    def restart(self) -> None:
        """Forget everything that is not in the trust store."""
        self.trust = TrustStore(
            self.folder / "trust.json", trust_domain=TRUST_DOMAIN, allow_trust_on_first_use=self.first_use
        )
        self.cache = KeysetCache(self.trust, clock_ms=lambda: self.now_ms)
        self.directory = KeyDirectory(self.cache, self.gateway.fetch)

    def rotate(self) -> bytes:
        """Rotate the signing key and publish; returns the new key's id."""
        key = new_key(KeyKind.SIGNING, state=KeyState.PRE_PUBLISHED, now_ms=self.now_ms)
        self.keyring.update(lambda contents: rotation.pre_publish(contents, key))
        self.keyring.update(lambda contents: rotation.activate(contents, KeyKind.SIGNING))
        self.gateway.published = publish(self.keyring, now_ms=self.now_ms)
        return key.record.key_id


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A pinned namespace."""
    return Setting(tmp_path)


def test_gateway_is_asked_again_when_the_cache_lifetime_has_passed(setting: Setting) -> None:
    """300 seconds by default."""
    setting.directory.keyset("app-team")
    setting.now_ms += 299_999
    setting.directory.keyset("app-team")
    assert setting.gateway.asked == 1
    setting.now_ms += 1
    setting.directory.keyset("app-team")
    assert setting.gateway.asked == 2


def test_gateway_is_asked_at_once_when_a_key_id_is_unknown(setting: Setting) -> None:
    """But then not again within 30 seconds, however many unknown ids arrive."""
    setting.directory.keyset("app-team")
    key_id = setting.rotate()
    assert setting.directory.keyset("app-team", key_id=key_id).find_signing_key(key_id)
    assert setting.gateway.asked == 2
    for number in range(100):
        setting.directory.keyset("app-team", key_id=number.to_bytes(16, "big"))
    assert setting.gateway.asked == 2
    setting.now_ms += 30_000
    setting.directory.keyset("app-team", key_id=bytes(16))
    assert setting.gateway.asked == 3


def test_keyset_at_hand_is_used_when_the_gateway_is_unreachable(setting: Setting) -> None:
    """Until it expires; and the gateway is not asked at every use."""
    setting.directory.keyset("app-team")
    setting.gateway.reachable = False
    setting.now_ms += DAY_MS
    for _ in range(10):
        setting.directory.keyset("app-team")
    assert setting.gateway.asked == 2
    setting.now_ms = NOW_MS + 90 * DAY_MS
    with pytest.raises(KeyUnavailableError):
        setting.directory.keyset("app-team")


def test_pin_is_gone_when_a_person_removed_it_and_the_gateway_does_not_answer(setting: Setting) -> None:
    """Within a cache lifetime: whether a process trusts somebody is not for the gateway to delay."""
    setting.directory.keyset("app-team")
    setting.gateway.reachable = False
    elsewhere = TrustStore(setting.folder / "trust.json", trust_domain=TRUST_DOMAIN)
    elsewhere.remove("app-team")
    setting.now_ms += 300_000
    with pytest.raises(TrustError):
        setting.directory.keyset("app-team")
    elsewhere.add("app-team", bytes(32))
    with pytest.raises(KeyUnavailableError):
        setting.directory.keyset("app-team")
    elsewhere.remove("app-team")
    elsewhere.add("app-team", setting.keyring.contents.fingerprint)
    assert setting.directory.keyset("app-team").namespace == "app-team"


def test_nothing_is_believed_when_no_keyset_was_ever_fetched(setting: Setting) -> None:
    """An unreachable gateway at the start."""
    setting.gateway.reachable = False
    with pytest.raises(KeyUnavailableError):
        setting.directory.keyset("app-team")


def test_older_keyset_is_refused_when_the_process_restarted(setting: Setting) -> None:
    """The trust store remembers the version."""
    old = setting.gateway.published
    setting.rotate()
    setting.directory.keyset("app-team")
    setting.gateway.published = old
    setting.restart()
    with pytest.raises(KeysetRejectedError) as caught:
        setting.directory.keyset("app-team")
    assert caught.value.problem is ChainProblem.ROLLBACK


def test_keyset_is_refused_when_the_namespace_is_not_pinned(tmp_path: Path) -> None:
    """Default: no trust on first use."""
    setting = Setting(tmp_path, pinned=False)
    with pytest.raises(TrustError):
        setting.directory.keyset("app-team")
    assert setting.trust.namespaces() == ()


def test_first_keyset_is_pinned_when_trust_on_first_use_is_on(tmp_path: Path) -> None:
    """Recorded as such; the next root is refused."""
    setting = Setting(tmp_path, pinned=False, first_use=True)
    setting.directory.keyset("app-team")
    (trusted,) = setting.trust.namespaces()
    assert trusted.on_first_use
    (tmp_path / "other").mkdir()
    setting.gateway.published = publish(make_keyring(tmp_path / "other" / "keys.json"))
    setting.now_ms += DAY_MS
    with pytest.raises(KeysetRejectedError) as caught:
        setting.directory.keyset("app-team")
    assert caught.value.problem is ChainProblem.PIN


def test_nothing_is_pinned_on_first_use_when_the_keyset_is_not_authentic(tmp_path: Path) -> None:
    """A root alone is no proof that somebody holds its keys."""
    setting = Setting(tmp_path, pinned=False, first_use=True)
    genuine = setting.gateway.published
    setting.gateway.published = replace(genuine, keyset=replace(genuine.keyset, signatures=()))
    with pytest.raises(KeysetRejectedError):
        setting.directory.keyset("app-team")
    assert setting.trust.namespaces() == ()


async def test_async_directory_makes_the_same_promise(setting: Setting) -> None:
    """Same cache, same rules."""
    directory = AsyncKeyDirectory(setting.cache, setting.gateway.fetch_async)
    first = await directory.keyset("app-team")
    assert await directory.keyset("app-team") is first
    assert setting.gateway.asked == 1
    setting.gateway.reachable = False
    setting.now_ms += DAY_MS
    assert await directory.keyset("app-team") is first


async def test_keyset_is_at_hand_only_while_the_gateway_need_not_be_asked(setting: Setting) -> None:
    """Neither before the first look-up, nor after the cache lifetime, nor when the keyset has expired."""
    directory = AsyncKeyDirectory(setting.cache, setting.gateway.fetch_async)
    assert directory.at_hand("app-team") is None
    first = await directory.keyset("app-team")
    assert directory.at_hand("app-team") is first
    setting.now_ms += DAY_MS
    assert directory.at_hand("app-team") is None
    setting.gateway.reachable = False
    assert await directory.keyset("app-team") is first
    assert directory.at_hand("app-team") is first
    setting.now_ms = first.keyset.expires_at_ms
    assert directory.at_hand("app-team") is None


def test_gateway_is_asked_once_when_many_threads_need_a_keyset(setting: Setting) -> None:
    """The others wait for the first one's answer."""
    start = threading.Barrier(8)

    def use(_: int) -> None:
        start.wait()
        setting.directory.keyset("app-team")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert setting.gateway.asked == 1
