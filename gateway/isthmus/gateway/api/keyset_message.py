"""A keyset with what vouches for it, held to the rules of the chain: every peer will verify it again."""

from datetime import datetime

from isthmus.gateway.commands.publish_keyset import SignedKeyset
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire.chain import ChainError, check_time, verify_chain
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_namespace
from isthmus.wire.trust_statement import Keyset, encode_signed_keyset, signed_keyset_of

MAX_CHAIN_BYTES = 3 * 1024 * 1024
_FIX = "Publish it from the newest keyring: isthmus keys publish. How it stands says: isthmus keys status."


def read_signed_keyset(message: pb.SignedKeyset, *, trust_domain: str, now: datetime) -> SignedKeyset:
    """Parse and verify a keyset, its delegation, its roots from the first on, and its renewal.

    Raises:
        InvalidRequestError: it breaks a rule of the chain, or is out of date.
        WireFormatError: it names no valid namespace.
    """
    if message.ByteSize() > MAX_CHAIN_BYTES:
        raise InvalidRequestError(
            f"the chain is larger than {MAX_CHAIN_BYTES} bytes",
            reason="KEYSET",
            fix="It grows with each rotation of the root: make a new root, and have others pin it.",
        )
    signed = signed_keyset_of(message)
    try:
        namespace = check_namespace(Keyset.decode(signed.keyset.statement).namespace)
    except WireFormatError as error:
        raise InvalidRequestError(
            f"the keyset is refused: {error}",
            reason="KEYSET",
            fix=_FIX,
        ) from None
    try:
        chain = verify_chain(signed, trust_domain=trust_domain, namespace=namespace, fingerprint=None)
        check_time(chain, int(now.timestamp() * 1000))
    except ChainError as error:
        raise InvalidRequestError(
            f"the keyset is refused: {error} ({error.problem})",
            reason="KEYSET",
            fix=_FIX,
        ) from None
    return SignedKeyset(
        namespace=namespace,
        chain=chain,
        keyset=signed.keyset.statement,
        # Made anew: what the gateway relays has no fields that it does not know.
        message=encode_signed_keyset(signed),
    )
