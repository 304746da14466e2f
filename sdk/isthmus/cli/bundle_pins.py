"""The pins of a bundle, as whoever drafts it writes them down.

TOML, one table for each namespace::

    [[pins]]
    namespace = "app-team"
    fingerprint = "SHA256:…"
    endpoints = ["payments"]

or JSON, a list of the same: what ``isthmus --output json trust list`` prints is one; or a trust store's file.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.cli.exit_code import CliError
from isthmus.cli.fingerprint import parse_fingerprint
from isthmus.wire.bundle_statement import BundlePin

_NEEDED = frozenset({"namespace", "fingerprint"})
_LISTED = frozenset({"pinned_by", "ends_at", "keyset_version", "conflicts", "reads_along"})
"""What ``trust list`` says besides: nothing that belongs into a bundle."""
_ON_FIRST_USE = "the gateway, on first use"


def read_pins(path: Path) -> tuple[BundlePin, ...]:
    """Return the pins of a file. Raises CliError: it is none, or names a namespace that nobody confirmed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"cannot read {path}: {error}") from None
    try:
        document: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise CliError(f"{path} is neither TOML (by its name) nor JSON: {error}") from None
    listed: Any = document
    if isinstance(document, dict) and "namespaces" in document:
        listed = [_of_a_store(entry) for entry in document["namespaces"]]
    elif isinstance(document, dict):
        if set(document) != {"pins"}:
            raise CliError(f"{path} has something else than pins: {', '.join(sorted(document)) or 'nothing'}")
        listed = document["pins"]
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise CliError(
            f"{path} is no list of pins: write a table [[pins]] for each, or take what"
            " isthmus --output json trust list prints"
        )
    return tuple(_pin(entry, path) for entry in listed)


def _of_a_store(entry: Mapping[str, Any]) -> dict[str, Any]:
    pinned_by = _ON_FIRST_USE if entry.get("on_first_use") else "a person"
    kept = {name: entry.get(name) for name in ("namespace", "fingerprint", "endpoints")}
    return kept | {"pinned_by": pinned_by}


def _pin(entry: Mapping[str, Any], path: Path) -> BundlePin:
    lacking, unknown = _NEEDED - set(entry), set(entry) - _NEEDED - _LISTED - {"endpoints"}
    if lacking or unknown:
        wrong = f"lacks {', '.join(sorted(lacking))}" if lacking else f"has {', '.join(sorted(unknown))}"
        raise CliError(f"a pin in {path} {wrong}: it has namespace, fingerprint and endpoints")
    namespace, fingerprint, endpoints = entry["namespace"], entry["fingerprint"], entry.get("endpoints") or []
    texts = [namespace, fingerprint, *endpoints] if isinstance(endpoints, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise CliError(f"a pin in {path} is not made of text: {entry.get('namespace')!r}")
    if str(entry.get("pinned_by")).startswith(_ON_FIRST_USE):
        raise CliError(
            f"{namespace} in {path} was pinned on first use: compare its fingerprint with that team, and"
            " confirm it with isthmus trust add, before you vouch for it"
        )
    return BundlePin(
        namespace=namespace, fingerprint=parse_fingerprint(fingerprint), endpoints=tuple(endpoints)
    )
