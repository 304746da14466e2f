"""Keeps one's own keyset alive: a later end for what one's own keyring knows, and for nothing else.

A keyset lives for days, so that a gateway which hides a newer one cannot do so for long. Every process that
holds the namespace's keyring moves the end of its keyset in time; the renewer in there can do nothing else.
"""

from dataclasses import dataclass

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysetRejectedError
from isthmus.keys.publication import Published, read_own
from isthmus.keys.statements import renew_keyset
from isthmus.wire.chain import ChainProblem
from isthmus.wire.public_key import KeyState, gone_back
from isthmus.wire.trust_statement import Delegation, Keyset, SignedKeyset

_COUNTS_NOW = (KeyState.ACTIVE, KeyState.VERIFY_ONLY)
_COUNTS = (KeyState.PRE_PUBLISHED, *_COUNTS_NOW)
"""States in which peers seal to a key, or believe what it signed, now or soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeyset:
    """One's own keyset at the gateway, beside one's own keyring."""

    keyset: Keyset
    """What it says, verified."""
    expires_at_ms: int
    delegation_expires_at_ms: int
    keyset_life_ms: int
    """For how long the delegation lets each renewal give it."""
    unknown: tuple[bytes, ...]
    """Ids of keys that peers go by now or soon and the keyring does not have."""
    is_in_use: bool
    """Whether peers go by one of the unknown ones now, not soon, or by one that came back."""
    came_back: tuple[bytes, ...]
    """Ids of keys that the keyring put out of use and this later keyset lists as if it had not."""
    renewed: SignedKeyset | None
    """What to publish to keep it alive; None when it is not due, or not to be renewed from here."""

    @property
    def version(self) -> int:
        """Its version."""
        return self.keyset.version


def look_at_own(
    signed: SignedKeyset, contents: KeyringContents, *, now_ms: int, at_once: bool = False
) -> OwnKeyset:
    """Compare one's own keyset at the gateway with the keyring, and renew it when half of its time is over.

    A keyset that lists keys which the keyring does not have is not renewed: the keyring is an old copy, or
    somebody else published. The same goes for one that a delegation vouches for which was replaced: its
    signer may be stolen. ``at_once`` renews it whatever time is left.

    Raises:
        KeysetRejectedError: the root of this keyring does not vouch for it, or a signer that was replaced
            published it later.
    """
    published = read_own(signed, contents)
    chain = published.chain
    replaced = _has_newer_delegation(contents, published)
    if replaced and chain.keyset.version > contents.keyset_version:
        raise KeysetRejectedError(ChainProblem.ROLLBACK, contents.namespace)
    held = {bytes(key.record.key_id) for key in contents.keys}
    missing = [key for key in chain.keyset.keys if key.state in _COUNTS and bytes(key.key_id) not in held]
    unknown = tuple(bytes(key.key_id) for key in missing)
    came_back: tuple[bytes, ...] = ()
    if chain.keyset.version > contents.keyset_version:
        came_back = gone_back(chain.keyset.keys, [key.record for key in contents.keys])
    renewed, renewer = None, contents.renewer()
    is_own = not (unknown or came_back or replaced)
    if renewer is not None and is_own and chain.keyset.version >= contents.keyset_version:
        given_ms = chain.delegation.max_renewal_ms
        is_due = at_once or chain.expires_at_ms - now_ms < given_ms // 2
        end_ms = chain.delegation.expires_at_ms
        gains = now_ms < end_ms and min(now_ms + given_ms, end_ms) > chain.expires_at_ms
        if chain.delegation.renewer == renewer.public and is_due and gains:
            renewed = renew_keyset(signed, renewer, now_ms=now_ms)
    return OwnKeyset(
        keyset=chain.keyset,
        expires_at_ms=chain.expires_at_ms,
        delegation_expires_at_ms=chain.delegation.expires_at_ms,
        keyset_life_ms=chain.delegation.max_renewal_ms,
        unknown=unknown,
        is_in_use=bool(came_back) or any(key.state in _COUNTS_NOW for key in missing),
        came_back=came_back,
        renewed=renewed,
    )


def _has_newer_delegation(contents: KeyringContents, published: Published) -> bool:
    known = contents.delegation
    return (
        known is not None and Delegation.decode(known.statement).version > published.chain.delegation.version
    )
