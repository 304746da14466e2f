"""Values to payloads and back, by content type.

==================================================  ==========================================================
value                                               content type
==================================================  ==========================================================
None                                                empty, with empty data
bytes                                               ``application/octet-stream``
protobuf message                                    ``application/x-protobuf; message-type="full.Name"``
dataclass, pydantic model, msgspec Struct, JSON     ``application/json``, canonical
==================================================  ==========================================================
"""

import functools
import json
import types
import typing
from collections.abc import Callable
from email.message import Message as MimeHeaders
from typing import Any, Protocol

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.jsonable import is_msgspec_struct, is_pydantic_model, to_json, type_name
from isthmus.payload.payload import Payload
from isthmus.payload.structure import from_model_json, structure

JSON = "application/json"
BYTES = "application/octet-stream"
PROTOBUF = "application/x-protobuf"
_BYTES_LIKE = (bytes, bytearray, memoryview)


class PayloadConverter(Protocol):
    """Turns values into payloads and back; both ends of a call use converters that agree."""

    def to_payload(self, value: object) -> Payload:
        """Serialize a value, the same value always to the same bytes. Raises PayloadConversionError."""
        ...

    def from_payload(self, payload: Payload, type_hint: object = Any) -> Any:  # noqa: ANN401
        """Make a value of the hinted type. Raises PayloadConversionError."""
        ...


class DefaultPayloadConverter:
    """The converter of the SDK; subclass it to add a type of your own."""

    def to_payload(self, value: object) -> Payload:
        """Serialize None, bytes, a protobuf message, or anything that has a canonical JSON form.

        Raises:
            PayloadConversionError: the value's type has no form; the message names it.
        """
        if value is None:
            return Payload(content_type="", data=b"")
        if isinstance(value, _BYTES_LIKE):
            return Payload(content_type=BYTES, data=bytes(value))
        if isinstance(value, Message):
            content_type = f'{PROTOBUF}; message-type="{value.DESCRIPTOR.full_name}"'
            return Payload(content_type=content_type, data=value.SerializeToString(deterministic=True))
        return Payload(content_type=JSON, data=to_json(value))

    def from_payload(self, payload: Payload, type_hint: object = Any) -> Any:  # noqa: ANN401
        """Make a value of ``type_hint`` (Any: whatever the content type says).

        Raises:
            PayloadConversionError: the content is not of that type; the message names both.
        """
        if not payload.content_type and not payload.data:
            return _nothing(type_hint)
        media_type, message_type = _parse_content_type(payload.content_type)
        if media_type == JSON or media_type.endswith("+json"):
            return _from_json(payload.data, type_hint)
        if media_type == PROTOBUF:
            return _from_protobuf(payload.data, message_type, type_hint)
        if media_type == BYTES and _accepts(type_hint, bytes):
            return payload.data
        msg = f"content of type {payload.content_type!r} cannot become {type_name(type_hint)}"
        raise PayloadConversionError(msg)


def _nothing(type_hint: object) -> None:
    if not _accepts(type_hint, type(None)):
        msg = f"the payload is empty, expected {type_name(type_hint)}"
        raise PayloadConversionError(msg)


def _accepts(type_hint: object, kind: type) -> bool:
    if any(type_hint is accepted for accepted in (Any, object, kind)):
        return True
    if type_hint is None:
        return kind is type(None)
    if typing.get_origin(type_hint) not in {typing.Union, types.UnionType, typing.Annotated}:  # pyright: ignore[reportDeprecated]
        return False
    return any(_accepts(argument, kind) for argument in typing.get_args(type_hint))


def _from_json(data: bytes, type_hint: object) -> object:
    if isinstance(type_hint, type) and (read := _reader_of(type_hint)) is not None:
        return read(data, type_hint)
    try:
        document = _parse(data)
    except (ValueError, RecursionError) as error:
        msg = f"the content is not JSON, expected {type_name(type_hint)}"
        raise PayloadConversionError(msg) from error
    return structure(document, type_hint)


@functools.lru_cache(maxsize=1024)
def _reader_of(kind: type) -> Callable[[bytes, Any], object] | None:
    """Return what reads the JSON of a class with a parser of its own; None for all others."""
    if is_pydantic_model(kind) or is_msgspec_struct(kind):
        return from_model_json
    return _from_protobuf_json if issubclass(kind, Message) else None


def _from_protobuf_json(data: bytes, kind: type[Message]) -> Message:
    try:
        return json_format.Parse(data, kind())
    except json_format.ParseError as error:
        msg = f"the content is not the JSON form of {kind.DESCRIPTOR.full_name}"
        raise PayloadConversionError(msg) from error


_decode_json = json.JSONDecoder().raw_decode


def _parse(data: bytes) -> object:
    """Parse JSON, canonical JSON at once: UTF-8 without spaces around it. Raises ValueError, RecursionError.

    Two bytes tell other encodings, which ``json`` detects then.
    """
    if 0 not in data[:2] and data[:1] < b"\x80":
        text = data.decode("utf-8", "surrogatepass")
        try:
            document, end = _decode_json(text)
        except ValueError:
            document, end = None, -1
        if end == len(text):
            return document
    return json.loads(data)


def _from_protobuf(data: bytes, message_type: str, type_hint: object) -> Message:
    if isinstance(type_hint, type) and issubclass(type_hint, Message):
        message = type_hint()
    elif type_hint in {Any, object}:
        message = _known_message(message_type)
    else:
        msg = f"the content is the protobuf message {message_type}, expected {type_name(type_hint)}"
        raise PayloadConversionError(msg)
    expected = message.DESCRIPTOR.full_name
    if message_type and message_type != expected:
        msg = f"the content is the protobuf message {message_type}, expected {expected}"
        raise PayloadConversionError(msg)
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        msg = f"the content does not parse as {expected}"
        raise PayloadConversionError(msg) from error
    return message


def _known_message(message_type: str) -> Message:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(message_type)
    except KeyError as error:
        msg = f"the protobuf message {message_type!r} is not known here; import its module"
        raise PayloadConversionError(msg) from error
    return message_factory.GetMessageClass(descriptor)()


def _parse_content_type(content_type: str) -> tuple[str, str]:
    """Return media type and message-type parameter."""
    if content_type == JSON:
        return JSON, ""
    headers = MimeHeaders()
    headers["content-type"] = content_type
    message_type = headers.get_param("message-type", "")
    return headers.get_content_type(), message_type if isinstance(message_type, str) else ""
