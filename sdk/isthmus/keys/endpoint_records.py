"""What owners signed about their endpoints: fetched from the gateway, believed by the rules of the wire.

A record is used for a cache lifetime, then fetched again; that there is none counts as long. When the gateway
cannot be reached, the record at hand is good until it expires, or until somebody else signs for its
namespace. What was seen once is remembered in the trust store, so that an older record is refused after a
restart, and so is "there is none".
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.directory import DEFAULT_CACHE_SECONDS
from isthmus.keys.errors import DirectoryUnreachableError, EndpointRecordRejectedError, KeysetRejectedError
from isthmus.keys.publication import read_own
from isthmus.keys.trust import TrustStore
from isthmus.wire.chain import ChainError, ChainProblem, check_time
from isthmus.wire.endpoint_record import (
    EndpointRecord,
    SignedEndpointRecord,
    VerifiedRecord,
    check_record_progress,
    check_record_time,
    verify_record,
)
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.trust_statement import Delegation, SignedKeyset

_MILLISECONDS = 1000
ASK_AGAIN_SECONDS = 1.0
"""How old what is at hand has to be before a request that does not follow it is reason to ask again."""


class KnownRecord(NamedTuple):
    """What is known about an endpoint: a verified record, or that there never was one."""

    namespace: str
    verified: VerifiedRecord | None
    fetched_at_ms: int
    fresh_until_ms: int
    signer: HybridPublicKey | None = None
    """Who signed it, as the chain said then."""

    @property
    def record(self) -> EndpointRecord | None:
        """The newest record."""
        return None if self.verified is None else self.verified.record

    @property
    def required_recipients(self) -> tuple[str, ...]:
        """Whom everything between caller and handler is sealed to as well."""
        return () if self.verified is None else self.verified.record.required_recipients

    @property
    def contract_hash(self) -> bytes:
        """What the header of a request names; empty when there is no contract."""
        return b"" if self.verified is None else self.verified.record.contract_hash


class FindSigner(Protocol):
    """Who signs for a namespace, by its verified chain."""

    def __call__(self, namespace: str, /, *, newest: bool) -> HybridPublicKey | None:
        """Return the key; ``newest`` fetches the chain again, as often as is allowed. Raises KeysError."""
        ...


class AsyncFindSigner(Protocol):
    """The same on an event loop."""

    async def __call__(self, namespace: str, /, *, newest: bool) -> HybridPublicKey | None:
        """Return the key. Raises KeysError."""
        ...


class RecordsAtHand(Protocol):
    """Records that need no asking."""

    def at_hand(self, namespace: str, endpoint: str) -> KnownRecord | None:
        """Return what is known of an endpoint of a namespace; None when the gateway has to be asked."""
        ...


class RecordCache:
    """When to ask, what to believe. No I/O besides the trust store. Safe to share between threads."""

    __slots__ = ("_cache_ms", "_clock_ms", "_interval_ms", "_known", "_trust")

    def __init__(
        self,
        trust: TrustStore,
        *,
        clock_ms: Callable[[], int],
        cache_seconds: float = DEFAULT_CACHE_SECONDS,
        refresh_interval_seconds: float = ASK_AGAIN_SECONDS,
    ) -> None:
        self._trust = trust
        self._clock_ms = clock_ms
        self._cache_ms = int(cache_seconds * _MILLISECONDS)
        self._interval_ms = int(refresh_interval_seconds * _MILLISECONDS)
        self._known: dict[str, KnownRecord] = {}

    def at_hand(self, namespace: str, endpoint: str) -> KnownRecord | None:
        """Return what is known of an endpoint of a namespace; None when the gateway has to be asked."""
        known = self._known.get(endpoint)
        if known is None or known.namespace != namespace or self._clock_ms() >= known.fresh_until_ms:
            return None
        return known

    def may_ask(self, namespace: str, endpoint: str) -> bool:
        """Whether what is at hand is so old that there may be a newer one by now."""
        known = self.at_hand(namespace, endpoint)
        return known is None or self._clock_ms() - known.fetched_at_ms >= self._interval_ms

    def was_seen(self, namespace: str, endpoint: str) -> bool:
        """Whether there ever was a record."""
        return self._trust.seen_record(namespace, endpoint) is not None

    def accept(
        self,
        namespace: str,
        endpoint: str,
        signed: SignedEndpointRecord | None,
        signer: HybridPublicKey | None,
    ) -> KnownRecord:
        """Verify what the gateway answered, and use it from now on.

        ``signer`` is that of the namespace's verified chain; it is not needed where there is no record.

        Raises:
            EndpointRecordRejectedError: it breaks a rule.
        """
        now_ms = self._clock_ms()
        verified = None
        try:
            if signed is not None:
                verified = verify_record(
                    signed,
                    trust_domain=self._trust.trust_domain,
                    namespace=namespace,
                    endpoint=endpoint,
                    signer=signer,
                )
                check_record_time(verified.record, now_ms)
            check_record_progress(verified, self._trust.seen_record(namespace, endpoint))
        except ChainError as error:
            raise EndpointRecordRejectedError(error.problem, namespace, endpoint) from None
        if verified is not None:
            # Durable before it is used: a restart must not accept an older one.
            self._trust.record_seen_record(namespace, endpoint, verified.mark)
        return self._remember(KnownRecord(namespace, verified, now_ms, 0, signer), endpoint, self._cache_ms)

    def keeps_record(self, namespace: str, endpoint: str) -> bool:
        """Whether a record is at hand, however old."""
        known = self._known.get(endpoint)
        return known is not None and known.namespace == namespace and known.verified is not None

    def stale(self, namespace: str, endpoint: str, signer: HybridPublicKey | None) -> KnownRecord:
        """Return what is at hand although the gateway could not be asked; ask again after an interval.

        ``signer`` is who signs for the namespace now, None where that is not known.

        Raises:
            KeyUnavailableError: nothing is at hand, or it has expired.
            EndpointRecordRejectedError: somebody else signed it.
        """
        now_ms = self._clock_ms()
        known = self._known.get(endpoint)
        if known is None or known.namespace != namespace or _has_expired(known, now_ms):
            raise KeyUnavailableError(key_id=b"", namespace=namespace, which=MissingKey.ENDPOINT_RECORD)
        if known.verified is not None and signer not in {None, known.signer}:
            raise EndpointRecordRejectedError(ChainProblem.NOT_THE_SIGNER, namespace, endpoint)
        return self._remember(known._replace(fetched_at_ms=now_ms), endpoint, self._interval_ms)

    def _remember(self, known: KnownRecord, endpoint: str, for_ms: int) -> KnownRecord:
        until_ms = known.fetched_at_ms + for_ms
        if known.verified is not None:
            until_ms = min(until_ms, known.verified.record.expires_at_ms)
        kept = self._known[endpoint] = known._replace(fresh_until_ms=until_ms)
        return kept


def _has_expired(known: KnownRecord, now_ms: int) -> bool:
    return known.verified is not None and now_ms >= known.verified.record.expires_at_ms


class RecordDirectory:
    """Records for threads.

    ``fetch`` asks the gateway for the record of a namespace's endpoint, None when there is none, and raises
    DirectoryUnreachableError when it cannot be asked.
    """

    __slots__ = ("_fetch", "_signer", "cache")

    def __init__(
        self,
        cache: RecordCache,
        fetch: Callable[[str, str], SignedEndpointRecord | None],
        signer: FindSigner,
    ) -> None:
        self.cache = cache
        self._fetch = fetch
        self._signer = signer

    def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Return what is known of an endpoint that is pinned to a namespace; ``newest`` asks again.

        Raises:
            EndpointRecordRejectedError: the gateway's answer breaks a rule.
            KeyUnavailableError: the gateway cannot be reached and nothing is at hand.
            KeysError: the chain of the namespace is refused, or it is not pinned.
        """
        known = None if newest else self.cache.at_hand(namespace, endpoint)
        if known is not None:
            return known
        try:
            signed = self._fetch(namespace, endpoint)
        except DirectoryUnreachableError:
            return self.cache.stale(namespace, endpoint, self._signer_now(namespace, endpoint))
        if signed is None:
            return self.cache.accept(namespace, endpoint, None, None)
        try:
            return self.cache.accept(namespace, endpoint, signed, self._signer(namespace, newest=False))
        except EndpointRecordRejectedError as error:
            if error.problem is not ChainProblem.NOT_THE_SIGNER:
                raise
        # The root may have delegated to another signer meanwhile.
        return self.cache.accept(namespace, endpoint, signed, self._signer(namespace, newest=True))

    def _signer_now(self, namespace: str, endpoint: str) -> HybridPublicKey | None:
        """Return who signs now, as far as that is known and matters."""
        if not self.cache.keeps_record(namespace, endpoint):
            return None
        try:
            return self._signer(namespace, newest=False)
        except DirectoryUnreachableError:
            return None


class AsyncRecordDirectory:
    """Records for one event loop. ``fetch`` and ``signer`` are as for RecordDirectory."""

    __slots__ = ("_fetch", "_signer", "cache")

    def __init__(
        self,
        cache: RecordCache,
        fetch: Callable[[str, str], Awaitable[SignedEndpointRecord | None]],
        signer: AsyncFindSigner,
    ) -> None:
        self.cache = cache
        self._fetch = fetch
        self._signer = signer

    async def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Return what is known of an endpoint; the same promise and errors as ``RecordDirectory.record``."""
        known = None if newest else self.cache.at_hand(namespace, endpoint)
        if known is not None:
            return known
        try:
            signed = await self._fetch(namespace, endpoint)
        except DirectoryUnreachableError:
            return self.cache.stale(namespace, endpoint, await self._signer_now(namespace, endpoint))
        if signed is None:
            return self.cache.accept(namespace, endpoint, None, None)
        try:
            return self.cache.accept(namespace, endpoint, signed, await self._signer(namespace, newest=False))
        except EndpointRecordRejectedError as error:
            if error.problem is not ChainProblem.NOT_THE_SIGNER:
                raise
        return self.cache.accept(namespace, endpoint, signed, await self._signer(namespace, newest=True))

    async def _signer_now(self, namespace: str, endpoint: str) -> HybridPublicKey | None:
        """Return who signs now, as far as that is known and matters."""
        if not self.cache.keeps_record(namespace, endpoint):
            return None
        try:
            return await self._signer(namespace, newest=False)
        except DirectoryUnreachableError:
            return None


def signer_in(contents: KeyringContents, *, now_ms: int) -> HybridPublicKey | None:
    """Return who signs for one's own namespace as far as the keyring itself knows; None: nobody any more."""
    if contents.delegation is None:
        return None
    delegation = Delegation.decode(contents.delegation.statement)
    return delegation.signer if now_ms < delegation.expires_at_ms else None


def own_signer(signed: SignedKeyset, contents: KeyringContents, *, now_ms: int) -> HybridPublicKey:
    """Return who signs for one's own namespace, by the chain that the gateway shows.

    Raises:
        KeysetRejectedError: the root of this keyring does not vouch for it, it is older than what the keyring
            knows, or it has expired.
    """
    chain = read_own(signed, contents).chain
    known = contents.delegation
    if known is not None and Delegation.decode(known.statement).version > chain.delegation.version:
        raise KeysetRejectedError(ChainProblem.ROLLBACK, contents.namespace)
    try:
        check_time(chain, now_ms)
    except ChainError as error:
        raise KeysetRejectedError(error.problem, contents.namespace) from None
    return chain.delegation.signer
