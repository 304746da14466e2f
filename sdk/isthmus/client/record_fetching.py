"""How records of endpoints are asked for, and what an answer means. No I/O."""

from isthmus.keys.errors import DirectoryUnreachableError
from isthmus.transport.errors import GatewayError, NotFoundError, UnsupportedError
from isthmus.v1 import endpoint_service_pb2
from isthmus.wire.endpoint_record import SignedEndpointRecord, signed_record_of


def record_request(endpoint: str) -> endpoint_service_pb2.GetEndpointRecordRequest:
    """Return what asks for the record of an endpoint, and for those before it."""
    return endpoint_service_pb2.GetEndpointRecordRequest(name=endpoint, include_earlier=True)


def record_in(
    response: endpoint_service_pb2.GetEndpointRecordResponse,
) -> SignedEndpointRecord | None:
    """Return the record of an answer, None when there is none."""
    return signed_record_of(response.record) if response.HasField("record") else None


def no_record(error: GatewayError, *, was_seen: bool) -> SignedEndpointRecord | None:
    """Return where an error means that there is no record, as far as this namespace goes; raise otherwise.

    An endpoint that does not exist, or that this namespace may not call, has none; a start there is still to
    be made, because the gateway denies it on the record. Nor has a gateway any that is older than records.
    Where a record was seen once, nothing goes out without one.

    Raises:
        DirectoryUnreachableError: the gateway cannot be asked now.
        GatewayError: it refuses.
    """
    if isinstance(error, NotFoundError | UnsupportedError) and not was_seen:
        return None
    raise DirectoryUnreachableError(str(error)) if error.retryable else error
