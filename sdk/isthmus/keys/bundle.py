"""Taking in the bundle of an organization: by the rules of ``isthmus.wire.bundle``, and never going back."""

from collections.abc import Mapping

from isthmus.keys.errors import BundleRejectedError, TrustError
from isthmus.keys.trusted import AcceptedBundle
from isthmus.wire.bundle import (
    check_bundle_progress,
    check_bundle_time,
    read_bundle,
    verify_bundle,
)
from isthmus.wire.bundle_statement import SignedBundle
from isthmus.wire.chain import ChainError


def accept_bundle(
    signed: SignedBundle,
    *,
    trust_domain: str,
    fingerprint: bytes | None,
    known: Mapping[str, AcceptedBundle],
    now_ms: int,
) -> AcceptedBundle:
    """Return a bundle that may replace the one that is known of its organization.

    Args:
        signed: as it was passed on.
        trust_domain: the expected deployment.
        fingerprint: of the organization's root; None for an organization that is known.
        known: the newest bundles, by organization.
        now_ms: Unix milliseconds.

    Raises:
        BundleRejectedError: it breaks a rule, or is older than the known one.
        TrustError: the root of the organization is not pinned, or another one is.
    """
    try:
        organization = read_bundle(signed)[0].organization
    except ChainError as error:
        raise BundleRejectedError(error, "an organization") from None
    before = known.get(organization)
    if before is None and fingerprint is None:
        raise TrustError(
            f"the root of {organization} is not pinned: compare its fingerprint with the people who hold it,"
            " and take the bundle in with: isthmus trust bundle add FILE --fingerprint SHA256:…"
        )
    pinned = before.fingerprint if before is not None else fingerprint
    if before is not None and fingerprint == before.marks.root.hash:
        # The root that is pinned vouched for this one: the organization rotated its root.
        pinned = fingerprint
    elif before is not None and fingerprint not in {None, before.fingerprint}:
        raise TrustError(
            f"another root of {organization} is pinned: remove it first, with: isthmus trust bundle remove"
        )
    assert pinned is not None  # noqa: S101
    try:
        verified = verify_bundle(
            signed, trust_domain=trust_domain, organization=organization, fingerprint=pinned
        )
        if before is not None:
            check_bundle_progress(verified, before.marks)
        check_bundle_time(verified, now_ms)
    except ChainError as error:
        raise BundleRejectedError(error, organization) from None
    return AcceptedBundle(fingerprint=pinned, signed=signed, bundle=verified.bundle, marks=verified.marks)
