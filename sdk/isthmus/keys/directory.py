"""Keysets of other namespaces: fetched from the gateway, believed only through the trust store.

A keyset is used for a cache lifetime, then fetched again. An unknown key id fetches at once, but at most
once per interval and namespace, so that forged ids cannot make an end flood the gateway. When the gateway
cannot be reached, the keyset at hand is good until it expires; a gateway that answers with a keyset that
fails a rule is no such case: that is an error, and nothing is sealed. Nor does it matter to a pin that was
taken away or ended: the trust store is asked in either case.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.envelope.expected import SigningKeyState
from isthmus.keys.bundle_ending import BundleEndings
from isthmus.keys.errors import DirectoryUnreachableError
from isthmus.keys.keyset import VerifiedKeyset, verify_keyset
from isthmus.keys.trust import TrustStore
from isthmus.wire.names import KEY_ID_BYTES
from isthmus.wire.trust_statement import SignedKeyset

DEFAULT_CACHE_SECONDS = 300.0
DEFAULT_REFRESH_INTERVAL_SECONDS = 30.0
_MILLISECONDS = 1000
ANY_NEWER_KEY = bytes(KEY_ID_BYTES)
"""No key has this id: a directory that is asked for it asks the gateway again, as often as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cached:
    """A verified keyset, when it was confirmed, and when a key id was last asked for, in milliseconds."""

    keyset: VerifiedKeyset | None = None
    confirmed_at_ms: int = 0
    fresh_until_ms: int = 0
    """Until when there is no reason to ask the gateway: its cache lifetime, or its end if that is sooner."""
    asked_at_ms: int | None = None
    vouched_by: frozenset[bytes] = frozenset()
    """The pinned root that it was verified against, and the newest one that this root vouched for."""


class KeysetCache:
    """What both directories share: when to ask, what to believe. No I/O besides the trust store."""

    __slots__ = ("_cache", "_cache_ms", "_clock_ms", "_endings", "_interval_ms", "_lock", "_trust")

    def __init__(
        self,
        trust: TrustStore,
        *,
        clock_ms: Callable[[], int],
        cache_seconds: float = DEFAULT_CACHE_SECONDS,
        refresh_interval_seconds: float = DEFAULT_REFRESH_INTERVAL_SECONDS,
    ) -> None:
        self._trust = trust
        self._clock_ms = clock_ms
        self._cache_ms = int(cache_seconds * _MILLISECONDS)
        self._interval_ms = int(refresh_interval_seconds * _MILLISECONDS)
        self._cache: dict[str, _Cached] = {}
        self._lock = threading.Lock()
        self._endings = BundleEndings()

    def at_hand(self, namespace: str) -> VerifiedKeyset | None:
        """Return the keyset at hand when there is no reason to ask the gateway, whatever its keys."""
        cached = self._cache.get(namespace)
        return cached.keyset if cached is not None and self._clock_ms() < cached.fresh_until_ms else None

    def fresh(self, namespace: str, key_id: bytes | None) -> VerifiedKeyset | None:
        """Return the keyset at hand when there is no reason to ask the gateway, or no right to yet."""
        cached = self._cache.get(namespace)
        if key_id is None or cached is None or cached.keyset is None or _usable(cached.keyset, key_id):
            return self.at_hand(namespace)
        now_ms, asked_at_ms = self._clock_ms(), cached.asked_at_ms
        too_soon = asked_at_ms is not None and now_ms - asked_at_ms < self._interval_ms
        return cached.keyset if too_soon and cached.keyset.is_current(now_ms) else None

    def begin(self, namespace: str, key_id: bytes | None) -> None:
        """Note that the gateway is being asked because of a key id."""
        if key_id is not None:
            with self._lock:
                cached = self._cache.get(namespace, _Cached())
                self._cache[namespace] = replace(cached, asked_at_ms=self._clock_ms())

    def accept(self, namespace: str, signed: SignedKeyset) -> VerifiedKeyset:
        """Verify what the gateway answered, and use it from now on.

        Raises:
            KeysetRejectedError: it breaks a rule.
            TrustError: the namespace is not pinned.

        """
        now_ms = self._clock_ms()
        pin = self._trust.pin(namespace, signed.roots[-1].hash if signed.roots else None)
        known = self._cache.get(namespace, _Cached()).keyset
        verified, chain = verify_keyset(
            signed,
            pin=pin,
            seen=self._trust.seen(namespace),
            now_ms=now_ms,
            known=None if known is None else known.keyset,
        )
        # Durable before it is used: a restart must not accept an older one.
        self._trust.record_seen(pin, chain.marks)
        self._endings.look(self._trust.trusted(namespace), now_ms)
        with self._lock:
            cached = self._cache.get(namespace, _Cached())
            vouched_by = frozenset({pin.fingerprint, chain.marks.root.hash})
            confirmed = self._confirmed(cached, verified, now_ms)
            self._cache[namespace] = replace(confirmed, vouched_by=vouched_by)
        return verified

    def stale(self, namespace: str) -> VerifiedKeyset:
        """Return the keyset at hand although the gateway could not be asked; ask again after an interval.

        Raises:
            KeyUnavailableError: there is none that has not expired, or the pin is another one by now.
            TrustError: the namespace is not pinned any more.

        """
        now_ms = self._clock_ms()
        fingerprint = self._trust.newest_pin(namespace).fingerprint
        with self._lock:
            cached = self._cache.get(namespace, _Cached())
            is_vouched_for = fingerprint in cached.vouched_by
            if cached.keyset is None or not is_vouched_for or not cached.keyset.is_current(now_ms):
                raise KeyUnavailableError(key_id=b"", namespace=namespace, which=MissingKey.KEYSET)
            confirmed_at_ms = max(cached.confirmed_at_ms, now_ms - self._cache_ms + self._interval_ms)
            self._cache[namespace] = self._confirmed(cached, cached.keyset, confirmed_at_ms)
        return cached.keyset

    def _confirmed(self, cached: _Cached, keyset: VerifiedKeyset, confirmed_at_ms: int) -> _Cached:
        fresh_until_ms = min(confirmed_at_ms + self._cache_ms, keyset.expires_at_ms)
        return replace(cached, keyset=keyset, confirmed_at_ms=confirmed_at_ms, fresh_until_ms=fresh_until_ms)


class KeyDirectory:
    """Keysets for threads. ``fetch`` asks the gateway; DirectoryUnreachableError says that it cannot."""

    __slots__ = ("_cache", "_fetch", "_lock", "_locks")

    def __init__(self, cache: KeysetCache, fetch: Callable[[str], SignedKeyset]) -> None:
        self._cache = cache
        self._fetch = fetch
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """Return a verified keyset; ``key_id`` is a signing key that should be in it.

        Raises:
            KeysetRejectedError: the gateway's answer breaks a rule.
            KeyUnavailableError: the gateway cannot be reached and no keyset is at hand.
            TrustError: the namespace is not pinned.

        """
        if (keyset := self._cache.fresh(namespace, key_id)) is not None:
            return keyset
        with self._lock:
            lock = self._locks.setdefault(namespace, threading.Lock())
        with lock:
            # Somebody else may have asked while this one waited.
            if (keyset := self._cache.fresh(namespace, key_id)) is not None:
                return keyset
            self._cache.begin(namespace, key_id)
            try:
                signed = self._fetch(namespace)
            except DirectoryUnreachableError:
                return self._cache.stale(namespace)
            return self._cache.accept(namespace, signed)


class AsyncKeyDirectory:
    """Keysets for one event loop. ``fetch`` is as for KeyDirectory."""

    __slots__ = ("_cache", "_fetch", "_locks")

    def __init__(self, cache: KeysetCache, fetch: Callable[[str], Awaitable[SignedKeyset]]) -> None:
        self._cache = cache
        self._fetch = fetch
        self._locks: dict[str, asyncio.Lock] = {}

    def at_hand(self, namespace: str) -> VerifiedKeyset | None:
        """Return what ``keyset`` would return without asking the gateway, or None where it would ask."""
        return self._cache.at_hand(namespace)

    async def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """Return a verified keyset; the same promise and errors as ``KeyDirectory.keyset``."""
        if (keyset := self._cache.fresh(namespace, key_id)) is not None:
            return keyset
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            if (keyset := self._cache.fresh(namespace, key_id)) is not None:
                return keyset
            self._cache.begin(namespace, key_id)
            try:
                signed = await self._fetch(namespace)
            except DirectoryUnreachableError:
                return self._cache.stale(namespace)
            return self._cache.accept(namespace, signed)


def _usable(keyset: VerifiedKeyset, key_id: bytes) -> bool:
    known = keyset.find_signing_key(key_id)
    return known is not None and known.state is not SigningKeyState.PRE_PUBLISHED
