"""Whom this end trusts: which root belongs to which namespace, which namespace to which endpoint.

All of it comes from people, not from the gateway, and no answer of the gateway changes it: pins of one's own,
and bundles that an organization signed (``isthmus.keys.trusted`` says what they come to together). The one
exception is trust on first use, for development: it must be switched on, and a pin that came from it says so
for ever.

The file also remembers the newest root, delegation and keyset seen of each namespace, and the newest root and
bundle of each organization, and the newest record of each endpoint, so that an older one is refused even
after a restart.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock

from isthmus.keys.bundle import accept_bundle
from isthmus.keys.errors import BundleExpiredError, KeyringError, RecipientError, TrustError
from isthmus.keys.keyset import Pin
from isthmus.keys.private_file import FileVersion, exclusive, read_private, replace_private, version_of
from isthmus.keys.trust_file import check_pins, decode_trust, encode_trust
from isthmus.keys.trusted import (
    AcceptedBundle,
    Observed,
    TrustContents,
    Trusted,
    TrustedNamespace,
    combine,
    seen_under,
)
from isthmus.wire.bundle_statement import SignedBundle
from isthmus.wire.chain import Mark, Marks
from isthmus.wire.names import check_trust_domain


@dataclass(slots=True, kw_only=True)
class _Changing:
    """The contents of a store while one changes them."""

    own: dict[str, TrustedNamespace] = field(default_factory=dict)
    bundles: dict[str, AcceptedBundle] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    recipients: dict[str, bytes] = field(default_factory=dict)
    records: dict[tuple[str, str], Mark] = field(default_factory=dict)

    def contents(self) -> TrustContents:
        """Return them as they are now, without what was seen of those whom no bundle vouches for."""
        namespaces = combine(TrustContents(own=self.own, bundles=self.bundles)).namespaces
        observed = {name: seen for name, seen in self.observed.items() if name in namespaces}
        return TrustContents(
            own=dict(self.own),
            bundles=dict(self.bundles),
            observed=observed,
            recipients=dict(self.recipients),
            records=dict(self.records),
        )


class TrustStore:
    """Pins, in a private file or in memory. Safe to share between threads and processes."""

    __slots__ = (
        "_clock_ms",
        "_consented",
        "_contents",
        "_first_use",
        "_lock",
        "_name",
        "_path",
        "_trusted",
        "_version",
        "trust_domain",
    )

    trust_domain: str

    def __init__(
        self,
        path: Path | None,
        *,
        trust_domain: str,
        allow_trust_on_first_use: bool = False,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Open a trust store; a file that is not there yet is an empty one, ``None`` lives in memory only.

        Raises:
            TrustError: the file is damaged, unsafe, contradictory, or of another trust domain.

        """
        self.trust_domain = check_trust_domain(trust_domain)
        self._path = path
        self._name = "the trust store" if path is None else f"the trust store {path}"
        self._first_use = allow_trust_on_first_use
        self._lock = RLock()
        self._clock_ms = clock_ms
        self._version: FileVersion | None = None
        self._use(TrustContents())
        self._reload()

    def rehearsal(self) -> "TrustStore":
        """Return a copy in memory: what is done to it says what would happen, and changes no file."""
        self._reload()
        copy = TrustStore(None, trust_domain=self.trust_domain, clock_ms=self._clock_ms)
        copy._use(self._contents)
        return copy

    def namespaces(self) -> tuple[TrustedNamespace, ...]:
        """Return everybody who is pinned, or vouched for by a bundle, sorted by namespace."""
        namespaces = self.everything().namespaces
        return tuple(namespaces[name] for name in sorted(namespaces))

    def everything(self) -> Trusted:
        """Return whom pins and bundles make one trust, and what bundles contradict each other about."""
        self._reload()
        return self._trusted

    def trusted(self, namespace: str) -> TrustedNamespace | None:
        """Return what is pinned about a namespace, by oneself or by a bundle, even one that has ended."""
        found = self._trusted.namespaces.get(namespace)
        if found is None:
            self._reload()
            found = self._trusted.namespaces.get(namespace)
        return found

    def namespace_of_endpoint(self, endpoint: str) -> str:
        """Return the namespace that an endpoint is pinned to.

        Raises:
            TrustError: it is pinned to none, or bundles contradict each other about it.
            BundleExpiredError: only bundles say whose it is, and they have ended.
        """
        owner = self._trusted.endpoints.get(endpoint)
        if owner is None or self._is_over(owner.expires_at_ms):
            self._reload()
            owner = self._trusted.endpoints.get(endpoint)
        if owner is not None:
            if self._is_over(owner.expires_at_ms):
                raise BundleExpiredError(f"the endpoint {endpoint}", owner.organizations)
            return owner.namespace
        if endpoint in self._trusted.contested_endpoints:
            raise _contested(f"the endpoint {endpoint}", self._trusted.contested_endpoints[endpoint])
        raise self._no_owner(endpoint)

    def pin(self, namespace: str, presented: bytes | None = None) -> Pin:
        """Return the pin of a namespace.

        ``presented`` is the fingerprint of the newest root as the gateway has it. When nothing is known about
        the namespace and trust on first use is on, it is the pin, stored as soon as a keyset verified.

        Raises:
            TrustError: the namespace is not pinned, or bundles contradict each other about it.
            BundleExpiredError: only bundles vouch for it, and they have ended.

        """
        trusted = self.trusted(namespace)
        if trusted is not None and self._is_over(trusted.expires_at_ms):
            self._reload()
            trusted = self.trusted(namespace)
        expires_at_ms = None
        if trusted is not None:
            if self._is_over(trusted.expires_at_ms):
                raise BundleExpiredError(f"the namespace {namespace}", trusted.organizations)
            fingerprint, expires_at_ms = trusted.fingerprint, trusted.expires_at_ms
        elif namespace in self._trusted.contested_namespaces:
            raise _contested(f"the namespace {namespace}", self._trusted.contested_namespaces[namespace])
        elif presented is not None and self._first_use:
            fingerprint = presented
        else:
            raise self._not_trusted(namespace)
        return Pin(
            namespace=namespace,
            trust_domain=self.trust_domain,
            fingerprint=fingerprint,
            expires_at_ms=expires_at_ms,
        )

    def newest_pin(self, namespace: str) -> Pin:
        """Return the pin of a namespace as the file says it now. Raises as ``pin``."""
        self._reload()
        return self.pin(namespace)

    def add(
        self,
        namespace: str,
        fingerprint: bytes,
        *,
        endpoints: tuple[str, ...] = (),
        move_endpoints: bool = False,
    ) -> TrustedNamespace:
        """Pin a namespace's root, and endpoints to it. Repeated with the same values it changes nothing.

        With ``move_endpoints`` those that are pinned to another namespace are not any more: they were handed
        over, as a person has made sure.

        Raises:
            TrustError: another fingerprint is pinned (remove it first), or an endpoint belongs to another
                namespace already.

        """
        with self._changing() as changing:
            trusted = changing.own
            before = trusted.get(namespace)
            if before is not None and before.seen is not None and before.seen.root.hash == fingerprint:
                # The root that is pinned vouched for this one: the team rotated its root.
                trusted[namespace] = before = replace(before, fingerprint=fingerprint)
                if namespace in self._consented:
                    changing.recipients[namespace] = fingerprint
            if before is not None and before.fingerprint != fingerprint:
                raise TrustError(
                    f"another fingerprint is pinned for {namespace} in {self._name}: remove it first"
                )
            if move_endpoints:
                _release(trusted, endpoints)
            known = trusted.get(namespace) or TrustedNamespace(
                namespace=namespace,
                fingerprint=fingerprint,
                seen=seen_under(changing.observed.get(namespace), fingerprint),
            )
            # A person confirmed the fingerprint now, wherever it came from before.
            known = replace(known, endpoints=_merge(known.endpoints, endpoints), on_first_use=False)
            trusted[namespace] = known
        return self._trusted.namespaces.get(namespace, known)

    def add_endpoint_on_first_use(self, namespace: str, endpoint: str) -> None:
        """Pin an endpoint to a namespace because the gateway said so.

        Raises:
            TrustError: trust on first use is off, or the endpoint is pinned to another namespace.

        """
        if not self._first_use or endpoint in self._trusted.contested_endpoints:
            raise self._no_owner(endpoint)
        with self._changing() as changing:
            trusted = changing.own
            known = trusted.get(namespace)
            if known is None:
                raise self._not_trusted(namespace)
            trusted[namespace] = replace(known, endpoints=_merge(known.endpoints, (endpoint,)))

    def remove(self, namespace: str) -> None:
        """Forget one's own pin of a namespace, with its endpoints. Nothing happens when there is none.

        A bundle that vouches for the namespace goes on doing so.
        """
        with self._changing() as changing:
            forgotten = changing.own.pop(namespace, None)
            if forgotten is not None and forgotten.seen is not None:
                # For those whom a bundle vouches for; of the others nothing is kept.
                changing.observed[namespace] = Observed(
                    fingerprint=forgotten.fingerprint, seen=forgotten.seen
                )
            changing.recipients.pop(namespace, None)
            if namespace not in combine(changing.contents()).namespaces:
                for key in [key for key in changing.records if key[0] == namespace]:
                    del changing.records[key]

    def recipients(self) -> frozenset[str]:
        """Return the namespaces that may read along."""
        self._reload()
        return self._consented

    def set_recipient(self, namespace: str, *, consent: bool) -> None:
        """Let a namespace read along where the owner of an endpoint signed that it has to, or not any more.

        Raises:
            TrustError: it is to, and nobody vouches for its root here.
        """
        with self._changing() as changing:
            if not consent:
                changing.recipients.pop(namespace, None)
            elif (trusted := self._trusted.namespaces.get(namespace)) is not None:
                changing.recipients[namespace] = trusted.fingerprint
            else:
                raise self._not_trusted(namespace)

    def require_recipient(self, namespace: str, endpoint: str) -> None:
        """Require that a person consented to seal to a namespace besides the two of a call.

        Raises:
            RecipientError: nobody did.
        """
        if namespace in self._consented:
            return
        if namespace not in self.recipients():
            raise RecipientError(namespace, endpoint, is_pinned=self.trusted(namespace) is not None)

    def seen_record(self, namespace: str, endpoint: str) -> Mark | None:
        """Return the newest record of an endpoint that was ever verified, None when none was."""
        self._reload()
        return self._contents.records.get((namespace, endpoint))

    def record_seen_record(self, namespace: str, endpoint: str, mark: Mark) -> None:
        """Remember the newest record of an endpoint: durable before it returns, never an older one.

        Raises:
            TrustError: another process saw another record of the same version.
        """
        key = (namespace, endpoint)
        if self._contents.records.get(key) == mark:
            return
        with self._changing() as changing:
            known = changing.records.get(key)
            if known is not None and known.version == mark.version and known != mark:
                raise TrustError(
                    f"two records of {endpoint} have the same version: {self._name} knows another one"
                )
            if known is None or known.version < mark.version:
                changing.records[key] = mark

    def bundles(self) -> tuple[AcceptedBundle, ...]:
        """Return the newest bundle of each organization, sorted by organization."""
        self._reload()
        return tuple(bundle for _, bundle in sorted(self._contents.bundles.items()))

    def take_bundle(self, signed: SignedBundle, *, fingerprint: bytes | None = None) -> AcceptedBundle:
        """Trust whom an organization vouches for from now on, instead of whom its last bundle did.

        Args:
            signed: as it was passed on.
            fingerprint: of the organization's root, as a person compared it; None for an organization whose
                root is pinned already. Repeated with the same values it changes nothing.

        Raises:
            BundleRejectedError: it breaks a rule, or is older than the one that is there.
            TrustError: the root of the organization is not pinned, or another one is.
        """
        with self._changing() as changing:
            accepted = accept_bundle(
                signed,
                trust_domain=self.trust_domain,
                fingerprint=fingerprint,
                known=changing.bundles,
                now_ms=self._clock_ms(),
            )
            changing.bundles[accepted.bundle.organization] = accepted
        return accepted

    def remove_bundle(self, organization: str) -> None:
        """Forget an organization: whom only it vouches for is not trusted any more."""
        with self._changing() as changing:
            changing.bundles.pop(organization, None)

    def seen(self, namespace: str) -> Marks | None:
        """Return the newest statements that were ever verified."""
        self._reload()
        trusted = self._trusted.namespaces.get(namespace)
        return None if trusted is None else trusted.seen

    def record_seen(self, pin: Pin, seen: Marks) -> None:
        """Remember the newest statements verified against a pin: durable before it returns, never older ones.

        Raises:
            TrustError: the pin is not (or no longer) that of the namespace, or another process saw another
                keyset of the same version.

        """
        namespace = pin.namespace
        if (known := self._trusted.namespaces.get(namespace)) is not None and known.seen == seen:
            return
        with self._changing() as changing:
            # Not from what is being changed: nothing of it is yet.
            known = self._trusted.namespaces.get(namespace)
            is_new = known is None and namespace not in self._trusted.contested_namespaces
            if is_new and self._first_use:
                known = TrustedNamespace(namespace=namespace, fingerprint=pin.fingerprint, on_first_use=True)
                changing.own[namespace] = known
            if known is None or known.fingerprint != pin.fingerprint:
                raise self._not_trusted(namespace)
            newest = seen if known.seen is None else _newest(known.seen, seen)
            if newest is None:
                raise TrustError(
                    f"two keysets of {namespace} have the same version: {self._name} knows another one"
                )
            if (own := changing.own.get(namespace)) is not None:
                changing.own[namespace] = replace(own, seen=newest)
            else:
                changing.observed[namespace] = Observed(fingerprint=known.fingerprint, seen=newest)

    def _is_over(self, expires_at_ms: int | None) -> bool:
        return expires_at_ms is not None and self._clock_ms() >= expires_at_ms

    def _no_owner(self, endpoint: str) -> TrustError:
        return TrustError(
            f"no trusted namespace is pinned for the endpoint {endpoint} in {self._name}; ask its team for"
            " the fingerprint of its root key and run: isthmus trust add NAMESPACE --fingerprint SHA256:…"
            f" --endpoint {endpoint}"
        )

    def _not_trusted(self, namespace: str) -> TrustError:
        return TrustError(
            f"the namespace {namespace} is not trusted: pin its fingerprint in {self._name} first"
        )

    @contextmanager
    def _changing(self) -> Generator[_Changing]:
        with self._lock:
            if self._path is None:
                changing = self._change()
                yield changing
                check_pins(changing.own)
                self._use(changing.contents())
                return
            with exclusive(self._path):
                self._reload()
                changing = self._change()
                yield changing
                contents = changing.contents()
                if contents != self._contents:
                    check_pins(contents.own)
                    replace_private(self._path, encode_trust(self.trust_domain, contents))
                    self._reload()

    def _change(self) -> _Changing:
        now = self._contents
        return _Changing(
            own=dict(now.own),
            bundles=dict(now.bundles),
            observed=dict(now.observed),
            recipients=dict(now.recipients),
            records=dict(now.records),
        )

    def _use(self, contents: TrustContents) -> None:
        self._contents, self._trusted = contents, combine(contents)
        self._consented = frozenset(
            namespace
            for namespace, fingerprint in contents.recipients.items()
            if (trusted := self._trusted.namespaces.get(namespace)) is not None
            and trusted.fingerprint == fingerprint
        )

    def _reload(self) -> None:
        if self._path is None:
            return
        with self._lock:
            try:
                if version_of(self._path) == self._version:
                    return
                data, self._version = read_private(self._path)
            except FileNotFoundError:
                self._version = None
                self._use(TrustContents())
                return
            except KeyringError as error:
                raise TrustError(str(error)) from None
            self._use(decode_trust(data, self.trust_domain, self._name))


def _newest(known: Marks, seen: Marks) -> Marks | None:
    """Return the newer of each; None when two of the same version differ."""
    pairs = ((known.root, seen.root), (known.delegation, seen.delegation), (known.keyset, seen.keyset))
    if any(mark.version == other.version and mark != other for mark, other in pairs):
        return None
    root, delegation, keyset = (max(pair, key=lambda mark: mark.version) for pair in pairs)
    return Marks(root=root, delegation=delegation, keyset=keyset)


def _release(trusted: dict[str, TrustedNamespace], endpoints: tuple[str, ...]) -> None:
    """Take endpoints away from whom they are pinned to."""
    for namespace, entry in trusted.items():
        kept = tuple(endpoint for endpoint in entry.endpoints if endpoint not in endpoints)
        trusted[namespace] = replace(entry, endpoints=kept)


def _merge(endpoints: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*endpoints, *added}))


def _contested(what: str, organizations: tuple[str, ...]) -> TrustError:
    return TrustError(
        f"the bundles of {' and '.join(organizations)} contradict each other about {what}:"
        " pin it yourself, with: isthmus trust add"
    )
