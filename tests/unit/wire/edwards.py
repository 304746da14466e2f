"""Edwards25519 in plain Python: to make signatures that no library makes, and to say which of them count.

Source: RFC 8032, section 5.1. Nothing here is constant in time: test keys only.
"""

import hashlib
from dataclasses import dataclass

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, P) % P
_ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(first: Point, second: Point) -> Point:
    """Return the sum: the formula has no exceptions on this curve."""
    (a, b), (c, d) = first, second
    product = _D * a * b * c * d
    x = (a * d + b * c) * pow(1 + product, -1, P) % P
    y = (b * d + a * c) * pow(1 - product, -1, P) % P
    return x, y


def times(factor: int, point: Point) -> Point:
    """Return a multiple of a point."""
    result, doubled = (*NEUTRAL, 1), (*point, 1)
    while factor:
        if factor & 1:
            result = _add_projective(result, doubled)
        doubled = _add_projective(doubled, doubled)
        factor >>= 1
    x, y, z = result
    inverse = pow(z, -1, P)
    return x * inverse % P, y * inverse % P


def _add_projective(first: tuple[int, int, int], second: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the sum of points whose coordinates are still to be divided by the third: without an inverse."""
    (x, y, z), (u, v, w) = first, second
    a, c, d = z * w % P, x * u % P, y * v % P
    b, e = a * a % P, _D * c * d % P
    f, g = (b - e) % P, (b + e) % P
    return a * f * ((x + y) * (u + v) - c - d) % P, a * g * (d + c) % P, f * g % P


def encode(point: Point) -> bytes:
    """Return the one spelling of a point."""
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """Return the point, None when there is none, or when this is not its one spelling."""
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    numerator, denominator = y * y - 1, _D * y * y + 1
    square = numerator * pow(denominator, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * _ROOT_OF_MINUS_ONE % P
    if x * x % P != square:
        return None
    if x & 1 != sign:
        x = P - x if x else x
    point = (x % P, y % P)
    return point if encode(point) == data else None


_BASE_Y = 4 * pow(5, -1, P) % P
_FOUND = decode(_BASE_Y.to_bytes(32, "little"))
assert _FOUND is not None
BASE: Point = _FOUND
_EIGHT = decode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
assert _EIGHT is not None
TORSION: tuple[Point, ...] = tuple(times(number, _EIGHT) for number in range(8))
"""The eight points of small order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A message, whose key it claims, and a signature."""

    public_key: bytes
    message: bytes
    signature: bytes


def challenge(commitment: bytes, public_key: bytes, message: bytes) -> int:
    """Return what the signature answers: reduced, which makes a difference to points of small order."""
    return int.from_bytes(hashlib.sha512(commitment + public_key + message).digest(), "little") % L


def sign(
    message: bytes, *, secret: int, nonce: int, key_torsion: int = 0, nonce_torsion: int = 0, wraps: int = 0
) -> Signed:
    """Sign with a key and a commitment that have a part of small order, and S larger by so many L."""
    public_key = encode(add(times(secret, BASE), TORSION[key_torsion]))
    commitment = encode(add(times(nonce, BASE), TORSION[nonce_torsion]))
    answer = (nonce + challenge(commitment, public_key, message) * secret) % L + wraps * L
    return Signed(
        public_key=public_key, message=message, signature=commitment + answer.to_bytes(32, "little")
    )


def counts(signed: Signed) -> bool:
    """Say whether a signature counts, by the rule that ``isthmus.wire.ed25519`` states."""
    commitment, answer = signed.signature[:32], int.from_bytes(signed.signature[32:], "little")
    key, committed = decode(signed.public_key), decode(commitment)
    if key is None or committed is None or key in TORSION or committed in TORSION or answer >= L:
        return False
    return equation_holds(signed)


def equation_holds(signed: Signed) -> bool:
    """Say whether the bare equation holds, whatever its points are."""
    commitment, answer = signed.signature[:32], int.from_bytes(signed.signature[32:], "little")
    key, committed = decode(signed.public_key), decode(commitment)
    if key is None or committed is None:
        return False
    number = challenge(commitment, signed.public_key, signed.message)
    return times(answer, BASE) == add(committed, times(number, key))
