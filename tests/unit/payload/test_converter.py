"""Values to payloads and back."""

import dataclasses
import datetime as dt
import decimal
import enum
import subprocess
import sys
import typing
import uuid
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Required,
    TypedDict,
    TypeVar,
)

import msgspec
import pydantic
import pytest
from google.protobuf.duration_pb2 import Duration

from isthmus.payload import DefaultPayloadConverter, Payload, PayloadConversionError

T = TypeVar("T")
OrderId = NewType("OrderId", str)
CONVERTER = DefaultPayloadConverter()


class Color(enum.Enum):
    """An enum with text values."""

    RED = "red"


class Pair(enum.Enum):
    """An enum whose values are no JSON scalars."""

    ONE = (1, 2)


class Model(pydantic.BaseModel):
    """A pydantic model."""

    when: dt.datetime
    count: int = pydantic.Field(alias="n")


class Struct(msgspec.Struct):
    """A msgspec struct."""

    name: str
    size: int = 1


@dataclasses.dataclass
class Box(Generic[T]):
    """A generic dataclass."""

    inner: T
    others: list[T]


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int = 0


class Options(TypedDict, total=False):
    """A typed dict."""

    retries: Required[int]
    note: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """A dataclass with one field of each kind."""

    color: Color
    at: dt.datetime
    key: uuid.UUID
    price: decimal.Decimal
    order: OrderId
    maybe: int | None = None
    old_style: "typing.Optional[str]" = None  # noqa: UP045 # pyright: ignore[reportDeprecated]
    children: list["Everything"] = dataclasses.field(default_factory=list)
    pair: tuple[int, str] = (1, "a")
    many: tuple[int, ...] = (1, 2)
    model: Model | None = None
    struct: Struct | None = None
    raw: bytes = b"\x00\xff"
    box: Box[int] = dataclasses.field(default_factory=lambda: Box(3, [4]))
    point: Point = Point(1)  # noqa: RUF009 - it is immutable
    options: Options = dataclasses.field(default_factory=lambda: Options(retries=1))
    tags: frozenset[str] = frozenset({"b", "a"})
    by_number: dict[int, float] = dataclasses.field(default_factory=lambda: {1: 2.5})
    lasting: dt.timedelta = dt.timedelta(seconds=1.5)
    mode: Literal["fast", "safe"] = "safe"
    noted: Annotated[int, "meters"] = 4
    derived: int = dataclasses.field(init=False, default=7)


def everything(**changes: Any) -> Everything:
    """Return a value of each kind."""
    values: dict[str, Any] = {
        "color": Color.RED,
        "at": dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
        "key": uuid.UUID(int=5),
        "price": decimal.Decimal("1.10"),
        "order": OrderId("o-1"),
    }
    return Everything(**(values | changes))


def test_dataclass_survives_when_nested_with_every_kind() -> None:
    """Round trip of values and of bytes."""
    model = Model(when=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), n=1)
    value = everything(children=[everything()], model=model, struct=Struct(name="s"))
    payload = CONVERTER.to_payload(value)
    assert payload.content_type == "application/json"
    back = CONVERTER.from_payload(payload, Everything)
    assert back == value
    assert CONVERTER.to_payload(back) == payload


@pytest.mark.parametrize(
    ("value", "hint", "content_type"),
    [
        (None, None, ""),
        (None, type(None), ""),
        (None, int | None, ""),
        (None, Any, ""),
        (b"raw", bytes, "application/octet-stream"),
        (b"raw", Any, "application/octet-stream"),
        (b"raw", bytes | None, "application/octet-stream"),
        ({"a": [1, 2.5, None, True]}, Any, "application/json"),
        ({"a": 1}, dict[str, int], "application/json"),
        ([Struct(name="a")], list[Struct], "application/json"),
        (Struct(name="a"), Struct, "application/json"),
        (3, int, "application/json"),
        (3, float, "application/json"),
        ("text", str | int, "application/json"),
        (Pair.ONE, Pair, "application/json"),
        (Box(Point(1), []), Box[Point], "application/json"),
    ],
)
def test_value_survives_when_hinted(value: object, hint: object, content_type: str) -> None:
    """Each content type and each kind of hint."""
    payload = CONVERTER.to_payload(value)
    assert payload.content_type == content_type
    assert CONVERTER.from_payload(payload, hint) == value


def test_bytes_are_equal_when_values_are_equal() -> None:
    """Fingerprints need canonical bytes: key order and set order do not matter."""
    assert CONVERTER.to_payload({"b": 1, "a": 2}).data == b'{"a":2,"b":1}'
    assert CONVERTER.to_payload({3, 1, 2}) == CONVERTER.to_payload({2, 3, 1})


def test_protobuf_message_survives_when_its_type_is_named() -> None:
    """By hint, and by the message type alone; JSON too when the hint is a message."""
    payload = CONVERTER.to_payload(Duration(seconds=3))
    assert payload.content_type == 'application/x-protobuf; message-type="google.protobuf.Duration"'
    assert CONVERTER.from_payload(payload, Duration) == Duration(seconds=3)
    assert CONVERTER.from_payload(payload) == Duration(seconds=3)
    json_form = Payload(content_type="application/json; charset=utf-8", data=b'"3s"')
    assert CONVERTER.from_payload(json_form, Duration) == Duration(seconds=3)


def test_unknown_field_is_ignored_when_peer_is_newer() -> None:
    """Contracts grow; a union still takes the member that fits exactly."""
    newer = Payload(content_type="application/json", data=b'{"inner":1,"others":[],"new":true}')
    assert CONVERTER.from_payload(newer, Box[int]) == Box(1, [])

    @dataclasses.dataclass
    class Narrow:
        a: int

    @dataclasses.dataclass
    class Wide:
        a: int
        b: int = 0

    wide = Payload(content_type="application/json", data=b'{"a":1,"b":2}')
    assert CONVERTER.from_payload(wide, Narrow | Wide) == Wide(1, 2)


@pytest.mark.parametrize(
    ("data", "hint", "message"),
    [
        (b'"3"', int, r"\$: expected int, got str"),
        (b"true", int, "expected int, got bool"),
        (b"1", bool, "expected bool, got int"),
        (b"[1]", list[str], r"\$\[0\]: expected str"),
        (b'{"a":{"b":"x"}}', dict[str, dict[str, int]], r"\$\.a\.b: expected int"),
        (b"{}", Box[int], "Box.* lacks inner, others"),
        (b"{}", Options, "lacks retries"),
        (b'"purple"', Color, "not a .*Color"),
        (b'"no"', dt.datetime, "not the text of a datetime"),
        (b"[1]", tuple[int, str], "expected a list of 2"),
        (b'"slow"', Literal["fast"], "expected .*Literal"),
        (b'"x"', int | float, "expected int | float"),
        (b'{"n":"x"}', Model, "not a valid .*Model"),
        (b"nonsense", int, "not JSON"),
        (b"1", bytes, "text of a bytes"),
        (b"1", CONVERTER.__class__, "cannot be made from JSON"),
    ],
)
def test_error_names_type_and_place_when_content_does_not_fit(
    data: bytes, hint: object, message: str
) -> None:
    """Strict, and clear about where."""
    with pytest.raises(PayloadConversionError, match=message):
        CONVERTER.from_payload(Payload(content_type="application/json", data=data), hint)


def test_content_does_not_appear_when_conversion_fails() -> None:
    """Messages go to logs; payloads do not."""
    payload = Payload(content_type="application/json", data=b'{"n":"secret-123","when":"secret-123"}')
    with pytest.raises(PayloadConversionError) as caught:
        CONVERTER.from_payload(payload, Model)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(payload)


@pytest.mark.parametrize("value", [object(), float("nan"), [object()], {("a", 1): 2}, "\ud800"])
def test_value_is_refused_when_it_has_no_form(value: object) -> None:
    """Named by type."""
    with pytest.raises(PayloadConversionError):
        CONVERTER.to_payload(value)


@pytest.mark.parametrize(
    ("content_type", "hint", "message"),
    [
        ("", int, "empty, expected int"),
        ("text/csv", str, "text/csv"),
        ('application/x-protobuf; message-type="other.Name"', Duration, r"other\.Name, expected google"),
        ('application/x-protobuf; message-type="other.Name"', Any, "not known here"),
        ('application/x-protobuf; message-type="other.Name"', int, "expected int"),
    ],
)
def test_content_type_is_refused_when_it_does_not_fit(content_type: str, hint: object, message: str) -> None:
    """The content type and the hint are both named."""
    with pytest.raises(PayloadConversionError, match=message):
        CONVERTER.from_payload(Payload(content_type=content_type, data=b""), hint)


@pytest.mark.parametrize(
    "data",
    [
        '{"ä": [1, "x"]}'.encode(encoding)
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    ]
    + [b' \n{"\xc3\xa4": [1, "x"]} '],
)
def test_json_is_read_whatever_its_encoding_and_its_spaces(data: bytes) -> None:
    """A peer of another SDK may write JSON that is not canonical."""
    payload = Payload(content_type="application/json", data=data)
    assert DefaultPayloadConverter().from_payload(payload) == {"ä": [1, "x"]}


@pytest.mark.parametrize("data", [b"", b" ", b"1 2", b"\xff", b"{", b'"x" y'])
def test_content_is_refused_when_it_is_not_one_document(data: bytes) -> None:
    """Not even when it begins with one."""
    with pytest.raises(PayloadConversionError, match="not JSON"):
        DefaultPayloadConverter().from_payload(Payload(content_type="application/json", data=data))


def test_heavy_libraries_stay_unloaded_when_not_used() -> None:
    """The light core imports neither pydantic nor msgspec nor PyJWT."""
    code = (
        "import sys, isthmus.payload, isthmus.transport.session, isthmus.transport.credentials;"
        "assert not {'pydantic', 'msgspec', 'jwt'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
