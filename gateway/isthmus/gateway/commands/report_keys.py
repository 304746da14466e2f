"""Remember which keys a process of a namespace has at hand, and forget processes that are long gone."""

from datetime import datetime, timedelta

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.ports import KeyHolder, UnitOfWork

REMEMBERED = timedelta(days=1)
"""How long a process that is gone is remembered: it may be one that comes back every night."""
MOST_HOLDERS = 10_000
_FORGOTTEN_AT_ONCE = 16


def report_keys(uow: UnitOfWork, holder: KeyHolder, *, now: datetime) -> None:
    """Put a holder in the place of what it said before. There is no audit record: nothing was decided.

    Raises:
        ExhaustedError: the namespace has too many of them.
    """
    # Each report takes along more of them than it adds, so what is kept is what came within a day.
    uow.forget_key_holders(until=now - REMEMBERED, limit=_FORGOTTEN_AT_ONCE)
    namespace = holder.namespace
    if (
        not uow.has_key_holder(namespace, holder.holder_id)
        and uow.count_key_holders(namespace) >= MOST_HOLDERS
    ):
        raise ExhaustedError(
            f"{MOST_HOLDERS} processes of {namespace} reported their keys within a day",
            reason="TOO_MANY_KEY_HOLDERS",
            fix="nothing stops working: rotations wait for as long as for processes that nobody knows of",
        )
    uow.put_key_holder(holder)
