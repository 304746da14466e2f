"""Deletes blobs whose time is over, by their names; what is not named as blobs are is left alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from isthmus.blobs.name import kept_until
from isthmus.blobs.open_store import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A blob whose time is over."""

    url: str
    kept_until: datetime


def sweep(root: str, *, now: datetime, dry_run: bool) -> Iterator[Swept]:
    """Delete what is past its time below a prefix, one by one, and yield it; with ``dry_run`` only yield it.

    Raises:
        BlobUnavailableError: the store cannot be listed, or does not delete; what was yielded is gone.
    """
    store = open_store(root)
    for name in store.names():
        until = kept_until(name)
        if until is None or until > now:
            continue
        if not dry_run:
            store.delete(name)
        yield Swept(url=root + name, kept_until=until)
