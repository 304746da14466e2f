"""Claim checks in the flows of a client.

An input goes into the store before its envelope is sealed, a result comes out of it after its envelope was
verified. The store blocks, so the flows hand its work to whoever runs them.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isthmus.blobs.claim_checks import Content, Packed
from isthmus.blobs.file import File
from isthmus.blobs.sealing import Binding
from isthmus.client.operation_spec import OperationSpec
from isthmus.client.request import Caller, StartOptions
from isthmus.payload.payload import Payload
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Do work that blocks, away from any event loop; the answer is what it returns."""

    work: Callable[[], object]


def packed_input(
    caller: Caller,
    spec: OperationSpec,
    content: Content,
    options: StartOptions,
    *,
    recipient: str,
    operation_id: OperationId,
    now_ms: int,
) -> Generator[Block, Any, Packed]:
    """Return what the envelope of one generation carries. Raises BlobError, ConfigurationError, OSError."""
    claim_checks = caller.claim_checks
    if not claim_checks.must_pack(content) and not isinstance(content, File):
        return Packed(payload=content, fingerprint=None)
    binding = Binding(
        trust_domain=caller.keyring.trust_domain,
        sender_namespace=caller.namespace,
        recipient_namespace=recipient,
        endpoint=spec.endpoint,
        service=spec.service,
        operation=spec.operation,
        operation_id=operation_id,
        direction=Direction.REQUEST,
    )
    ends_by = datetime.fromtimestamp(now_ms / 1000, UTC) + options.schedule_to_close_timeout
    id_key = caller.keyring.id_key if options.compares_input else None
    packed: Packed = yield Block(
        work=lambda: claim_checks.pack(content, binding=binding, ends_by=ends_by, id_key=id_key)
    )
    return packed


def unpacked_result(
    caller: Caller, payload: Payload, request: Header, output_type: object
) -> Generator[Block, Any, Content]:
    """Return what a result stands for. Raises BlobError, ConfigurationError."""
    binding = result_binding(request)
    content: Content = yield Block(
        work=lambda: caller.claim_checks.unpack(payload, output_type, binding=binding)
    )
    return content


def result_binding(request: Header) -> Binding:
    """Return what the blob of a result is bound to."""
    return Binding(
        trust_domain=request.trust_domain,
        sender_namespace=request.recipient_namespace,
        recipient_namespace=request.sender_namespace,
        endpoint=request.endpoint,
        service=request.service,
        operation=request.operation,
        operation_id=request.operation_id,
        direction=Direction.RESULT,
    )
