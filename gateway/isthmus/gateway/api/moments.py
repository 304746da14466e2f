"""Times on the wire."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.gateway.core.errors import InvalidRequestError


def timestamp(moment: datetime) -> Timestamp:
    """Return a time as a message."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """Return the time that a message says. Raises InvalidRequestError."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(
            "a time is out of range",
            fix="Give a time between the years 1 and 9999.",
        ) from None
