"""Makes the test vectors of Ed25519: signatures in corners where libraries differ, and which of them count.

The scalars are fixed, so they come out the same each time. The rule is that of ``isthmus.wire.ed25519``.

    python -m tests.vectors.make_ed25519 tests/vectors/ed25519.json
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.unit.wire.edwards import BASE, TORSION, P, Signed, counts, encode, equation_holds, sign, times

MESSAGE = b"isthmus"
SECRET, NONCE = 0x1234567890ABCDEF, 0xFEDCBA0987654321
MOST_MESSAGES = 200


def cases() -> Iterator[tuple[str, Signed]]:
    """Return each corner with its name."""
    yield "genuine", sign(MESSAGE, secret=SECRET, nonce=NONCE)
    yield "genuine, S + L", sign(MESSAGE, secret=SECRET, nonce=NONCE, wraps=1)
    genuine = sign(MESSAGE, secret=SECRET, nonce=NONCE)
    yield (
        "genuine, of another message",
        Signed(public_key=genuine.public_key, message=b"Isthmus", signature=genuine.signature),
    )
    yield "R with a part of small order", sign(MESSAGE, secret=SECRET, nonce=NONCE, nonce_torsion=1)
    yield "A with a part of small order, holds with the cofactor only", _mixed(holds=False)
    yield "A with a part of small order, holds without the cofactor", _mixed(holds=True)
    yield "A and R with parts of small order that cancel out", _cancel_out()
    yield "R is the neutral point", sign(MESSAGE, secret=SECRET, nonce=0)
    yield "A with a part of small order and R of small order", _small_commitment()
    yield "A and R of small order, S = 0", _forged()
    another = encode(times(NONCE, BASE))
    spelled = (int.from_bytes(another, "little") ^ (1 << 255)).to_bytes(32, "little")
    yield (
        "R with the other sign",
        Signed(public_key=genuine.public_key, message=MESSAGE, signature=spelled + genuine.signature[32:]),
    )
    yield (
        "R is not a point",
        Signed(
            public_key=genuine.public_key,
            message=MESSAGE,
            signature=(2).to_bytes(32, "little") + genuine.signature[32:],
        ),
    )
    yield (
        "R in another spelling",
        Signed(
            public_key=genuine.public_key,
            message=MESSAGE,
            signature=(P + 3).to_bytes(32, "little") + genuine.signature[32:],
        ),
    )


def _mixed(*, holds: bool) -> Signed:
    """A key with a part of small order: whether the equation holds without the cofactor, the hash says."""
    for number in range(MOST_MESSAGES):
        signed = sign(MESSAGE + bytes([number]), secret=SECRET, nonce=NONCE, key_torsion=1)
        if counts(signed) is holds:
            return signed
    raise AssertionError


def _cancel_out() -> Signed:
    for number in range(MOST_MESSAGES):
        message = MESSAGE + bytes([number])
        signed = sign(message, secret=SECRET, nonce=NONCE, key_torsion=1, nonce_torsion=3)
        if counts(signed):
            return signed
    raise AssertionError


def _small_commitment() -> Signed:
    for number in range(MOST_MESSAGES):
        message = MESSAGE + bytes([number])
        signed = sign(message, secret=SECRET, nonce=0, key_torsion=1, nonce_torsion=1)
        if equation_holds(signed):
            return signed
    raise AssertionError


def _forged() -> Signed:
    """Nobody's signature: R = -H·A for one message in eight."""
    for number in range(MOST_MESSAGES):
        signed = Signed(
            public_key=encode(TORSION[1]),
            message=MESSAGE + bytes([number]),
            signature=encode(TORSION[0]) + bytes(32),
        )
        if equation_holds(signed):
            return signed
    raise AssertionError


def make() -> list[dict[str, Any]]:
    """Return the document."""
    return [
        {
            "name": name,
            "public_key": signed.public_key.hex(),
            "message": signed.message.hex(),
            "signature": signed.signature.hex(),
            "counts": counts(signed),
        }
        for name, signed in cases()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.parse_args().file.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
