"""Values to canonical JSON: the same value gives the same bytes, in every process.

The caller's fingerprint of an input is a hash of these bytes, so keys are sorted and sets are ordered.
"""

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import sys
import uuid
from pathlib import PurePath
from typing import Final

from isthmus.payload.errors import PayloadConversionError


def to_json(value: object) -> bytes:
    """Serialize a value as canonical JSON (sorted keys, no spaces, UTF-8).

    Dataclasses become objects; enums their values; dates, times and UUIDs their ISO 8601 or canonical text;
    timedeltas their seconds; decimals and paths text; bytes base64; sets sorted lists.

    Raises:
        PayloadConversionError: the value, or something inside it, has no JSON form.
    """
    try:
        return _ENCODER.encode(value).encode()
    except PayloadConversionError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        name = type_name(type(value))
        msg = f"a {name} cannot be sent: {error}"
        raise PayloadConversionError(msg, type_name=name) from error


def type_name(hint: object) -> str:
    """Name a type for people."""
    if isinstance(hint, type) and not hasattr(hint, "__args__"):
        return (
            hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"
        )
    return str(hint)


def is_pydantic_model(hint: object) -> bool:
    """Whether this is a pydantic model class; answers without importing pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def is_msgspec_struct(hint: object) -> bool:
    """Whether this is a msgspec Struct class; answers without importing msgspec."""
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _plain(value: object) -> object:
    """Return the next simpler form of what ``json`` does not know; it asks again for what is inside."""
    kind = type(value)
    if is_pydantic_model(kind):
        return value.model_dump(mode="json", by_alias=True)  # type: ignore[attr-defined]
    if is_msgspec_struct(kind):
        return sys.modules["msgspec"].to_builtins(value, str_keys=True)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    match value:
        case enum.Enum():
            return value.value
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case uuid.UUID() | decimal.Decimal() | PurePath():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case set() | frozenset():
            return sorted(value, key=to_json)
        case _:
            name = type_name(type(value))
            msg = (
                f"a value of type {name} has no JSON form; use a dataclass, a pydantic "
                "model, a msgspec Struct, a protobuf message or plain JSON types"
            )
            raise PayloadConversionError(msg, type_name=name)


# ``json.dumps`` would make one for each value.
_ENCODER: Final = json.JSONEncoder(
    default=_plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
