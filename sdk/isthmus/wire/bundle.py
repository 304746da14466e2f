"""Whom an organization's teams trust, from its pinned root to its pins. It does no I/O and has no clock.

Everything is of one trust domain and one organization, the expected ones, and nothing was issued in the
future (clocks may differ by a minute). Every statement is in its canonical form, signatures are as in a
chain.

**Roots.** Those of a chain (``isthmus.wire.chain``), with the organization in place of the namespace, signed
in a context of their own: no root of a namespace is one of an organization, whatever their names.

**Bundle.** Signed by the threshold of the newest root, which it names by its hash. It lives at most 366 days.
At most 4096 namespaces, sorted and each once; a fingerprint is 32 bytes; names are valid. The endpoints of a
namespace are sorted and each is there once, **and no other namespace of the bundle has it**.

**Time.** A bundle is current until it ends. Nothing but the next one makes it live longer.

**Progress.** Of roots and bundles the newest version that was seen is remembered with its hash: an older one
is refused, another one of the same version is, and so is a next bundle that does not name the hash of the
one before, or one that leaves out more than 2^20 versions. A root that follows the newest one seen must come
after it among these very roots.
"""

from dataclasses import dataclass

from isthmus.wire import limits
from isthmus.wire.bundle_statement import Bundle, BundlePin, SignedBundle
from isthmus.wire.chain import (
    DAY_MS,
    ChainError,
    ChainProblem,
    Mark,
    check_life,
    check_mark,
    check_same_roots,
    check_signed_by_root,
    check_version,
    marks_of,
    require,
    verify_roots,
)
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import DIGEST_BYTES, check_endpoint, check_namespace, check_trust_domain
from isthmus.wire.trust_statement import Root, StatementKind

MAX_PINS = 4096
MAX_BUNDLE_LIFE_MS = 366 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleMarks:
    """The newest statements of an organization that were ever verified."""

    root: Mark
    bundle: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle that satisfies every rule but those of time and progress."""

    root: Root
    bundle: Bundle
    marks: BundleMarks
    roots: tuple[Mark, ...]
    """All roots, the newest last."""


def verify_bundle(
    signed: SignedBundle, *, trust_domain: str, organization: str, fingerprint: bytes | None
) -> VerifiedBundle:
    """Return what a bundle says when it satisfies the rules that depend on nothing but itself and the pin.

    Args:
        signed: as it was passed on.
        trust_domain: the expected deployment.
        organization: whose bundle it has to be.
        fingerprint: the hash of the pinned root; None where nothing is pinned: the first root counts.

    Raises:
        ChainError: it breaks a rule.
    """
    roots = verify_roots(
        signed.roots,
        trust_domain=trust_domain,
        namespace=organization,
        fingerprint=fingerprint,
        kind=StatementKind.ORGANIZATION_ROOT,
    )
    bundle, marks = read_bundle(signed)
    foreign = f"not of the trust domain {trust_domain}"
    require(bundle.trust_domain == trust_domain, ChainProblem.TRUST_DOMAIN, foreign)
    require(bundle.organization == organization, ChainProblem.NAMESPACE, "of another organization")
    require(bundle.root_hash == signed.roots[-1].hash, ChainProblem.BUNDLE, "not of the newest root")
    check_bundle_form(bundle)
    check_signed_by_root(signed.bundle, StatementKind.BUNDLE, roots[-1])
    return VerifiedBundle(root=roots[-1], bundle=bundle, marks=marks, roots=marks_of(signed.roots, roots))


def read_bundle(signed: SignedBundle) -> tuple[Bundle, BundleMarks]:
    """Return what a bundle says, and what it is remembered by; only its form is looked at.

    Raises:
        ChainError: it is no bundle.
    """
    try:
        root = Root.decode(signed.roots[-1].statement)
        bundle = Bundle.decode(signed.bundle.statement)
    except (IndexError, WireFormatError):
        raise ChainError(ChainProblem.MALFORMED, "this is no bundle") from None
    return bundle, BundleMarks(
        root=Mark(version=root.version, hash=signed.roots[-1].hash),
        bundle=Mark(version=bundle.version, hash=signed.hash),
    )


def check_bundle_time(verified: VerifiedBundle, now_ms: int) -> None:
    """Require that a bundle is current. Raises ChainError."""
    for statement in (verified.root, verified.bundle):
        early = statement.issued_at_ms > now_ms + limits.CLOCK_SKEW_MS
        require(not early, ChainProblem.FUTURE, "issued in the future")
    require(now_ms < verified.bundle.expires_at_ms, ChainProblem.EXPIRED, "the bundle has expired")


def check_bundle_progress(verified: VerifiedBundle, seen: BundleMarks) -> None:
    """Require that nothing is older than, or contradicts, what was seen before. Raises ChainError."""
    check_mark(verified.marks.root, seen.root)
    check_mark(verified.marks.bundle, seen.bundle)
    check_same_roots(verified.roots, seen.root)
    if verified.bundle.version == seen.bundle.version + 1:
        named = verified.bundle.previous_hash == seen.bundle.hash
        require(named, ChainProblem.CHAIN, "the bundle does not name the one before")


def check_bundle_form(bundle: Bundle) -> None:
    """Require what makes a bundle sensible, whoever signed it. Raises ChainError."""
    problem = ChainProblem.BUNDLE
    check_version(bundle.version, bundle.previous_hash, problem)
    require(len(bundle.root_hash) == DIGEST_BYTES, problem, "it names no root")
    require(bundle.issued_at_ms > 0, problem, "issued_at is missing")
    check_life(bundle.issued_at_ms, bundle.expires_at_ms, MAX_BUNDLE_LIFE_MS, problem)
    require(len(bundle.pins) <= MAX_PINS, problem, f"a bundle has at most {MAX_PINS} namespaces")
    namespaces = [pin.namespace for pin in bundle.pins]
    ordered = namespaces == sorted(set(namespaces))
    require(ordered, ChainProblem.DUPLICATE, "the namespaces are not sorted and unique")
    try:
        check_trust_domain(bundle.trust_domain)
        check_namespace(bundle.organization)
        owners: dict[str, str] = {}
        for pin in bundle.pins:
            _check_pin(pin, owners)
    except WireFormatError as error:
        raise ChainError(problem, str(error)) from None


def _check_pin(pin: BundlePin, owners: dict[str, str]) -> None:
    check_namespace(pin.namespace)
    wrong = f"the fingerprint of {pin.namespace} is not {DIGEST_BYTES} bytes"
    require(len(pin.fingerprint) == DIGEST_BYTES, ChainProblem.BUNDLE, wrong)
    ordered = list(pin.endpoints) == sorted(set(pin.endpoints))
    require(ordered, ChainProblem.DUPLICATE, f"the endpoints of {pin.namespace} are not sorted and unique")
    for endpoint in pin.endpoints:
        check_endpoint(endpoint)
        owner = owners.setdefault(endpoint, pin.namespace)
        twice = f"{owner} and {pin.namespace} both claim the endpoint {endpoint}"
        require(owner == pin.namespace, ChainProblem.CLAIMED_TWICE, twice)
