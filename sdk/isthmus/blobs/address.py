"""Where blobs are: URLs, the prefixes that a team allows, and which one covers a URL.

A URL is ``s3://bucket/key`` or ``file:///folder/file``. It is compared as text, so there is one way to write
it: no escapes, no ``.`` or ``..``, no empty segment, no user, port, query or fragment. What cannot be written
this way is not read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from isthmus.blobs.errors import BlobRefusedError
from isthmus.blobs.name import is_blob_name
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_namespace

MAX_URL_CHARS: Final = 1024
# The root of a file system, or a whole bucket, is a prefix too: ``file:///`` and ``s3://bucket/``.
_PREFIX: Final = re.compile(
    r"(file:///|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/)([A-Za-z0-9._=+@~-]+/)*", re.ASCII
)
_DOTS: Final = re.compile(r"/\.{1,2}(/|$)")

Prefixes = Mapping[str, tuple[str, ...]]
"""Allowed prefixes by the namespace that sends."""


@dataclass(frozen=True, slots=True)
class Place:
    """A blob: the configured prefix that it is below, and its name there."""

    root: str
    name: str

    @property
    def url(self) -> str:
        """What a pointer carries."""
        return self.root + self.name


def check_prefix(prefix: str, *, setting: str) -> str:
    """Return a prefix that ends at a slash: without it ``…/data`` would cover ``…/data-of-others`` too.

    Raises:
        ConfigurationError: it is written in another way; the message says how.
    """
    if len(prefix) > MAX_URL_CHARS or _PREFIX.fullmatch(prefix) is None or _DOTS.search(prefix):
        raise ConfigurationError(
            f"{setting} is file:///folder/ or s3://bucket/folder/, with a slash at the end and without"
            f" escapes, dots, user or query, not {prefix!r}"
        )
    return prefix


def check_prefixes(prefixes: Mapping[str, Iterable[str]]) -> Prefixes:
    """Return what each namespace may let this end read. Raises ConfigurationError."""
    checked: dict[str, tuple[str, ...]] = {}
    for namespace, allowed in prefixes.items():
        try:
            check_namespace(namespace)
        except WireFormatError as error:
            raise ConfigurationError(f"blob_prefixes: {error}") from None
        checked[namespace] = tuple(check_prefix(prefix, setting="blob_prefixes") for prefix in allowed)
    return checked


def locate(url: str, *, sender_namespace: str, prefixes: Prefixes) -> Place:
    """Return where a blob is if its sender may point there. Looks at text only: nothing is read.

    Raises:
        BlobRefusedError: it is below none of the sender's prefixes, or is not named as blobs are.
    """
    if len(url) <= MAX_URL_CHARS:
        for root in prefixes.get(sender_namespace, ()):
            if url.startswith(root) and (place := _below(root, url[len(root) :])) is not None:
                return place
    raise BlobRefusedError(
        f"the claim check of {sender_namespace} points to a place that is not allowed to that namespace by"
        " the recipient, who adds it to blob_prefixes if it should be"
    )


def _below(root: str, rest: str) -> Place | None:
    """Take apart what follows an allowed prefix: deeper folders, the recipient's folder, a blob's name."""
    folders, slash, name = rest.rpartition("/")
    above, more, recipient = folders.rpartition("/")
    folder = root + above + more
    clean = _PREFIX.fullmatch(folder) is not None and not _DOTS.search(folder)
    return Place(root, rest) if clean and is_blob_name(recipient + slash + name) else None
