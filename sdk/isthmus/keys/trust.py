"""Whom this end trusts: which root belongs to which namespace, which namespace to which endpoint.

All of it comes from people, not from the gateway, and no answer of the gateway changes it. The one exception
is trust on first use, for development: it must be switched on, and a pin that came from it says so for ever.

The file also remembers the newest root, delegation and keyset seen of each namespace, so that an older one is
refused even after a restart.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import Any, Final

from isthmus.keys.errors import KeyringError, TrustError
from isthmus.keys.keyset import Pin
from isthmus.keys.private_file import FileVersion, exclusive, read_private, replace_private, version_of
from isthmus.wire.chain import Mark, Marks
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import DIGEST_BYTES, check_endpoint, check_namespace, check_trust_domain

FORMAT: Final = "isthmus-trust/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedNamespace:
    """What is pinned about one namespace, and what was seen of it."""

    namespace: str
    fingerprint: bytes
    endpoints: tuple[str, ...] = ()
    """Endpoints that belong to it, sorted."""
    on_first_use: bool = False
    """Whether the fingerprint came from the gateway: fit for development only."""
    seen: Marks | None = None


class TrustStore:
    """Pins, in a private file or in memory. Safe to share between threads and processes."""

    __slots__ = ("_first_use", "_lock", "_name", "_path", "_trusted", "_version", "trust_domain")

    trust_domain: str

    def __init__(
        self, path: Path | None, *, trust_domain: str, allow_trust_on_first_use: bool = False
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
        self._version: FileVersion | None = None
        self._trusted: MappingProxyType[str, TrustedNamespace] = MappingProxyType({})
        self._reload()

    def namespaces(self) -> tuple[TrustedNamespace, ...]:
        """Return everything that is pinned, sorted by namespace."""
        self._reload()
        return tuple(self._trusted[name] for name in sorted(self._trusted))

    def trusted(self, namespace: str) -> TrustedNamespace | None:
        """Return what is pinned about a namespace."""
        found = self._trusted.get(namespace)
        if found is None:
            self._reload()
            found = self._trusted.get(namespace)
        return found

    def namespace_of_endpoint(self, endpoint: str) -> str:
        """Return the namespace that an endpoint is pinned to. Raises TrustError when it is pinned to none."""
        for _ in range(2):
            for trusted in self._trusted.values():
                if endpoint in trusted.endpoints:
                    return trusted.namespace
            self._reload()
        raise self._no_owner(endpoint)

    def pin(self, namespace: str, presented: bytes | None = None) -> Pin:
        """Return the pin of a namespace.

        ``presented`` is the fingerprint of the newest root as the gateway has it. When nothing is known about
        the namespace and trust on first use is on, it is the pin, stored as soon as a keyset verified.

        Raises:
            TrustError: the namespace is not pinned.

        """
        trusted = self.trusted(namespace)
        if trusted is not None:
            fingerprint = trusted.fingerprint
        elif presented is not None and self._first_use:
            fingerprint = presented
        else:
            raise self._not_trusted(namespace)
        return Pin(namespace=namespace, trust_domain=self.trust_domain, fingerprint=fingerprint)

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
        with self._changing() as trusted:
            before = trusted.get(namespace)
            if before is not None and before.seen is not None and before.seen.root.hash == fingerprint:
                # The root that is pinned vouched for this one: the team rotated its root.
                trusted[namespace] = before = replace(before, fingerprint=fingerprint)
            if before is not None and before.fingerprint != fingerprint:
                raise TrustError(
                    f"another fingerprint is pinned for {namespace} in {self._name}: remove it first"
                )
            if move_endpoints:
                _release(trusted, endpoints)
            known = trusted.get(namespace) or TrustedNamespace(namespace=namespace, fingerprint=fingerprint)
            # A person confirmed the fingerprint now, wherever it came from before.
            known = replace(known, endpoints=_merge(known.endpoints, endpoints), on_first_use=False)
            trusted[namespace] = known
        return known

    def add_endpoint_on_first_use(self, namespace: str, endpoint: str) -> None:
        """Pin an endpoint to a namespace because the gateway said so.

        Raises:
            TrustError: trust on first use is off, or the endpoint is pinned to another namespace.

        """
        if not self._first_use:
            raise self._no_owner(endpoint)
        with self._changing() as trusted:
            known = trusted.get(namespace)
            if known is None:
                raise self._not_trusted(namespace)
            trusted[namespace] = replace(known, endpoints=_merge(known.endpoints, (endpoint,)))

    def remove(self, namespace: str) -> None:
        """Forget a namespace with its endpoints. Nothing happens when it is not pinned."""
        with self._changing() as trusted:
            trusted.pop(namespace, None)

    def seen(self, namespace: str) -> Marks | None:
        """Return the newest statements that were ever verified."""
        self._reload()
        trusted = self._trusted.get(namespace)
        return None if trusted is None else trusted.seen

    def record_seen(self, pin: Pin, seen: Marks) -> None:
        """Remember the newest statements verified against a pin: durable before it returns, never older ones.

        Raises:
            TrustError: the pin is not (or no longer) that of the namespace, or another process saw another
                keyset of the same version.

        """
        namespace = pin.namespace
        if (known := self._trusted.get(namespace)) is not None and known.seen == seen:
            return
        with self._changing() as trusted:
            known = trusted.get(namespace)
            if known is None and self._first_use:
                known = TrustedNamespace(namespace=namespace, fingerprint=pin.fingerprint, on_first_use=True)
            if known is None or known.fingerprint != pin.fingerprint:
                raise self._not_trusted(namespace)
            newest = seen if known.seen is None else _newest(known.seen, seen)
            if newest is None:
                raise TrustError(
                    f"two keysets of {namespace} have the same version: {self._name} knows another one"
                )
            trusted[namespace] = replace(known, seen=newest)

    def _no_owner(self, endpoint: str) -> TrustError:
        return TrustError(f"no trusted namespace is pinned for the endpoint {endpoint} in {self._name}")

    def _not_trusted(self, namespace: str) -> TrustError:
        return TrustError(
            f"the namespace {namespace} is not trusted: pin its fingerprint in {self._name} first"
        )

    @contextmanager
    def _changing(self) -> Generator[dict[str, TrustedNamespace]]:
        with self._lock:
            if self._path is None:
                trusted = dict(self._trusted)
                yield trusted
                _check(trusted)
                self._trusted = MappingProxyType(trusted)
                return
            with exclusive(self._path):
                self._reload()
                trusted = dict(self._trusted)
                yield trusted
                if trusted != dict(self._trusted):
                    _check(trusted)
                    replace_private(self._path, _encode(self.trust_domain, trusted))
                    self._reload()

    def _reload(self) -> None:
        if self._path is None:
            return
        with self._lock:
            try:
                if version_of(self._path) == self._version:
                    return
                data, self._version = read_private(self._path)
            except FileNotFoundError:
                self._version, self._trusted = None, MappingProxyType({})
                return
            except KeyringError as error:
                raise TrustError(str(error)) from None
            self._trusted = MappingProxyType(_decode(data, self.trust_domain, self._name))


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


def _check(trusted: dict[str, TrustedNamespace]) -> None:
    owners: dict[str, str] = {}
    for entry in trusted.values():
        try:
            check_namespace(entry.namespace)
            for endpoint in entry.endpoints:
                check_endpoint(endpoint)
        except WireFormatError as error:
            raise TrustError(str(error)) from None
        if len(entry.fingerprint) != DIGEST_BYTES:
            raise TrustError(f"the fingerprint of {entry.namespace} is not {DIGEST_BYTES} bytes")
        for endpoint in entry.endpoints:
            owner = owners.setdefault(endpoint, entry.namespace)
            if owner != entry.namespace:
                raise TrustError(f"the endpoint {endpoint} is pinned to {owner} and to {entry.namespace}")


def _encode(trust_domain: str, trusted: dict[str, TrustedNamespace]) -> bytes:
    entries = [
        {
            "namespace": entry.namespace,
            "fingerprint": entry.fingerprint.hex(),
            "endpoints": list(entry.endpoints),
            "on_first_use": entry.on_first_use,
            "seen": None if entry.seen is None else _encode_seen(entry.seen),
        }
        for _, entry in sorted(trusted.items())
    ]
    document = {"format": FORMAT, "trust_domain": trust_domain, "namespaces": entries}
    return json.dumps(document, indent=2).encode() + b"\n"


def _decode(data: bytes, trust_domain: str, name: str) -> dict[str, TrustedNamespace]:
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise TrustError(f"{name} is not of the format {FORMAT}")
        if document["trust_domain"] != trust_domain:
            raise TrustError(f"{name} belongs to another trust domain than {trust_domain}")
        entries = [_decode_entry(entry) for entry in document["namespaces"]]
    except (KeyError, TypeError, ValueError):
        raise TrustError(f"{name} is damaged") from None
    trusted = {entry.namespace: entry for entry in entries}
    if len(trusted) != len(entries):
        raise TrustError(f"{name} names a namespace twice")
    _check(trusted)
    return trusted


def _decode_entry(entry: dict[str, Any]) -> TrustedNamespace:
    seen = entry["seen"]
    return TrustedNamespace(
        namespace=entry["namespace"],
        fingerprint=bytes.fromhex(entry["fingerprint"]),
        endpoints=tuple(entry["endpoints"]),
        on_first_use=bool(entry["on_first_use"]),
        seen=None if seen is None else _decode_seen(seen),
    )


def _encode_seen(seen: Marks) -> dict[str, Any]:
    named = {"root": seen.root, "delegation": seen.delegation, "keyset": seen.keyset}
    return {name: {"version": mark.version, "hash": mark.hash.hex()} for name, mark in named.items()}


def _decode_seen(entry: dict[str, Any]) -> Marks:
    root, delegation, keyset = (
        Mark(version=int(entry[name]["version"]), hash=bytes.fromhex(entry[name]["hash"]))
        for name in ("root", "delegation", "keyset")
    )
    return Marks(root=root, delegation=delegation, keyset=keyset)
