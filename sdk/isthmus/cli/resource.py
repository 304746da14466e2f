"""Protobuf messages of the gateway as documents that commands print."""

from datetime import UTC, datetime
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.wire.names import format_operation_id


def document_of(message: Message) -> dict[str, Any]:
    """Return every field: digests in hexadecimal, ids of operations as ``op-…``, enums by name, datetimes.

    What is not set is None; nested messages become nested documents.
    """
    return {
        field.name: _value(message, field)
        for field in cast("list[FieldDescriptor]", message.DESCRIPTOR.fields)
        if field.containing_oneof is None or message.HasField(field.name)
    }


def moment_of(timestamp: Timestamp) -> datetime:
    """Return a protobuf time as an aware datetime."""
    return timestamp.ToDatetime(tzinfo=UTC)


def enum_name(field: FieldDescriptor, number: int) -> str:
    """Return the name of an enum's value without the prefix of its type, in lower case."""
    values: dict[int, Any] = cast("Any", field.enum_type).values_by_number
    if number not in values:
        return str(number)
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return str(values[number].name).removeprefix(prefix).lower()


def _value(message: Message, field: FieldDescriptor) -> Any:  # noqa: ANN401 - whatever the field holds
    value = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if _is_repeated(field):
            return [_nested(item) for item in value]
        return _nested(value) if message.HasField(field.name) else None
    if field.type == FieldDescriptor.TYPE_ENUM:
        return [enum_name(field, item) for item in value] if _is_repeated(field) else enum_name(field, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        if not value:
            return None
        return format_operation_id(value) if field.name == "operation_id" else value.hex()
    return list(value) if _is_repeated(field) else value


def _nested(message: Message) -> Any:  # noqa: ANN401 - as above
    return moment_of(message) if isinstance(message, Timestamp) else document_of(message)


def _is_repeated(field: FieldDescriptor) -> bool:
    # Newer runtimes have is_repeated and warn about label; older ones have label alone.
    known: bool | None = getattr(field, "is_repeated", None)
    return getattr(field, "label", None) == FieldDescriptor.LABEL_REPEATED if known is None else known
