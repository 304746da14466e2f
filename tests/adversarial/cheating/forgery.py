"""What the gateway makes itself: envelopes put together of true ones, and false ones under keys that it has.

It knows every public key and every header. It has keys of its own, which nobody pinned, and those of a
namespace that colludes with it.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from isthmus.envelope import binding
from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import EncryptionPublicKey, SigningPrivateKey
from isthmus.envelope.seal import seal_body
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2
from isthmus.wire.envelope import header_hash, signed_bytes
from isthmus.wire.header import SUITE, Direction

PARTS = ("header", "body", "signature", "wraps", "ciphertext", "key_id", "none")
FIELDS = tuple(field.name for field in envelope_pb2.EnvelopeHeader.DESCRIPTOR.fields)
_FROM_CALLER = (Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL)
_ORDERED = (Direction.SIGNAL, Direction.PROGRESS)
_MESSAGE_KEY = b"known to the gateway, 32 bytes !"
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """What everybody can know of a namespace."""

    signing_key_id: bytes
    sealing: EncryptionPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Forger:
    """Makes envelopes that nobody sealed."""

    signers: tuple[SigningPrivateKey, ...]
    """Of the gateway itself, and of the namespace that colludes with it."""
    public: Callable[[str], PublicKeys]

    def splice(self, envelope: bytes, other: bytes, part: str, *, signer: int | None) -> bytes:
        """Put a part of another envelope into this one, and sign the whole anew if there is a signer."""
        made, source = _parsed(envelope), _parsed(other)
        match part:
            case "header":
                made.header = source.header
            case "body":
                made.body = source.body
            case "signature":
                made.signature = source.signature
            case "wraps":
                made.ClearField("wraps")
                made.wraps.extend(source.wraps)
            case "ciphertext" | "key_id" if made.wraps and source.wraps:
                setattr(made.wraps[0], part, getattr(source.wraps[0], part))
            case _:
                pass
        return self._signed(made, signer)

    def change(self, envelope: bytes, other: bytes, name: str, *, signer: int | None) -> bytes:
        """Put a header field of another envelope into this one, and sign the whole if there is a signer."""
        made = _parsed(envelope)
        header = envelope_pb2.EnvelopeHeader.FromString(made.header)
        source = envelope_pb2.EnvelopeHeader.FromString(_parsed(other).header)
        header = _without(header, name)
        header.MergeFrom(_only(source, name))
        made.header = header.SerializeToString(deterministic=True)
        return self._signed(made, signer)

    def flip(self, envelope: bytes, number: int) -> bytes:
        """Change a bit."""
        changed = bytearray(envelope)
        changed[number // 8 % len(changed)] ^= 1 << number % 8
        return bytes(changed)

    def forge(self, request: bytes, direction: Direction, number: int, *, signer: int, claims: bool) -> bytes:
        """Seal a number about a request, as the one who would, under a key that the gateway has.

        With ``claims`` the header names the key of that one, otherwise the key that signed.
        """
        asked = _parsed(request)
        header = envelope_pb2.EnvelopeHeader.FromString(asked.header)
        if direction is not Direction.REQUEST:
            body_digest = hashlib.sha256(asked.body).digest()
            signed = signed_bytes(header_hash(asked.header), body_digest)
            header.request_digest = hashlib.sha256(signed).digest()
            for name in (
                "expires_at_ms", "schedule_to_start_timeout_ms", "start_to_close_timeout_ms",
                "schedule_to_close_timeout_ms", "fingerprint", "start_at_ms", "labels",
            ):  # fmt: skip
                header.ClearField(name)
        if direction not in _FROM_CALLER:
            both = header.sender_namespace, header.recipient_namespace
            header.recipient_namespace, header.sender_namespace = both
        if direction in (Direction.STARTED, Direction.DETAILS):
            header.recipient_namespace = header.sender_namespace
        if direction in _FROM_CALLER:
            header.expires_at_ms = time.time_ns() // 1_000_000 + _HOUR_MS
        if direction in _ORDERED:
            header.sender_session, header.sequence = b"s" * 16, 1 << 40
        key = self.signers[signer % len(self.signers)]
        sender, recipient = self.public(header.sender_namespace), self.public(header.recipient_namespace)
        header.suite, header.direction = SUITE, envelope_pb2.Direction.ValueType(direction.value)
        header.sender_key_id = sender.signing_key_id if claims else key.key_id
        header.message_id = number.to_bytes(16, "big")
        del header.recipients[:]
        header.recipients.append(header.recipient_namespace)
        made = envelope_pb2.Envelope(header=header.SerializeToString(deterministic=True))
        hashed = header_hash(made.header)
        payload = Payload(content_type="application/json", data=b"-%d" % number)
        made.body = seal_body(encode_inner(payload), message_key=_MESSAGE_KEY, hashed_header=hashed)
        info = binding.wrap_info(hashed, header.recipient_namespace, recipient.sealing.key_id)
        made.wraps.add(
            namespace=header.recipient_namespace,
            key_id=recipient.sealing.key_id,
            ciphertext=recipient.sealing.wrap(_MESSAGE_KEY, info),
        )
        return self._signed(made, signer)

    def _signed(self, envelope: envelope_pb2.Envelope, signer: int | None) -> bytes:
        if signer is not None:
            signed = signed_bytes(header_hash(envelope.header), hashlib.sha256(envelope.body).digest())
            envelope.signature = self.signers[signer % len(self.signers)].sign(signed)
        return envelope.SerializeToString(deterministic=True)


def _parsed(data: bytes) -> envelope_pb2.Envelope:
    try:
        return envelope_pb2.Envelope.FromString(data)
    except DecodeError:
        return envelope_pb2.Envelope(body=data)


def _only(header: envelope_pb2.EnvelopeHeader, name: str) -> envelope_pb2.EnvelopeHeader:
    return _without(header, *(of.name for of in header.DESCRIPTOR.fields if of.name != name))


def _without(header: envelope_pb2.EnvelopeHeader, *names: str) -> envelope_pb2.EnvelopeHeader:
    left: Any = envelope_pb2.EnvelopeHeader()
    left.CopyFrom(header)
    for name in names:
        left.ClearField(name)
    return left  # type: ignore[no-any-return]
