"""A bundle on its way from one key holder of an organization to the next, until enough have signed.

A draft is a bundle that lacks signatures, in the same file. It is public: who changes it makes something
that nobody signed. What the file says in words has to be what is signed, so that a review of the file is one
of the bundle.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from isthmus.keys.errors import KeysError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.statements import add_signature, first_root, next_root
from isthmus.wire.bundle import check_bundle_form
from isthmus.wire.bundle_statement import Bundle, BundlePin, SignedBundle
from isthmus.wire.chain import DAY_MS
from isthmus.wire.errors import WireFormatError
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.keyset import format_fingerprint
from isthmus.wire.trust_statement import Root, SignedStatement, StatementKind

FORMAT: Final = "isthmus-bundle/1"
BUNDLE_LIFETIME_MS: Final = 90 * DAY_MS


def first_bundle(
    *,
    trust_domain: str,
    organization: str,
    keys: Sequence[HybridPublicKey],
    threshold: int,
    pins: Sequence[BundlePin],
    now_ms: int,
    lifetime_ms: int = BUNDLE_LIFETIME_MS,
) -> SignedBundle:
    """Draft the first bundle of an organization, and its root.

    Raises:
        ChainError: keys and threshold make no root, or the pins no bundle.
    """
    root = first_root(
        trust_domain=trust_domain, namespace=organization, keys=keys, threshold=threshold, now_ms=now_ms
    )
    roots = (SignedStatement(statement=root.encode()),)
    bundle = Bundle(
        trust_domain=trust_domain,
        organization=organization,
        version=1,
        previous_hash=b"",
        root_hash=roots[-1].hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lifetime_ms,
        pins=_sorted(pins),
    )
    return _draft(roots, bundle)


def next_bundle(
    before: SignedBundle,
    *,
    keys: Sequence[HybridPublicKey] = (),
    threshold: int = 1,
    pins: Sequence[BundlePin] | None = None,
    now_ms: int,
    lifetime_ms: int = BUNDLE_LIFETIME_MS,
) -> SignedBundle:
    """Draft the bundle that follows, with the same pins unless others are given; with keys, by a new root.

    Raises:
        KeysError: the bundle before lacks signatures.
        ChainError: keys and threshold make no root, or the pins no bundle.
    """
    if missing_signatures(before):
        raise KeysError("the bundle before lacks signatures: nobody has it yet, so draft it anew instead")
    roots = before.roots
    if keys:
        root = next_root(roots[-1], keys=keys, threshold=threshold, now_ms=now_ms)
        roots = (*roots, SignedStatement(statement=root.encode()))
    known = Bundle.decode(before.bundle.statement)
    bundle = replace(
        known,
        version=known.version + 1,
        previous_hash=before.hash,
        root_hash=roots[-1].hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lifetime_ms,
        pins=known.pins if pins is None else _sorted(pins),
    )
    return _draft(roots, bundle)


def sign_bundle(unsigned: SignedBundle, key: HybridPrivateKey) -> SignedBundle:
    """Add a key's signatures wherever it has a say. Repeated, it changes nothing that counts.

    Raises:
        KeysError: it has none: it is a key of neither root.
    """
    newest = Root.decode(unsigned.roots[-1].statement)
    old = Root.decode(unsigned.roots[-2].statement) if len(unsigned.roots) > 1 else None
    in_new, in_old = (root is not None and root.key(key.key_id) == key.public for root in (newest, old))
    is_new_root = bool(missing_signatures(unsigned).keys() & {"new root", "old root"})
    if not in_new and not (in_old and is_new_root):
        raise KeysError(f"the key {key.key_id.hex()} has nothing to sign in this bundle")
    roots, bundle = list(unsigned.roots), unsigned.bundle
    if is_new_root:
        roots[-1] = add_signature(StatementKind.ORGANIZATION_ROOT, roots[-1], key)
    if in_new:
        bundle = add_signature(StatementKind.BUNDLE, bundle, key)
    return SignedBundle(roots=tuple(roots), bundle=bundle)


def missing_signatures(signed: SignedBundle) -> dict[str, int]:
    """Return how many signatures are still missing, and from whom; only their number is looked at."""
    newest = Root.decode(signed.roots[-1].statement)
    wanted = {"new root": _missing(newest, signed.roots[-1]), "bundle": _missing(newest, signed.bundle)}
    if len(signed.roots) > 1:
        wanted["old root"] = _missing(Root.decode(signed.roots[-2].statement), signed.roots[-1])
    return {what: count for what, count in wanted.items() if count}


def encode_bundle_file(signed: SignedBundle) -> bytes:
    """Serialize: JSON that says what it is to whoever opens it."""
    return json.dumps(_document(signed), indent=2).encode() + b"\n"


def decode_bundle_file(data: bytes) -> SignedBundle:
    """Parse. Signatures are not verified. Raises KeysError."""
    try:
        document: dict[str, Any] = json.loads(data)
        if document["format"] != FORMAT:
            raise KeysError(f"this is no file of the format {FORMAT}")
        signed = SignedBundle.decode(base64.b64decode(document["signed"], validate=True))
        said = _document(signed)
    except (IndexError, KeyError, TypeError, ValueError, WireFormatError):
        raise KeysError("the bundle is damaged") from None
    if document != said:
        raise KeysError("the bundle's file says something else than what is signed: somebody changed it")
    return signed


def _document(signed: SignedBundle) -> dict[str, Any]:
    root, bundle = Root.decode(signed.roots[-1].statement), Bundle.decode(signed.bundle.statement)
    return {
        "format": FORMAT,
        "organization": bundle.organization,
        "trust_domain": bundle.trust_domain,
        "version": bundle.version,
        "issued_at_ms": bundle.issued_at_ms,
        "expires_at_ms": bundle.expires_at_ms,
        "root": {
            "version": root.version,
            "fingerprint": format_fingerprint(signed.roots[-1].hash),
            "threshold": root.threshold,
            "keys": [key.key_id.hex() for key in root.keys],
        },
        "pins": [
            {
                "namespace": pin.namespace,
                "fingerprint": format_fingerprint(pin.fingerprint),
                "endpoints": list(pin.endpoints),
            }
            for pin in bundle.pins
        ],
        "signed": base64.b64encode(signed.encode()).decode(),
    }


def _draft(roots: tuple[SignedStatement, ...], bundle: Bundle) -> SignedBundle:
    check_bundle_form(bundle)
    return SignedBundle(roots=roots, bundle=SignedStatement(statement=bundle.encode()))


def _sorted(pins: Sequence[BundlePin]) -> tuple[BundlePin, ...]:
    ordered = (replace(pin, endpoints=tuple(sorted(pin.endpoints))) for pin in pins)
    return tuple(sorted(ordered, key=lambda pin: pin.namespace))


def _missing(root: Root, signed: SignedStatement) -> int:
    by = {signature.key_id for signature in signed.signatures}
    return max(0, root.threshold - sum(key.key_id in by for key in root.keys))
