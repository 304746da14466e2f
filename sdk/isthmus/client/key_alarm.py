"""Alarms about one's own keys: a keyset in one's name that this team did not publish."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, unique

logger = logging.getLogger("isthmus.keys")


@unique
class KeyAlarmKind(StrEnum):
    """What is wrong with the keyset that the gateway shows as one's own."""

    UNKNOWN_KEYS = "unknown-keys"
    """It lists keys as in use that this keyring does not have: an old copy, or somebody has the signer."""
    KEYS_CAME_BACK = "keys-came-back"
    """It lists keys as in use that this keyring put out of use, such as a revoked one."""
    NOT_VOUCHED_FOR = "not-vouched-for"
    """One's own root does not vouch for it: the gateway, or somebody with its database, made it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAlarm:
    """One finding."""

    kind: KeyAlarmKind
    namespace: str
    message: str
    """For people; names keysets and key ids, and nothing that is secret."""
    keyset_version: int | None = None
    """Of the keyset that lists such keys."""
    key_ids: tuple[bytes, ...] = ()
    """These keys."""


OnKeyAlarm = Callable[[KeyAlarm], None]
"""Is called once for each finding, on the event loop or in the thread of a call: it has to return soon."""


def raise_alarm(alarm: KeyAlarm, on_key_alarm: OnKeyAlarm | None) -> None:
    """Log an alarm, and tell whoever asked to be told. What goes wrong there is logged, and fails nothing."""
    logger.error("%s", alarm.message)
    if on_key_alarm is None:
        return
    try:
        on_key_alarm(alarm)
    except Exception:
        logger.exception("on_key_alarm failed: the alarm about %s was not passed on", alarm.namespace)
