"""Ed25519 public keys that are no proof of anything: points of small order, and other spellings of a point.

Under a point of small order one signature verifies for many messages, and nobody needs a private key to make
it; verification itself (RFC 8032, 5.1.7) does not ask. A point that is spelled in two ways is two keys by its
id. A key that somebody generated is neither.
"""

PUBLIC_KEY_BYTES = 32
_P = 2**255 - 19
_WITHOUT_SIGN = 2**255 - 1
# The y of the eight points whose order divides the cofactor; their x differ in the sign at most.
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


def is_weak(public_key: bytes) -> bool:
    """Whether a public key of 32 bytes has a small order, or is not the one spelling of its point."""
    y = int.from_bytes(public_key, "little") & _WITHOUT_SIGN
    return y >= _P or y in _SMALL_ORDER
