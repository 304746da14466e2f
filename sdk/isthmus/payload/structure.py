"""Parsed JSON to typed values: strict about types, tolerant of fields that a newer peer added."""

import base64
import binascii
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import sys
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.jsonable import is_msgspec_struct, is_pydantic_model, to_json, type_name

_TEXT: dict[type, Callable[[str], object]] = {
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    uuid.UUID: uuid.UUID,
    decimal.Decimal: decimal.Decimal,
    Path: Path,
    PurePath: PurePath,
    bytes: lambda text: base64.b64decode(text, validate=True),
}
_NATIVE = frozenset({str, bool, int, dict})
_LISTS: tuple[type, ...] = (list, set, frozenset, tuple)


class _Place:
    """Where in the document, and how strict there. Written out for an error message only."""

    __slots__ = ("_above", "_step", "known_only")

    def __init__(self, above: "_Place | None", step: int | str, known_only: bool) -> None:  # noqa: FBT001
        self._above = above
        self._step = step
        self.known_only = known_only

    @property
    def path(self) -> str:
        if self._above is None:
            return "$"
        suffix = f"[{self._step}]" if isinstance(self._step, int) else f".{self._step}"
        return self._above.path + suffix

    def __getitem__(self, step: int | str) -> "_Place":
        return _Place(self, step, self.known_only)

    def but(self, *, known_only: bool) -> "_Place":
        return _Place(self._above, self._step, known_only)


_ROOT = _Place(None, "$", known_only=False)


def structure(value: object, hint: object) -> typing.Any:  # noqa: ANN401
    """Turn parsed JSON into what ``hint`` says.

    Args:
        value: what ``json.loads`` returned.
        hint: a type: scalars, dataclasses (generic ones too), enums, named tuples, typed dicts, pydantic
            models, msgspec structs, Optional, Union, Literal, list, tuple, set, dict, or Any.

    Raises:
        PayloadConversionError: the value is not of that type; the message says where.
    """
    return _structure(value, hint, _ROOT)


def _structure(value: object, hint: object, at: _Place) -> typing.Any:  # noqa: ANN401
    if isinstance(hint, type) and type(value) is hint and hint in _NATIVE:  # most leaves of most documents
        return value
    if hint is typing.Any or hint is object or isinstance(hint, typing.TypeVar):
        return value
    if hint is None or hint is type(None):
        return _require(value, at, "None", fits=value is None)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _structure_generic(value, hint, origin, at)
    supertype = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
    if supertype is not None:  # a NewType, or a type alias
        return _structure(value, supertype, at)
    if isinstance(hint, type):
        return _structure_class(value, hint, at)
    msg = f"{at.path}: the type hint {type_name(hint)} is not supported"
    raise PayloadConversionError(msg)


def _structure_class(value: object, hint: type, at: _Place) -> object:
    if hint in _NATIVE:
        # type() and not isinstance(): a bool is no int.
        return _require(value, at, type_name(hint), fits=type(value) is hint)
    if hint is float or hint is dt.timedelta:
        number = float(_require(value, at, "a number", fits=type(value) in {int, float}))
        return number if hint is float else dt.timedelta(seconds=number)
    if hint in _TEXT:
        return _from_text(value, hint, at)
    if issubclass(hint, enum.Enum):
        return _from_enum(value, hint, at)
    if is_pydantic_model(hint) or is_msgspec_struct(hint):
        return from_model_json(to_json(value), hint, path=at.path)
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint) or hasattr(hint, "_fields"):
        return _from_fields(value, hint, hint, at)
    if hint in _LISTS:
        return _structure_generic(value, hint, hint, at)
    msg = f"{at.path}: a value of {type_name(hint)} cannot be made from JSON"
    raise PayloadConversionError(msg)


def from_model_json(data: bytes, hint: type, *, path: str = "$") -> object:
    """Make a pydantic model or a msgspec Struct from JSON. Raises PayloadConversionError."""
    try:
        if is_pydantic_model(hint):
            return hint.model_validate_json(data)  # type: ignore[attr-defined]
        return sys.modules["msgspec"].json.decode(data, type=hint)
    except ValueError as error:
        # A validation error quotes the input: it stays reachable as the cause, for the owner of the data.
        msg = f"{path}: not a valid {type_name(hint)}"
        raise PayloadConversionError(msg) from error


def _structure_generic(value: object, hint: object, origin: object, at: _Place) -> object:
    arguments = typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:  # pyright: ignore[reportDeprecated]
        return _from_union(value, arguments, hint, at)
    if origin is typing.Annotated:
        return _structure(value, arguments[0], at)
    if origin is typing.Literal:
        fits = any(value == choice and type(value) is type(choice) for choice in arguments)
        return _require(value, at, type_name(hint), fits=fits)
    if not isinstance(origin, type):
        msg = f"{at.path}: the type hint {type_name(hint)} is not supported"
        raise PayloadConversionError(msg)
    if issubclass(origin, tuple):
        return _from_tuple(value, arguments, at)
    if dataclasses.is_dataclass(origin):
        return _from_fields(value, origin, hint, at)
    if is_pydantic_model(origin) or is_msgspec_struct(origin):
        return from_model_json(to_json(value), typing.cast("type", hint), path=at.path)
    if issubclass(origin, Mapping):
        return _from_mapping(value, arguments, at)
    items = _require(value, at, "a list", fits=isinstance(value, list))
    item_hint = arguments[0] if arguments else typing.Any
    made = [_structure(item, item_hint, at[index]) for index, item in enumerate(items)]
    container = next((kind for kind in _LISTS if issubclass(origin, kind)), list)
    return container(made)


def _from_union(value: object, members: tuple[object, ...], hint: object, at: _Place) -> object:
    if value is None and type(None) in members:
        return None
    for known_only in (True, False):
        for member in members:
            try:
                return _structure(value, member, at.but(known_only=known_only))
            except PayloadConversionError:
                continue
    return _require(value, at, type_name(hint), fits=False)


def _from_tuple(value: object, arguments: tuple[object, ...], at: _Place) -> tuple[object, ...]:
    items = _require(value, at, "a list", fits=isinstance(value, list))
    if not arguments:
        return tuple(items)
    hints = arguments
    if arguments[1:] == (Ellipsis,):
        hints = (arguments[0],) * len(items)
    _require(items, at, f"a list of {len(hints)}", fits=len(items) == len(hints))
    return tuple(
        _structure(item, item_hint, at[index])
        for index, (item, item_hint) in enumerate(zip(items, hints, strict=True))
    )


def _from_mapping(value: object, arguments: tuple[object, ...], at: _Place) -> dict[object, object]:
    members = _require(value, at, "an object", fits=isinstance(value, dict))
    if not arguments:
        return dict(members)
    key_hint, value_hint = arguments
    return {
        _key(key, key_hint, at): _structure(member, value_hint, at[key]) for key, member in members.items()
    }


def _key(key: str, hint: object, at: _Place) -> object:
    """JSON keys are text; integer keys are read back."""
    if hint is int:
        try:
            return int(key)
        except ValueError:
            _require(key, at, "int", fits=False)
    return _structure(key, hint, at)


def _from_fields(value: object, cls: type, hint: object, at: _Place) -> object:
    """Make a dataclass, a named tuple or a typed dict."""
    if isinstance(value, list) and hasattr(cls, "_fields"):  # a named tuple is a JSON list
        value = dict(zip(cls._fields, value, strict=False))
    members = _require(value, at, f"an object ({type_name(cls)})", fits=isinstance(value, dict))
    hints = _field_hints(cls)
    typevars: dict[object, object] = dict(
        zip(getattr(cls, "__parameters__", ()), typing.get_args(hint), strict=False)
    )
    if at.known_only and (unknown := members.keys() - hints.keys()):
        msg = f"{at.path}: {type_name(cls)} has no {', '.join(sorted(unknown))}"
        raise PayloadConversionError(msg)
    made = {
        name: _structure(members[name], _bound(field_hint, typevars), at[name])
        for name, field_hint in hints.items()
        if name in members
    }
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    if missing := required - made.keys():
        msg = f"{at.path}: {type_name(cls)} lacks {', '.join(sorted(missing))}"
        raise PayloadConversionError(msg)
    try:
        return cls(**made)
    except (TypeError, ValueError) as error:
        msg = f"{at.path}: not a valid {type_name(cls)}: {type(error).__name__}"
        missing_fields = _required_fields(cls) - made.keys()
        if missing_fields:
            msg = f"{at.path}: {type_name(cls)} lacks {', '.join(sorted(missing_fields))}"
        raise PayloadConversionError(msg) from error


@functools.lru_cache(maxsize=1024)
def _field_hints(cls: type) -> dict[str, object]:
    """Return the fields that the constructor takes, with their types."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        msg = f"a type hint of {type_name(cls)} cannot be resolved: {error}"
        raise PayloadConversionError(msg) from error
    if dataclasses.is_dataclass(cls):
        return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    return {name: _unwrap_required(hint) for name, hint in hints.items()}


def _unwrap_required(hint: object) -> object:
    wrapped = typing.get_origin(hint) in {typing.Required, typing.NotRequired}
    return typing.get_args(hint)[0] if wrapped else hint


def _required_fields(cls: type) -> set[str]:
    if not dataclasses.is_dataclass(cls):
        names: tuple[str, ...] = getattr(cls, "_fields", ())
        defaults: dict[str, object] = getattr(cls, "_field_defaults", {})
        return set(names) - defaults.keys()
    missing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is missing and field.default_factory is missing
    }


def _bound(hint: object, typevars: Mapping[object, object]) -> object:
    """Put the arguments of a generic class into the hint of one of its fields."""
    if not typevars:
        return hint
    if hint in typevars:
        return typevars[hint]
    parameters = getattr(hint, "__parameters__", ())
    if parameters:
        return hint[tuple(typevars.get(parameter, typing.Any) for parameter in parameters)]  # type: ignore[index]
    return hint


def _from_text(value: object, hint: type, at: _Place) -> object:
    text = _require(value, at, f"the text of a {type_name(hint)}", fits=isinstance(value, str))
    try:
        return _TEXT[hint](text)
    except (ValueError, binascii.Error, decimal.InvalidOperation) as error:
        msg = f"{at.path}: not the text of a {type_name(hint)}"
        raise PayloadConversionError(msg) from error


def _from_enum(value: object, hint: type[enum.Enum], at: _Place) -> object:
    try:
        return hint(value)
    except ValueError as error:
        for member in hint:  # values that are not JSON themselves: compare what they became
            if to_json(member.value) == to_json(value):
                return member
        msg = f"{at.path}: not a {type_name(hint)}"
        raise PayloadConversionError(msg) from error


def _require(value: object, at: _Place, expected: str, *, fits: bool) -> typing.Any:  # noqa: ANN401
    if not fits:
        msg = f"{at.path}: expected {expected}, got {type_name(type(value))}"
        raise PayloadConversionError(msg)
    return value
