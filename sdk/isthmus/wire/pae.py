"""PAE, the pre-authentication encoding: everything that is hashed, signed or bound goes through it.

``PAE(p1 … pn) = u64be(n) ‖ Σ (u64be(len(p)) ‖ p)``. Injective: two different lists of parts never encode
to the same bytes, so no part can borrow bytes from its neighbor.
"""

import struct

_U64 = struct.Struct(">Q").pack


def pae(*parts: bytes | str) -> bytes:
    """Encode parts unambiguously; text is encoded as UTF-8."""
    pieces = [_U64(len(parts))]
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        pieces += (_U64(len(data)), data)
    return b"".join(pieces)
