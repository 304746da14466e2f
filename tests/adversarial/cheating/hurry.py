"""Waits of the SDK, cut short: what takes minutes of patience in production takes no time of a test."""

from functools import partial

import pytest

from isthmus.client import engine, flows
from isthmus.keys.endpoint_records import RecordCache
from isthmus.transport import session
from isthmus.transport.backoff import Backoff
from isthmus.worker import link, outbox

KEY_CACHE_SECONDS = 1
"""For so long a keyset is used without asking; one that lacks a key, a tenth of it."""


def in_a_hurry(patch: pytest.MonkeyPatch) -> None:
    """Shorten pauses before something is tried again, and how long a keyset is used without asking."""
    soon = Backoff(initial_seconds=0.005, maximum_seconds=0.05)
    patch.setattr(flows, "_REFRESH_PAUSES_SECONDS", (0.0, 0.12))
    patch.setattr(
        engine,
        "RecordCache",
        partial(RecordCache, cache_seconds=KEY_CACHE_SECONDS, refresh_interval_seconds=0.1),
    )
    patch.setattr(session, "Backoff", lambda: soon)
    patch.setattr(session, "_UNARY_SECONDS", 0.5)
    patch.setattr(link, "RECONNECT", soon)
    patch.setattr(outbox, "RESEND", soon)
