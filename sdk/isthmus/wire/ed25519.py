"""One rule for Ed25519 signatures, whichever library computes it.

RFC 8032 leaves open what counts in corners that no honest signer comes to, and libraries differ there. What
one end believes, every other end and every later reader of a receipt has to believe, so the rule is ours. A
signature ``R ‖ S`` of a key ``A`` over a message counts exactly when

1. it is 64 bytes, ``A`` is 32;
2. ``A`` and ``R`` are each the one spelling of a point, and neither of small order;
3. ``S < L``, the order of the base point;
4. ``S·B = R + k·A`` with ``k = SHA-512(R ‖ A ‖ message) mod L``, without multiplying by the cofactor.

Under a key of small order one signature is good for many messages, and nobody needs a private key to make it;
a point that is spelled in two ways is two keys by its id. A key that somebody generated is neither.

libsodium checks 2 to 4, and is twice as fast as OpenSSL (``cryptography``), which checks 3 and 4: this module
checks 2 before it asks either. A libsodium that is missing, or that counts otherwise, is not used.
``tests/vectors/ed25519.json`` has the corners.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
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

Sign = Callable[[bytes], bytes]
"""Returns the signature over a message, 64 bytes."""
Verify = Callable[[bytes, bytes], bool]
"""Tells whether a signature over a message counts."""


def is_weak(public_key: bytes) -> bool:
    """Whether a public key of 32 bytes has a small order, or is not the one spelling of its point."""
    y = int.from_bytes(public_key, "little") & _WITHOUT_SIGN
    return y >= _P or y in _SMALL_ORDER


def verifier(public_key: bytes) -> Verify:
    """Return what verifies signatures of a key by the rule above.

    Raises:
        ValueError: it is not 32 bytes, or a key that proves nothing.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError("an Ed25519 key is 32 bytes")
    if is_weak(public_key):
        raise ValueError("a signing key has a small order, or another spelling")
    library = _by_sodium or _by_openssl
    equation_holds = library(bytes(public_key))

    def verify(signature: bytes, message: bytes) -> bool:
        return (
            len(signature) == SIGNATURE_BYTES
            and not is_weak(signature[:PUBLIC_KEY_BYTES])
            and equation_holds(signature, message)
        )

    return verify


def signer(seed: bytes) -> Sign:
    """Return what signs with the private key that a seed of 32 bytes stands for. Raises ValueError.

    Signatures are deterministic, byte by byte the same from either library. The public key that goes into
    them is computed here: signing under another one would give the private key away.
    """
    private_key = Ed25519PrivateKey.from_private_bytes(seed)
    if _by_sodium is None:
        return private_key.sign
    return _sodium_signer(seed, private_key.public_key().public_bytes_raw())


def _by_openssl(public_key: bytes) -> Verify:
    key = Ed25519PublicKey.from_public_bytes(public_key)

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify


def _sodium() -> Callable[[bytes], Verify] | None:
    """Return the verification of libsodium, or None when it is not there or counts otherwise."""
    try:
        from nacl.bindings import crypto_sign_open  # noqa: PLC0415
        from nacl.exceptions import BadSignatureError  # noqa: PLC0415
    except ImportError:
        return None

    def by_sodium(public_key: bytes) -> Verify:
        def verify(signature: bytes, message: bytes) -> bool:
            # One string: where the signature ends, its length has to say, which the rule fixes.
            try:
                crypto_sign_open(signature + message, public_key)
            except BadSignatureError:
                return False
            return True

        return verify

    return by_sodium if _counts_alike(by_sodium) else None


def _sodium_signer(seed: bytes, public_key: bytes) -> Sign:
    from nacl.bindings import crypto_sign  # noqa: PLC0415

    secret = seed + public_key

    def sign(message: bytes) -> bytes:
        return crypto_sign(message, secret)[:SIGNATURE_BYTES]

    return sign


# One signature that counts, the same with S + L, and one that only counts where the equation is multiplied by
# the cofactor: the private scalar is 3.
_MESSAGE = b"isthmus"
_KEY = bytes.fromhex("d4b4f5784868c3020403246717ec169ff79e26608ea126a1ab69ee77d1b16712")
_COUNTS = bytes.fromhex(
    "edc876d6831fd2105d0b4389ca2e283166469289146e2ce06faefe98b22548df"
    "fa50d4b9fb19131c55121b8d9b73a388be57304b86b8cb694637d4bb6d8bda0e"
)
_COUNTS_NOT = (
    bytes.fromhex(
        "edc876d6831fd2105d0b4389ca2e283166469289146e2ce06faefe98b22548df"
        "e724ca16167d25742baf12307a6d829dbe57304b86b8cb694637d4bb6d8bda1e"
    ),
    bytes.fromhex(
        "131604d01865fbedf9f662d25311c68a197cf286f2683724873a147fed6ada35"
        "258e31bd9a9629c3de987bb3c6c92fce2184691e048666a2eeae94cd28edcf08"
    ),
)


def _counts_alike(library: Callable[[bytes], Verify]) -> bool:
    verify = library(_KEY)
    return verify(_COUNTS, _MESSAGE) and not any(verify(other, _MESSAGE) for other in _COUNTS_NOT)


_by_sodium: Callable[[bytes], Verify] | None = _sodium()
