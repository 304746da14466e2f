"""Lies: what a cheating gateway makes, out of everything that it knows, of the next thing that it tells."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from tests.adversarial.cheating.cheat import Cheat, Item, Lie
from tests.adversarial.cheating.forgery import Forger
from tests.adversarial.cheating.stock import ENVELOPE, Near, Place, operation_of, places
from tests.adversarial.relay import SESSION, RefusalError

from isthmus.gateway.statement_key import StatementKey
from isthmus.v1 import envelope_pb2, operation_pb2, operation_service_pb2
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Direction

ANSWERS = "replies"
TASKS = "tasks"
AIMS = (
    ANSWERS, "replies.start", "replies.execute", "replies.wait", "replies.cancel", "replies.progress",
    "replies.signal", TASKS, "interrupts", "acks", "report_acks", "signals", "BatchGetOperationStatuses",
    "WhoAmI", "GetGatewayKey", "GetKeyset", "ReadSignals",
)  # fmt: skip
SHOWN = (ANSWERS, "replies.wait", "replies.start", "replies.progress", TASKS, "signals")
SAID = ("said.calls.start", "said.calls.cancel", "said.calls.signal", "said.outcomes", "said.reports")
Make = Callable[[bytes, bytes], bytes | None]
"""Makes a sealed message of the one that is shown and the operation that it is about."""
_TEXTS = (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING)
_STATUSES = {"start", "execute", "wait", "cancel"}


class Lies:
    """Makes lies for one cheating gateway."""

    def __init__(self, cheat: Cheat, forger: Forger, statement_key: StatementKey) -> None:
        self._cheat = cheat
        self._forger = forger
        self._statement_key = statement_key

    def swap(self, kind: str, *, where: int, what: int, near: bool) -> Lie:
        """Say in one field what was said in such a field elsewhere."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            about = operation_of(told) if near else b""
            open_places = [place for place in places(told) if self._cheat.stock.has(place.kind)]
            if not open_places:
                return None
            place = open_places[where % len(open_places)]
            place.put(self._cheat.stock.pick(place.kind, what, about=about))
            return [told]

        return Lie(name="swap", kind=kind, change=change)

    def envelope(self, kind: str, *, where: int, what: int, near: Near) -> Lie:
        """Show another sealed message."""

        def change(item: Item) -> Sequence[Message] | None:
            def pick(shown: bytes, about: bytes) -> bytes | None:
                return near.pick(self._cheat.stock, what, shown, about)

            return self._with_envelope(item, where, pick)

        return Lie(name="envelope", kind=kind, change=change)

    def splice(self, kind: str, part: str, *, where: int, what: int, near: Near, signer: int | None) -> Lie:
        """Put a part, or a header field, of another sealed message into the one that is shown."""

        def make(shown: bytes, about: bytes) -> bytes:
            other = near.pick(self._cheat.stock, what, shown, about) or shown
            if part in envelope_pb2.EnvelopeHeader.DESCRIPTOR.fields_by_name:
                return self._forger.change(shown, other, part, signer=signer)
            if part == "bit":
                return self._forger.flip(shown, what)
            return self._forger.splice(shown, other, part, signer=signer)

        def change(item: Item) -> Sequence[Message] | None:
            return self._with_envelope(item, where, make)

        return Lie(name=f"splice {part}", kind=kind, change=change)

    def forge(
        self, kind: str, direction: Direction, number: int, *, where: int, signer: int, claims: bool
    ) -> Lie:
        """Show a message that the gateway sealed itself, about the request that it has to do with."""

        def change(item: Item) -> Sequence[Message] | None:
            request = self._cheat.request_of(operation_of(item.message))
            if not request:
                return None
            forged = self._forger.forge(request, direction, number, signer=signer, claims=claims)

            def make(_shown: bytes, _about: bytes) -> bytes:
                return forged

            return self._with_envelope(item, where, make)

        return Lie(name=f"forge {direction.name}", kind=kind, change=change)

    def state(self, kind: int, cancel: int, *, with_cancel: bool, near: bool) -> Lie:
        """State that an operation ended."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            status = status_of(told)
            if status is None:
                return None
            shown = self.statement(status.operation_id, kind)
            if shown is None:
                return None
            status.ending.statement.CopyFrom(shown)
            if with_cancel:
                about = status.operation_id if near else b""
                status.cancel = self._cheat.stock.pick(ENVELOPE, cancel, about=about) or b""
            return [told]

        return Lie(name="state", kind=ANSWERS, change=change)

    def statement(self, operation_id: bytes, kind: int) -> operation_pb2.GatewayStatement | None:
        """Return a statement that is well signed, about the very request."""
        asked = self._cheat.request_of(operation_id)
        if not asked:
            return None
        envelope = parse_envelope(asked)
        body = operation_pb2.StatementBody(
            kind=operation_pb2.StatementKind.ValueType(kind),
            trust_domain=envelope.header.trust_domain,
            caller_namespace=envelope.header.sender_namespace,
            operation_id=operation_id,
            request_digest=envelope.digest,
            decided_at_ms=time.time_ns() // 1_000_000,
        ).SerializeToString(deterministic=True)
        key = self._statement_key
        return operation_pb2.GatewayStatement(body=body, key_id=key.key_id, signature=key.sign(body))

    def attach(self, what: int, *, near: bool) -> Lie:
        """Say that a start found an operation, and show some request as what it found."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            status = status_of(told)
            if status is None:
                return None
            about = status.operation_id if near else b""
            shown = self._cheat.stock.pick(ENVELOPE, what, about=about)
            if shown is None:
                return None
            status.attached = True
            status.request.CopyFrom(_proof(shown))
            return [told]

        return Lie(name="attach", kind=ANSWERS, change=change)

    def detach(self) -> Lie:
        """Say that a start made the operation, although another one did."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            status = status_of(told)
            if status is None or not status.attached:
                return None
            status.attached = False
            status.ClearField("request")
            return [told]

        return Lie(name="detach", kind=ANSWERS, change=change)

    def silence(self, kind: str) -> Lie:
        """Say nothing."""
        return Lie(name="silence", kind=kind, change=lambda _: ())

    def repeat(self, kind: str) -> Lie:
        """Say it three times."""
        return Lie(name="repeat", kind=kind, change=lambda item: [_copy(item.message) for _ in range(3)])

    def hold(self, kind: str) -> Lie:
        """Say it later."""
        return Lie(name="hold", kind=kind, change=self._cheat.hold)

    def garbage(self, kind: str, *, where: int, number: int) -> Lie:
        """Say nonsense in a field of bytes or text."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            fit = [
                place
                for place in places(told)
                if place.of.type in (place.of.TYPE_BYTES, place.of.TYPE_STRING)
            ]
            if not fit:
                return None
            place = fit[where % len(fit)]
            noise = number.to_bytes(8, "big") * (1 + number % 9)
            place.put(noise if place.of.type == FieldDescriptor.TYPE_BYTES else noise.hex())
            return [told]

        return Lie(name="garbage", kind=kind, change=change)

    def refuse(self, kind: str, code: grpc.StatusCode) -> Lie:
        """Answer with an error; on streams of sessions to one call, otherwise to the RPC."""

        def change(item: Item) -> Sequence[Message] | None:
            if item.line.method == SESSION and kind.startswith(ANSWERS):
                status = status_pb2.Status(code=code.value[0], message="refused")
                reply = operation_service_pb2.SessionReply(
                    call_id=item.message.call_id, error=status.SerializeToString()
                )
                return [reply]
            raise RefusalError(code, "refused")

        return Lie(name=f"refuse {code.name}", kind=kind, change=change)

    def keyset(self, namespace: str, shown: Message) -> Lie:
        """Serve a keyset as that of a namespace, from now on."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            asked = self._cheat.keyset_asked.get(item.line)
            if asked != namespace:
                return None
            told.keyset.CopyFrom(shown)
            return [told]

        return Lie(name="keyset", kind="GetKeyset", change=change, lasting=True, about=namespace)

    def owner(self, namespace: str) -> Lie:
        """Say that endpoints belong to somebody else, from now on."""

        def change(item: Item) -> Sequence[Message] | None:
            told = _copy(item.message)
            told.endpoint.namespace = namespace
            return [told]

        return Lie(name="owner", kind="GetEndpoint", change=change, lasting=True)

    def _with_envelope(
        self, item: Item, where: int, make: Callable[[bytes, bytes], bytes | None]
    ) -> Sequence[Message] | None:
        """Put another sealed message where one is, or where one could be."""
        told = _copy(item.message)
        fit = [place for place in places(told) if place.kind == ENVELOPE]
        fit = [place for place in fit if _shown(place)] or fit
        if not fit:
            return None
        place = fit[where % len(fit)]
        put = make(_shown(place), operation_of(item.message))
        if put is None:
            return None
        place.put(put)
        return [told]


def status_of(told: Any) -> Any:  # noqa: ANN401 - an OperationStatus, if the answer has one
    """Return the status that an answer tells."""
    name = told.WhichOneof("reply") if "reply" in told.DESCRIPTOR.oneofs_by_name else None
    if name is None:
        return getattr(told, "status", None)
    return getattr(told, name).status if name in _STATUSES else None


def _shown(place: Place) -> bytes:
    value = getattr(place.message, place.of.name)
    if place.of.is_repeated:
        return value[0] if value else b""
    return bytes(value)


def _copy(message: Any) -> Any:  # noqa: ANN401 - the same type
    return type(message).FromString(message.SerializeToString())


def _proof(envelope: bytes) -> envelope_pb2.RequestProof:
    try:
        parsed = parse_envelope(envelope)
    except WireFormatError:
        return envelope_pb2.RequestProof()
    return envelope_pb2.RequestProof(
        header=parsed.header_bytes, signature=parsed.signature, body_digest=parsed.body_digest
    )
