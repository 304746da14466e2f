"""Waits of the SDK, cut short: what takes minutes of patience in production takes no time of a test."""

from functools import partial

import pytest

from isthmus.client import engine, flows
from isthmus.keys.directory import KeysetCache
from isthmus.transport import session
from isthmus.transport.backoff import Backoff
from isthmus.worker import link, outbox


def in_a_hurry(patch: pytest.MonkeyPatch) -> None:
    """Shorten pauses before something is tried again, and how long a keyset is used without asking."""
    soon = Backoff(initial_seconds=0.005, maximum_seconds=0.05)
    patch.setattr(flows, "_REFRESH_PAUSES_SECONDS", (0.0, 0.02))
    patch.setattr(flows, "_PAUSES_AND_END", (0.0, 0.02, None))
    patch.setattr(
        engine, "KeysetCache", partial(KeysetCache, cache_seconds=1.0, refresh_interval_seconds=0.01)
    )
    patch.setattr(session, "Backoff", lambda: soon)
    patch.setattr(session, "_UNARY_SECONDS", 0.5)
    patch.setattr(link, "RECONNECT", soon)
    patch.setattr(outbox, "RESEND", soon)
