"""What every plain value of the gateway is made of."""

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _ValueType(msgspec.StructMeta):
    """Tells type checkers what ``Value`` says of itself: they do not see options that are inherited."""


class Value(msgspec.Struct, metaclass=_ValueType, frozen=True, kw_only=True, gc=False):
    """Base of immutable values: compared and hashed by their fields, built by keywords only.

    Like a frozen, slotted dataclass, but built, copied, compared and hashed in C: the request path makes some
    thirty of them for each operation. The garbage collector does not look at them, so none may be part of a
    reference cycle: they hold values and collections of values, never what lives (a session, a callback).

    Copy one with ``msgspec.structs.replace(value, field=…)``.
    """
