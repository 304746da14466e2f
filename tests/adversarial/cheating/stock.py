"""Everything that passed through the gateway, taken apart, so that lies can be made of true pieces.

A piece has a kind: what it may stand in for. All sealed messages are one kind, all operation ids another; a
message of the wire contract is of the kind of its type.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from isthmus.v1 import envelope_pb2

ENVELOPE = "envelope"
_ENVELOPES = frozenset(
    {
        "attested", "cancel", "context", "contexts", "details", "envelope", "progress", "request", "signal",
        "signals", "started",
    }
)  # fmt: skip
_NAMESPACES = frozenset({"namespace", "caller_namespace", "sender_namespace", "recipient_namespace"})
_MOST_OF_A_KIND = 300


def kind_of(of: Any) -> str:  # noqa: ANN401 - a descriptor, which has a type for each runtime
    """Return what kind of piece stands in a field."""
    if of.message_type is not None:
        return str(of.message_type.full_name)
    if of.enum_type is not None:
        return str(of.enum_type.full_name)
    if of.type == FieldDescriptor.TYPE_BYTES and of.name in _ENVELOPES:
        return ENVELOPE
    return "namespace" if of.name in _NAMESPACES else str(of.name)


class Place(NamedTuple):
    """A field of a message somewhere inside of another one."""

    message: Message
    of: Any
    """The field's descriptor."""

    @property
    def kind(self) -> str:
        """What may stand here."""
        return kind_of(self.of)

    def put(self, piece: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Say this instead."""
        name = self.of.name
        if self.of.is_repeated:
            self.message.ClearField(name)
            piece = [piece]
        if self.of.is_repeated:
            getattr(self.message, name).extend(piece)
        elif self.of.message_type is not None:
            getattr(self.message, name).CopyFrom(piece)
        else:
            setattr(self.message, name, piece)


def places(message: Message) -> Iterator[Place]:
    """Return the fields of a message and of what is in it, whether they are set or not."""
    for of in message.DESCRIPTOR.fields:
        yield Place(message, of)
        if of.message_type is None:
            continue
        if of.is_repeated:
            for inner in getattr(message, of.name):
                yield from places(inner)
        elif message.HasField(of.name):
            yield from places(getattr(message, of.name))


def header_of(envelope: bytes) -> envelope_pb2.EnvelopeHeader:
    """Return the header of a sealed message; an empty one when it is none."""
    try:
        return envelope_pb2.EnvelopeHeader.FromString(envelope_pb2.Envelope.FromString(envelope).header)
    except DecodeError:
        return envelope_pb2.EnvelopeHeader()


def operation_of(piece: object) -> bytes:
    """Return the operation that a piece is about; nothing when it is about none."""
    if isinstance(piece, bytes):
        return header_of(piece).operation_id
    if not isinstance(piece, Message):
        return b""
    named = getattr(piece, "operation_id", b"")
    if isinstance(named, bytes) and named:
        return named
    for of, value in piece.ListFields():
        for part in value if of.is_repeated else [value]:
            found = b""
            if isinstance(part, Message) or kind_of(of) == ENVELOPE:
                found = operation_of(part)
            elif of.name == "header" and isinstance(part, bytes):
                found = header_of(envelope_pb2.Envelope(header=part).SerializeToString()).operation_id
            if found:
                return found
    return b""


class _Piece(NamedTuple):
    said: Any
    operation: bytes
    direction: int


class Stock:
    """What a gateway that forgets nothing has to lie with."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[_Piece]] = {}
        self._known: set[tuple[str, bytes]] = set()

    def take_in(self, message: Message) -> None:
        """Keep every piece of a message."""
        for of, value in message.ListFields():
            pieces = value if of.is_repeated else [value]
            for piece in pieces:
                self._keep(kind_of(of), piece)
                if isinstance(piece, Message):
                    self.take_in(piece)

    def _keep(self, kind: str, piece: Any) -> None:  # noqa: ANN401 - whatever a field holds
        kept = self._pieces.setdefault(kind, [])
        is_message = isinstance(piece, Message)
        known = kind, piece.SerializeToString(deterministic=True) if is_message else repr(piece).encode()
        if known in self._known or len(kept) >= _MOST_OF_A_KIND:
            return
        self._known.add(known)
        if is_message:
            own = type(piece)()
            own.CopyFrom(piece)
            kept.append(_Piece(own, operation_of(own), 0))
        elif kind == ENVELOPE:
            header = header_of(piece)
            kept.append(_Piece(piece, header.operation_id, header.direction))
        else:
            kept.append(_Piece(piece, b"", 0))

    def has(self, kind: str) -> bool:
        """Whether there is any piece of a kind."""
        return bool(self._pieces.get(kind))

    def pick(self, kind: str, number: int, *, about: bytes = b"", direction: int = 0) -> Any:  # noqa: ANN401
        """Return a piece of a kind, if there is one: about an operation, in a direction, if there is such."""
        kept = self._pieces.get(kind)
        if not kept:
            return None
        fit = [
            piece
            for piece in kept
            if (not about or piece.operation == about) and (not direction or piece.direction == direction)
        ] or [piece for piece in kept if about and piece.operation == about]
        fit = fit or kept
        return fit[number % len(fit)].said


class Near(NamedTuple):
    """How near to the truth a lie is: about the same operation, a message of the same direction."""

    operation: bool
    direction: bool

    def pick(self, stock: Stock, number: int, shown: bytes, about: bytes) -> bytes | None:
        """Return a sealed message that is as near to the one that is shown."""
        found: bytes | None = stock.pick(
            ENVELOPE,
            number,
            about=about if self.operation else b"",
            direction=header_of(shown).direction if self.direction else 0,
        )
        return found
