"""Seals a payload: a fresh key for each message, wrapped for each recipient, signed as a whole."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.cobblestone import Cobblestone256Encryptor

from isthmus.envelope import binding
from isthmus.envelope.errors import BodyTooLargeError, NeverSealError
from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import EncryptionPublicKey, SigningPrivateKey
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.wire.envelope import SealedWrap, encode_parts, header_hash, signed_bytes
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Header, encode_header

MESSAGE_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientKey:
    """Whom to seal for, and the active encryption key of its verified keyset."""

    namespace: str
    key: EncryptionPublicKey


def in_header_order(recipient: RecipientKey, readers: Sequence[RecipientKey]) -> tuple[RecipientKey, ...]:
    """Return the recipients of a message, in the order of its header: whom it is for, who reads along."""
    if not readers:
        return (recipient,)
    return tuple(sorted((recipient, *readers), key=lambda key: key.namespace))


class Sealed(NamedTuple):
    """A sealed message: what travels, and what its sender remembers in order to verify the answer."""

    envelope: bytes
    """Serialized Envelope. A transport retry sends these very bytes again."""
    digest: bytes
    """What every answer must carry as its request digest."""
    header: Header
    header_bytes: bytes
    signature: bytes
    body_digest: bytes

    def __repr__(self) -> str:
        """Show what the message is about, not its bytes."""
        return f"Sealed(header={self.header}, digest={self.digest.hex()})"


def seal(
    header: Header, payload: Payload, *, signer: SigningPrivateKey, recipients: Sequence[RecipientKey]
) -> Sealed:
    """Seal a payload under a header for its recipients.

    The header names the signer's key id and exactly these recipients; its message id is fresh for each
    sealing.

    Raises:
        NeverSealError: header, signer and recipients disagree, or the payload is too large or malformed.

    """
    if header.sender_key_id != signer.key_id:
        raise NeverSealError("the header names another signing key")
    if header.recipients != tuple([recipient.namespace for recipient in recipients]):
        raise NeverSealError("the header names other recipients")
    try:
        header_bytes = encode_header(header)
    except WireFormatError as error:
        raise NeverSealError(f"the header is not valid: {error}") from None
    hashed_header = header_hash(header_bytes)
    message_key = os.urandom(MESSAGE_KEY_BYTES)
    body = seal_body(encode_inner(payload), message_key=message_key, hashed_header=hashed_header)
    body_digest = hashlib.sha256(body).digest()
    wraps = tuple([_wrap(recipient, message_key, hashed_header) for recipient in recipients])
    signed = signed_bytes(hashed_header, body_digest)
    signature = signer.sign(signed)
    envelope = encode_parts(header_bytes, wraps, body, signature)
    digest = hashlib.sha256(signed).digest()
    return Sealed(envelope, digest, header, header_bytes, signature, body_digest)


def _wrap(recipient: RecipientKey, message_key: bytes, hashed_header: bytes) -> SealedWrap:
    key = recipient.key
    info = binding.wrap_info(hashed_header, recipient.namespace, key.key_id)
    return SealedWrap(recipient.namespace, key.key_id, key.wrap(message_key, info))


def seal_body(plaintext: bytes, *, message_key: bytes, hashed_header: bytes) -> bytes:
    """Encrypt a padded plaintext under a message key. Raises BodyTooLargeError."""
    encryptor = Cobblestone256Encryptor(message_key, binding.body_context(hashed_header))
    body = encryptor.update(plaintext) + encryptor.finalize()
    if len(body) > limits.MAX_BODY_BYTES:
        raise BodyTooLargeError(
            f"the sealed payload is {len(body)} bytes, and {limits.MAX_BODY_BYTES} (4 MiB) is the limit:"
            " put the data where both teams can reach it, and pass a reference to it"
        )
    return body
