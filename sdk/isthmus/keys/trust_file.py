"""The file of a trust store: JSON, for whoever opens it."""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from isthmus.keys.errors import TrustError
from isthmus.keys.trusted import AcceptedBundle, Observed, TrustContents, TrustedNamespace
from isthmus.wire.bundle import read_bundle
from isthmus.wire.bundle_statement import SignedBundle
from isthmus.wire.chain import Mark, Marks
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import DIGEST_BYTES, check_endpoint, check_namespace

FORMAT: Final = "isthmus-trust/2"


def check_pins(trusted: Mapping[str, TrustedNamespace]) -> None:
    """Require that pins are possible, and that no endpoint has two owners. Raises TrustError."""
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


def encode_trust(trust_domain: str, contents: TrustContents) -> bytes:
    """Serialize."""
    entries = [
        {
            "namespace": entry.namespace,
            "fingerprint": entry.fingerprint.hex(),
            "endpoints": list(entry.endpoints),
            "on_first_use": entry.on_first_use,
            "seen": None if entry.seen is None else _encode_seen(entry.seen),
        }
        for _, entry in sorted(contents.own.items())
    ]
    bundles = [
        {
            "organization": organization,
            "fingerprint": accepted.fingerprint.hex(),
            "signed": base64.b64encode(accepted.signed.encode()).decode(),
        }
        for organization, accepted in sorted(contents.bundles.items())
    ]
    observed = [
        {
            "namespace": namespace,
            "fingerprint": entry.fingerprint.hex(),
            "seen": _encode_seen(entry.seen),
        }
        for namespace, entry in sorted(contents.observed.items())
    ]
    document = {
        "format": FORMAT,
        "trust_domain": trust_domain,
        "namespaces": entries,
        "bundles": bundles,
        "observed": observed,
        "recipients": [
            {"namespace": namespace, "fingerprint": fingerprint.hex()}
            for namespace, fingerprint in sorted(contents.recipients.items())
        ],
        "records": [
            {"namespace": namespace, "endpoint": endpoint, **_encode_mark(mark)}
            for (namespace, endpoint), mark in sorted(contents.records.items())
        ],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decode_trust(data: bytes, trust_domain: str, name: str) -> TrustContents:
    """Parse; ``name`` is what messages call the store. Raises TrustError."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise TrustError(f"{name} is not of the format {FORMAT}")
        if document["trust_domain"] != trust_domain:
            raise TrustError(f"{name} belongs to another trust domain than {trust_domain}")
        entries = [_decode_entry(entry) for entry in document["namespaces"]]
        bundles = [_decode_bundle(entry) for entry in document.get("bundles", [])]
        observed = {
            str(entry["namespace"]): Observed(
                fingerprint=bytes.fromhex(entry["fingerprint"]), seen=_decode_seen(entry["seen"])
            )
            for entry in document.get("observed", [])
        }
        recipients = {
            str(entry["namespace"]): bytes.fromhex(entry["fingerprint"])
            for entry in document.get("recipients", [])
        }
        records = {
            (str(entry["namespace"]), str(entry["endpoint"])): _decode_mark(entry)
            for entry in document.get("records", [])
        }
    except (KeyError, TypeError, ValueError):
        raise TrustError(f"{name} is damaged") from None
    own = {entry.namespace: entry for entry in entries}
    if len(own) != len(entries):
        raise TrustError(f"{name} names a namespace twice")
    check_pins(own)
    by_organization = {accepted.bundle.organization: accepted for accepted in bundles}
    return TrustContents(
        own=own, bundles=by_organization, observed=observed, recipients=recipients, records=records
    )


def _decode_entry(entry: dict[str, Any]) -> TrustedNamespace:
    seen = entry["seen"]
    return TrustedNamespace(
        namespace=entry["namespace"],
        fingerprint=bytes.fromhex(entry["fingerprint"]),
        endpoints=tuple(entry["endpoints"]),
        on_first_use=bool(entry["on_first_use"]),
        seen=None if seen is None else _decode_seen(seen),
    )


def _decode_bundle(entry: dict[str, Any]) -> AcceptedBundle:
    signed = SignedBundle.decode(base64.b64decode(entry["signed"], validate=True))
    # Verified when it was taken in; whoever can write this file decides whom this end trusts anyway.
    bundle, marks = read_bundle(signed)
    return AcceptedBundle(
        fingerprint=bytes.fromhex(entry["fingerprint"]), signed=signed, bundle=bundle, marks=marks
    )


def _encode_seen(seen: Marks) -> dict[str, Any]:
    named = {"root": seen.root, "delegation": seen.delegation, "keyset": seen.keyset}
    return {name: _encode_mark(mark) for name, mark in named.items()}


def _decode_seen(entry: dict[str, Any]) -> Marks:
    root, delegation, keyset = (_decode_mark(entry[name]) for name in ("root", "delegation", "keyset"))
    return Marks(root=root, delegation=delegation, keyset=keyset)


def _encode_mark(mark: Mark) -> dict[str, Any]:
    return {"version": mark.version, "hash": mark.hash.hex()}


def _decode_mark(entry: dict[str, Any]) -> Mark:
    return Mark(version=int(entry["version"]), hash=bytes.fromhex(entry["hash"]))
