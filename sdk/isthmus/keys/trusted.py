"""Whom one's own pins and the bundles of organizations together make one trust. No I/O and no clock.

**One's own pin wins.** What a bundle says about a namespace that is pinned to another root is ignored, and so
is its claim to an endpoint that one pinned to another namespace oneself. A bundle that names the same root,
or the newest one that the pinned root vouched for, adds its endpoints.

**Bundles that contradict each other decide nothing.** A namespace for which two of them name different roots,
or an endpoint that they give to different namespaces, is nobody's until one pins it oneself; also when one of
the bundles has ended meanwhile.

**A bundle ends.** What only bundles vouch for is trusted until the last of them ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isthmus.wire.bundle import BundleMarks
from isthmus.wire.bundle_statement import Bundle, BundlePin, SignedBundle
from isthmus.wire.chain import Mark, Marks
from isthmus.wire.keyset import format_fingerprint


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
    organizations: tuple[str, ...] = ()
    """Organizations whose bundles vouch for it, sorted."""
    expires_at_ms: int | None = None
    """When the last bundle ends that vouches for it; None: a pin of one's own, which does not end."""
    conflicts: tuple[str, ...] = ()
    """What bundles say differently, as sentences for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedBundle:
    """The newest bundle of an organization, verified when it was taken in."""

    fingerprint: bytes
    """The root of the organization that a person pinned."""
    signed: SignedBundle
    bundle: Bundle
    marks: BundleMarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of a namespace that only bundles vouch for."""

    fingerprint: bytes
    """The root that it was verified against."""
    seen: Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOwner:
    """To which namespace an endpoint belongs, and who says so."""

    namespace: str
    organizations: tuple[str, ...] = ()
    expires_at_ms: int | None = None
    """As of a TrustedNamespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustContents:
    """Everything that a trust store holds."""

    own: Mapping[str, TrustedNamespace] = field(default_factory=dict)
    """What was pinned here, by namespace."""
    bundles: Mapping[str, AcceptedBundle] = field(default_factory=dict)
    """By organization."""
    observed: Mapping[str, Observed] = field(default_factory=dict)
    """By namespace."""
    recipients: Mapping[str, bytes] = field(default_factory=dict)
    """Namespaces that may read along where the owner of an endpoint signed that they have to, each with the
    fingerprint that stood for it when a person consented: nobody else may who comes under that name."""
    records: Mapping[tuple[str, str], Mark] = field(default_factory=dict)
    """By namespace and endpoint: the newest record of it that was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What pins and bundles come to."""

    namespaces: Mapping[str, TrustedNamespace] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointOwner] = field(default_factory=dict)
    contested_namespaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For which bundles name different roots; by whom."""
    contested_endpoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Which bundles give to different namespaces; by whom."""


def combine(contents: TrustContents) -> Trusted:
    """Return whom the contents of a trust store make one trust."""
    says: dict[str, dict[str, BundlePin]] = {}
    for organization, accepted in sorted(contents.bundles.items()):
        for pin in accepted.bundle.pins:
            says.setdefault(pin.namespace, {})[organization] = pin
    ends = {name: accepted.bundle.expires_at_ms for name, accepted in contents.bundles.items()}
    namespaces = dict(contents.own)
    contested: dict[str, tuple[str, ...]] = {}
    agreeing: dict[str, dict[str, BundlePin]] = {}
    for namespace, pins in says.items():
        own = contents.own.get(namespace)
        if own is not None:
            agreeing[namespace] = {name: pin for name, pin in pins.items() if _agrees(own, pin)}
            conflicts = tuple(_differs(own, name, pin) for name, pin in pins.items() if not _agrees(own, pin))
            organizations = tuple(agreeing[namespace])
            namespaces[namespace] = replace(own, organizations=organizations, conflicts=conflicts)
        elif len(roots := {pin.fingerprint for pin in pins.values()}) > 1:
            contested[namespace] = tuple(pins)
        else:
            agreeing[namespace] = pins
            namespaces[namespace] = TrustedNamespace(
                namespace=namespace,
                fingerprint=(fingerprint := roots.pop()),
                seen=seen_under(contents.observed.get(namespace), fingerprint),
                organizations=tuple(pins),
                expires_at_ms=max(ends[name] for name in pins),
            )
    return _with_endpoints(contents, namespaces, agreeing, contested, ends)


def _with_endpoints(
    contents: TrustContents,
    namespaces: dict[str, TrustedNamespace],
    agreeing: dict[str, dict[str, BundlePin]],
    contested: dict[str, tuple[str, ...]],
    ends: dict[str, int],
) -> Trusted:
    owners = {
        endpoint: EndpointOwner(namespace=own.namespace)
        for own in contents.own.values()
        for endpoint in own.endpoints
    }
    claims: dict[str, dict[str, list[str]]] = {}
    for namespace, pins in agreeing.items():
        for organization, pin in pins.items():
            for endpoint in pin.endpoints:
                owner = owners.get(endpoint)
                if owner is None:
                    claims.setdefault(endpoint, {}).setdefault(namespace, []).append(organization)
                elif owner.namespace != namespace:
                    said = f"{organization} gives it {endpoint}, you pinned that to {owner.namespace}"
                    entry = namespaces[namespace]
                    namespaces[namespace] = replace(entry, conflicts=(*entry.conflicts, said))
    contested_endpoints: dict[str, tuple[str, ...]] = {}
    for endpoint, by in claims.items():
        if len(by) > 1:
            contested_endpoints[endpoint] = tuple(sorted({name for names in by.values() for name in names}))
            continue
        ((namespace, organizations),) = by.items()
        entry = namespaces[namespace]
        namespaces[namespace] = replace(entry, endpoints=tuple(sorted((*entry.endpoints, endpoint))))
        end_ms = max(ends[name] for name in organizations)
        owners[endpoint] = EndpointOwner(
            namespace=namespace, organizations=tuple(organizations), expires_at_ms=end_ms
        )
    return Trusted(
        namespaces=namespaces,
        endpoints=owners,
        contested_namespaces=contested,
        contested_endpoints=contested_endpoints,
    )


def _agrees(own: TrustedNamespace, pin: BundlePin) -> bool:
    vouched = own.seen is not None and own.seen.root.hash == pin.fingerprint
    return vouched or pin.fingerprint == own.fingerprint


def _differs(own: TrustedNamespace, organization: str, pin: BundlePin) -> str:
    theirs, yours = format_fingerprint(pin.fingerprint), format_fingerprint(own.fingerprint)
    return f"{organization} says {theirs}, you pinned {yours}"


def seen_under(observed: Observed | None, fingerprint: bytes) -> Marks | None:
    """Return what was seen under a root, or under one that vouched for it."""
    if observed is None or fingerprint not in {observed.fingerprint, observed.seen.root.hash}:
        return None
    return observed.seen
