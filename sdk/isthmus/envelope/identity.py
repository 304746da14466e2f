"""Identities that the caller makes: of operations, of messages, of inputs.

``id_key`` is one secret of the caller's namespace. What it keys tells the operator of the gateway nothing
about request ids and inputs, not even whether two namespaces use the same ones.
"""

import hashlib
import hmac
import os
import struct

from isthmus.envelope.errors import NeverSealError
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.wire.header import MESSAGE_ID_BYTES, SESSION_BYTES
from isthmus.wire.names import OPERATION_ID_BYTES, OperationId
from isthmus.wire.pae import pae

ID_KEY_BYTES = 32
_OPERATION_CONTEXT = "ise1/op"
_FOUND_BY_TOKEN = "ise1/token"  # noqa: S105 - what is hashed, and no secret
_FINGERPRINT_CONTEXT = "ise1/fingerprint"
_GENERATION = struct.Struct(">Q")


def derive_operation_id(
    id_key: bytes,
    *,
    trust_domain: str,
    caller_namespace: str,
    endpoint: str,
    service: str,
    operation: str,
    request_id: str,
    generation: int = 1,
) -> OperationId:
    """Return the operation id that a request id stands for.

    HMAC-SHA256 under ``id_key`` over PAE("ise1/op", trust_domain, caller namespace, endpoint, service,
    operation, request_id, u64be(generation)), first 16 bytes. Generations count from 1.

    Raises:
        NeverSealError: the request id is empty or longer than 256 bytes, or the generation is below 1.

    """
    if not 0 < len(request_id.encode()) <= limits.MAX_REQUEST_ID_BYTES:
        raise NeverSealError(f"a request id is 1 to {limits.MAX_REQUEST_ID_BYTES} bytes")
    if generation < 1:
        raise NeverSealError("generations count from 1")
    message = pae(
        _OPERATION_CONTEXT,
        trust_domain,
        caller_namespace,
        endpoint,
        service,
        operation,
        request_id,
        _GENERATION.pack(generation),
    )
    return OperationId(_mac(id_key, message)[:OPERATION_ID_BYTES])


def fingerprint_of(id_key: bytes, payload: Payload) -> bytes:
    """Return the keyed hash of an input, 32 bytes: equal exactly for equal payloads of one namespace.

    HMAC-SHA256 under ``id_key`` over PAE("ise1/fingerprint", content_type, name, value, …, data).
    """
    parts = [part for header in payload.headers for part in header]
    return _mac(id_key, pae(_FINGERPRINT_CONTEXT, payload.content_type, *parts, payload.data))


def token_key_of(id_key: bytes, *, trust_domain: str, namespace: str, token: bytes) -> bytes:
    """Return the keyed hash that an operation token is found by, 32 bytes.

    HMAC-SHA256 under ``id_key`` over PAE("ise1/token", trust_domain, handler's namespace, token).
    """
    return _mac(id_key, pae(_FOUND_BY_TOKEN, trust_domain, namespace, token))


def random_operation_id() -> OperationId:
    """Return the id of an operation that was started without a request id."""
    return OperationId(os.urandom(OPERATION_ID_BYTES))


def random_message_id() -> bytes:
    """Return a message id: fresh for each sealing."""
    return os.urandom(MESSAGE_ID_BYTES)


def random_session() -> bytes:
    """Return a sender session: one for each process that sends signals or progress."""
    return os.urandom(SESSION_BYTES)


def _mac(id_key: bytes, message: bytes) -> bytes:
    if len(id_key) != ID_KEY_BYTES:
        raise NeverSealError(f"an id_key is {ID_KEY_BYTES} bytes")
    return hmac.digest(id_key, message, hashlib.sha256)
