"""Records that owners signed about their endpoints: wire ↔ commands."""

from collections.abc import Sequence

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.visibility import is_visible
from isthmus.gateway.commands.publish_endpoint_record import PublishEndpointRecord
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.ports import Reader, StoredEndpointRecord
from isthmus.v1 import endpoint_record_pb2, key_service_pb2
from isthmus.wire.endpoint_record import MAX_EARLIER, EndpointRecord
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_endpoint
from isthmus.wire.trust_statement import signed_statement_of

MAX_RECORD_BYTES = 64 * 1024
"""Largest record with its signature: a hybrid one has 3.4 KB, fourteen names less than one."""


def read_signed_record(message: key_service_pb2.SignedStatement) -> PublishEndpointRecord:
    """Parse a record; whether it is believed is the command's business.

    Raises:
        InvalidRequestError: it is no record, or too large.
        WireFormatError: it names no valid endpoint.
    """
    if message.ByteSize() > MAX_RECORD_BYTES:
        raise InvalidRequestError(
            f"the record is larger than {MAX_RECORD_BYTES} bytes",
            reason="ENDPOINT_RECORD",
            fix="name fewer recipients and earlier task queues",
        )
    signed = signed_statement_of(message)
    try:
        record = EndpointRecord.decode(signed.statement)
    except WireFormatError as error:
        raise InvalidRequestError(
            f"the record is refused: {error}",
            reason="ENDPOINT_RECORD",
            fix="sign it with the newest keyring: isthmus endpoint publish",
        ) from None
    check_endpoint(record.endpoint)
    return PublishEndpointRecord(record=record, signed=signed)


def find_records(
    reader: Reader, name: str, namespace: str, *, with_earlier: bool
) -> Sequence[StoredEndpointRecord] | None:
    """Return the records of an endpoint, the newest first, as a namespace may see them.

    Its owner, its callers and the recipients that the newest record requires do. None: it does not exist, as
    far as this namespace goes.
    """
    endpoint = reader.endpoint(name)
    if endpoint is None or not _may_see(endpoint, namespace):
        return None
    return reader.endpoint_records(name, endpoint.namespace, MAX_EARLIER + 1 if with_earlier else 1)


def signed_record_message(
    records: Sequence[StoredEndpointRecord],
) -> endpoint_record_pb2.SignedEndpointRecord | None:
    """Return records, the newest first, as a message: those that are consecutive. None when there is none."""
    if not records:
        return None
    newest, *before = records
    message = endpoint_record_pb2.SignedEndpointRecord(
        record=key_service_pb2.SignedStatement.FromString(newest.message)
    )
    earlier: list[bytes] = []
    for distance, record in enumerate(before, 1):
        if record.version != newest.version - distance:
            break
        earlier.append(record.record)
    message.earlier.extend(reversed(earlier))
    return message


def _may_see(endpoint: Endpoint, namespace: str) -> bool:
    if is_visible(endpoint, namespace):
        return True
    terms = endpoint.record
    return endpoint.deleted_at is None and terms is not None and namespace in terms.recipients
