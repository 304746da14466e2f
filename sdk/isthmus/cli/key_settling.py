"""When what needs a replaced key can be counted: a gateway may go by the keyset before for a while."""

from datetime import datetime
from typing import Any, Final

from isthmus.cli.moment import moment_of
from isthmus.demo.deployment import TRUST_DOMAIN
from isthmus.keys.needed import Need
from isthmus.wire.public_key import KeyState
from isthmus.wire.trust_statement import Keyset

SETTLE_MS: Final = 60_000
"""How long a gateway may take what it checked against the keyset before: calls end sooner."""
DEVELOPMENT_SETTLE_MS: Final = 1_000
"""The same for the one gateway of ``isthmus dev``, which heard of the keyset itself."""

_REPLACED = frozenset({KeyState.DECRYPT_ONLY, KeyState.REVOKED})


def settled_at_ms(key_id: bytes, keyset: Keyset | None, *, trust_domain: str) -> int | None:
    """Return from when on no gateway takes what is sealed to a key: what is counted then is all.

    None while the newest keyset does not say that the key was replaced.
    """
    states = {bytes(listed.key_id): listed.state for listed in keyset.keys} if keyset else {}
    if keyset is None or states.get(key_id) not in _REPLACED:
        return None
    return keyset.issued_at_ms + (DEVELOPMENT_SETTLE_MS if trust_domain == TRUST_DOMAIN else SETTLE_MS)


def outlook(key_id: bytes, need: Need, keyset: Keyset, *, trust_domain: str, now_ms: int) -> dict[str, Any]:
    """Return until when the count of a replaced encryption key may grow, and when it can be destroyed.

    ``now_ms`` is from before the count.
    """
    settled_ms = settled_at_ms(key_id, keyset, trust_domain=trust_domain)
    settling_until: datetime | None = None
    if settled_ms is not None and settled_ms > now_ms:
        settling_until = moment_of(settled_ms)
    if settled_ms is None:
        when = "when the rotation is over"
    elif need.messages:
        when = "when rewrapped"
    else:
        when = "now" if settling_until is None else "when settled"
    return {"settling_until": settling_until, "can_be_destroyed": when}
