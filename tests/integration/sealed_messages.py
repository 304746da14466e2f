"""Sealed messages as a gateway sees them: a true header around bytes that it cannot open anyway."""

import hashlib
import os
from typing import Any

from tests.unit.gateway.manual_time import START

from isthmus.gateway.ports import QueueKey
from isthmus.v1 import key_service_pb2, worker_service_pb2
from isthmus.wire.envelope import SealedEnvelope, SealedWrap, encode_envelope, parse_envelope
from isthmus.wire.header import Direction, Header, encode_header
from isthmus.wire.names import KeyId, NamespaceName, OperationId

TRUST_DOMAIN = "acme.example"
CALLER = NamespaceName("data")
HANDLER = NamespaceName("billing")
ENDPOINT = "invoices"
TASK_QUEUE = "default"
NOW_MS = round(START.timestamp() * 1000)
HOUR_MS = 3_600_000
SIGNING_KEY_ID = b"g" * 16
ENCRYPTION_KEY_ID = b"e" * 16


def queue_key() -> QueueKey:
    """Return the handler's queue."""
    return QueueKey(namespace=HANDLER, task_queue=TASK_QUEUE)


def request_header(**changes: Any) -> Header:
    """Return the header of a request."""
    header = Header(
        direction=Direction.REQUEST,
        trust_domain=TRUST_DOMAIN,
        sender_namespace=CALLER,
        sender_key_id=KeyId(SIGNING_KEY_ID),
        principal=f"{CALLER}/process",
        recipient_namespace=HANDLER,
        endpoint=ENDPOINT,
        service="Invoices",
        operation="create",
        operation_id=OperationId(os.urandom(16)),
        message_id=os.urandom(16),
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 24 * HOUR_MS,
        schedule_to_close_timeout_ms=HOUR_MS,
        recipients=(HANDLER,),
    )
    return header._replace(**changes)


def sealed(header: Header, body: bytes = b"ciphertext") -> bytes:
    """Return an envelope with this header."""
    wraps = tuple(
        SealedWrap(namespace=name, key_id=ENCRYPTION_KEY_ID, ciphertext=b"c" * 64)
        for name in header.recipients
    )
    return encode_envelope(
        SealedEnvelope(
            header=header,
            header_bytes=encode_header(header),
            wraps=wraps,
            body=body,
            signature=hashlib.sha512(body).digest(),
        )
    )


def request(**changes: Any) -> bytes:
    """Return a sealed request."""
    return sealed(request_header(**changes))


def cancel_of(request_envelope: bytes, **changes: Any) -> bytes:
    """Return a sealed cancel of a request."""
    asked = parse_envelope(request_envelope)
    header = asked.header._replace(
        direction=Direction.CANCEL,
        message_id=os.urandom(16),
        request_digest=asked.digest,
        schedule_to_start_timeout_ms=0,
        start_to_close_timeout_ms=0,
        schedule_to_close_timeout_ms=0,
        fingerprint=b"",
        start_at_ms=0,
    )
    return sealed(header._replace(**changes))


def signal_to(request_envelope: bytes, sequence: int, **changes: Any) -> bytes:
    """Return a sealed signal to the operation of a request."""
    asked = parse_envelope(cancel_of(request_envelope)).header
    header = asked._replace(
        direction=Direction.SIGNAL, sender_session=b"c" * 16, sequence=sequence, labels=()
    )
    return sealed(header._replace(**changes))


def answer_to(request_envelope: bytes, direction: Direction = Direction.RESULT, **changes: Any) -> bytes:
    """Return a sealed answer to a request."""
    asked = parse_envelope(request_envelope)
    to_self = direction in {Direction.STARTED, Direction.DETAILS}
    recipient = HANDLER if to_self else asked.header.sender_namespace
    header = asked.header._replace(
        direction=direction,
        sender_namespace=HANDLER,
        principal=f"{HANDLER}/process",
        recipient_namespace=recipient,
        recipients=(recipient,),
        message_id=os.urandom(16),
        request_digest=asked.digest,
        expires_at_ms=0,
        schedule_to_start_timeout_ms=0,
        start_to_close_timeout_ms=0,
        schedule_to_close_timeout_ms=0,
        fingerprint=b"",
        start_at_ms=0,
        labels=(),
    )
    return sealed(header._replace(**changes))


def ref(task: worker_service_pb2.Task) -> worker_service_pb2.TaskRef:
    """Return the reference of a task."""
    return worker_service_pb2.TaskRef(
        caller_namespace=task.caller_namespace,
        operation_id=task.operation_id,
        attempt=task.attempt,
        kind=task.kind,
    )


def outcome(
    task: worker_service_pb2.Task, direction: Direction = Direction.RESULT, **changes: Any
) -> worker_service_pb2.TaskOutcome:
    """Return the sealed outcome of a task."""
    return worker_service_pb2.TaskOutcome(
        task=ref(task), envelope=answer_to(task.request, direction, **changes)
    )


def retryable(task: worker_service_pb2.Task) -> worker_service_pb2.TaskOutcome:
    """Return the retryable failure of a task."""
    failure = worker_service_pb2.RetryableFailure(
        envelope=answer_to(task.request, Direction.FAILURE), error_type="UNAVAILABLE"
    )
    return worker_service_pb2.TaskOutcome(task=ref(task), retry=failure)


def keyset(
    namespace: str,
    *,
    encryption: dict[bytes, "key_service_pb2.KeyState.ValueType"],
    signing: dict[bytes, "key_service_pb2.KeyState.ValueType"],
) -> bytes:
    """Return a serialized keyset with keys in these states."""
    return key_service_pb2.Keyset(
        trust_domain=TRUST_DOMAIN,
        namespace=namespace,
        version=1,
        keys=[
            key_service_pb2.PublicKey(key_id=key_id, kind=kind, state=state)
            for kind, states in (
                (key_service_pb2.KEY_KIND_ENCRYPTION, encryption),
                (key_service_pb2.KEY_KIND_SIGNING, signing),
            )
            for key_id, state in states.items()
        ],
    ).SerializeToString()
