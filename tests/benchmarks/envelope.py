"""What the envelope costs on top of its primitives: seal + open against the sum of what they cannot avoid.

Beside them: what an encapsulation costs, which each message of a minute would need if they did not share one.
All are measured in turns, in the same process, so that a busy machine slows them down alike.

    python tests/benchmarks/envelope.py [--json] [--rounds 3000]
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.envelope.world import NOW_MS, World

from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import expand_seed
from isthmus.envelope.open import open_envelope
from isthmus.envelope.seal import seal
from isthmus.payload.payload import Payload
from isthmus.wire.header import Direction

LIMIT = 1.25
HEADER_BYTES = 300
_MICROSECOND_NS = 1000


def primitives(world: World, plaintext: bytes) -> Callable[[], None]:
    """Return one round of what no implementation of ISE1 can avoid, without encoding or checking anything.

    A random message key, wrapped and unwrapped under an encapsulation that both ends have, Cobblestone both
    ways, Ed25519 sign and verify, and at each end SHA-256 over the header, the body and the signed bytes.
    """
    signer, recipient = world.caller.signing, world.handler.encryption
    header, context, info, signed = bytes(HEADER_BYTES), bytes(72), bytes(99), bytes(104)

    def run() -> None:
        key = os.urandom(32)
        encryptor = Cobblestone256Encryptor(key, context)
        body = encryptor.update(plaintext) + encryptor.finalize()
        wrapped = recipient.public.wrap(key, info)
        digest(header, body, signed)
        signature = signer.sign(signed)
        digest(header, body, signed)
        signer.public.verify(signature, signed)
        recipient.unwrap(wrapped, info)
        decryptor = Cobblestone256Decryptor(key, context)
        _ = decryptor.update(body) + decryptor.finalize()

    return run


def encapsulation(world: World) -> Callable[[], None]:
    """Return one encapsulation to a key, and its decapsulation."""
    seed = world.handler.encryption.seed
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    mlkem, x25519 = expand_seed(seed)
    private = MLKEM768X25519PrivateKey(mlkem, x25519)
    public = MLKEM768X25519PublicKey(mlkem.public_key(), x25519.public_key())
    info = bytes(58)

    def run() -> None:
        suite.decrypt(suite.encrypt(os.urandom(32), public, info), private, info)

    return run


def digest(*parts: bytes) -> None:
    """Hash each part."""
    for part in parts:
        hashlib.sha256(part).digest()


def envelope(world: World, payload: Payload) -> Callable[[], None]:
    """Return one round of seal and open, for one recipient."""
    header = world.header(
        Direction.REQUEST, world.caller, world.handler, recipients=(world.handler.namespace,)
    )
    recipients = world.recipients(header.recipients)
    expected, keys, handler = world.expect_request(), world.caller.keys(), world.handler

    def run() -> None:
        sealed = seal(header, payload, signer=world.caller.signing, recipients=recipients)
        open_envelope(
            sealed.envelope,
            expected=expected,
            sender_keys=keys,
            decrypter=handler,
            namespace=handler.namespace,
            now_ms=NOW_MS,
        )

    return run


def measure(payload_bytes: int, rounds: int) -> dict[str, Any]:
    """Measure both in turns; times in microseconds."""
    world = World()
    payload = Payload(content_type="application/json", data=bytes(payload_bytes))
    runs = {
        "primitives": primitives(world, encode_inner(payload)),
        "encapsulation": encapsulation(world),
        "envelope": envelope(world, payload),
    }
    times_ns: dict[str, list[int]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter_ns()
            run()
            times_ns[name].append(time.perf_counter_ns() - start)
    result: dict[str, Any] = {"payload_bytes": payload_bytes, "rounds": rounds}
    for name, times in times_ns.items():
        result[f"{name}_median_us"] = round(statistics.median(times) / _MICROSECOND_NS, 1)
        result[f"{name}_fastest_us"] = round(min(times) / _MICROSECOND_NS, 1)
    # Round by round: when the processor changes its speed, both halves of a round have the same one.
    rounds_ns = list(zip(*times_ns.values(), strict=True))
    result["ratio_median"] = round(statistics.median([mine / least for least, _, mine in rounds_ns]), 3)
    result["ratio_to_both_median"] = round(
        statistics.median([mine / (least + encapsulated) for least, encapsulated, mine in rounds_ns]), 3
    )
    result["ratio_fastest"] = round(result["envelope_fastest_us"] / result["primitives_fastest_us"], 3)
    return result


def main() -> None:
    """Print the figures; the ratio should stay below 1.25."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3000)
    arguments = parser.parse_args()
    results = [measure(payload_bytes, arguments.rounds) for payload_bytes in (200, 4096)]
    if arguments.json:
        print(json.dumps({"benchmark": "envelope", "limit": LIMIT, "results": results}))
        return
    for result in results:
        print(
            f"{result['payload_bytes']:5} B: seal + open {result['envelope_median_us']} µs, "
            f"primitives {result['primitives_median_us']} µs, "
            f"encapsulation {result['encapsulation_median_us']} µs, "
            f"ratio {result['ratio_median']} (fastest rounds: {result['ratio_fastest']}), "
            f"to both {result['ratio_to_both_median']}"
        )


if __name__ == "__main__":
    main()
