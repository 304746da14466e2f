"""Values to bytes and back: the payload inside an envelope."""

from isthmus.payload.converter import DefaultPayloadConverter, PayloadConverter
from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.failures import RemoteError, exception_from_payload, failure_payload
from isthmus.payload.payload import Payload

__all__ = [
    "DefaultPayloadConverter",
    "Payload",
    "PayloadConversionError",
    "PayloadConverter",
    "RemoteError",
    "exception_from_payload",
    "failure_payload",
]
