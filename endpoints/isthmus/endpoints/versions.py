"""Which version of the workers an operation goes to: shares of the traffic, and who began goes on."""

import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

_PARTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionShare:
    """How many of a hundred operations go to workers that announce this version."""

    version: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSettings:
    """What an endpoint says of versions; nothing by default.

    What the ramp leaves over goes to workers of every version that it does not name. With ``pin``, attempts
    go to the version that began the operation, as long as one of its workers is there.
    """

    ramp: tuple[VersionShare, ...] = ()
    pin: bool = False

    def __bool__(self) -> bool:
        """Whether it matters which version a worker has."""
        return bool(self.ramp) or self.pin


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Workers that an operation may go to: those of a version, or else of every one but ``others``."""

    version: str = ""
    others: frozenset[str] = frozenset()

    def takes(self, version: str) -> bool:
        """Whether a worker of a version may get the operation."""
        return version == self.version if self.version else version not in self.others


def target_of(
    settings: VersionSettings, operation_id: bytes, *, begun_by: str = "", present: AbstractSet[str]
) -> Target:
    """Return where the next attempt of an operation goes. The same operation always has the same share.

    Args:
        settings: of its endpoint.
        operation_id: the operation.
        begun_by: the version that began it; empty: none did, or it did not say.
        present: versions of which a worker is there; only looked at when an operation is pinned.
    """
    if settings.pin and begun_by and begun_by in present:
        return Target(version=begun_by)
    part = int.from_bytes(hashlib.blake2b(operation_id, digest_size=8).digest()) % _PARTS
    for share in settings.ramp:
        if part < share.percent:
            return Target(version=share.version)
        part -= share.percent
    return Target(others=frozenset(share.version for share in settings.ramp))
