"""The gateway that cheats: an honest one behind a layer that keeps everything, and changes what it likes.

Answers and what workers get are taken apart into items: one reply, one task, one interrupt. Lies are armed:
each waits for the next item that it is about. What is armed, held back or injected, the machine decides.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tests.adversarial.cheating.stock import Stock, operation_of
from tests.adversarial.relay import SESSION, V1, WORK, Line, RefusalError

from isthmus.v1 import (
    audit_service_pb2,
    endpoint_service_pb2,
    key_service_pb2,
    namespace_service_pb2,
    operation_service_pb2,
    worker_service_pb2,
)
from isthmus.wire.envelope import parse_envelope

POLL = V1 + "WorkerService/PollTasks"
RESPOND = V1 + "WorkerService/RespondTasks"
START = V1 + "OperationService/StartOperation"
KEYSET = V1 + "KeyService/GetKeyset"
_PARTS = {
    SESSION: ("replies",),
    WORK: ("tasks", "interrupts", "acks", "report_acks", "signals"),
    POLL: ("tasks",),
    RESPOND: ("interrupts", "acks", "report_acks"),
}
_SAID = {SESSION: ("calls",), WORK: ("outcomes", "reports"), RESPOND: ("outcomes", "reports")}
_TWINS = {
    "StartOperation": "start",
    "ExecuteOperation": "execute",
    "WaitOperation": "wait",
    "CancelOperation": "cancel",
    "GetOperation": "get",
    "GetProgress": "progress",
    "SignalOperation": "signal",
}
"""Unary calls whose answers are lied about as those of sessions are."""
_MOST_ARMED = 5


def _message_types() -> dict[str, tuple[type[Message], type[Message]]]:
    found: dict[str, tuple[type[Message], type[Message]]] = {}
    for module in (
        audit_service_pb2, endpoint_service_pb2, key_service_pb2, namespace_service_pb2,
        operation_service_pb2, worker_service_pb2,
    ):  # fmt: skip
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                types = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
                found[f"/{service.full_name}/{method.name}"] = types
    return found


_TYPES = _message_types()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What one end is told, or says, at a time."""

    line: Line
    namespace: str
    """Of the client."""
    kind: str
    """``replies.wait``, ``tasks``, ``GetKeyset`` …"""
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """What becomes of the next item of a kind."""

    name: str
    kind: str
    """The item's kind, or how it begins."""
    change: Callable[[Item], Sequence[Message] | None]
    """Returns what is passed on instead; None: it did not apply, and waits for another item."""
    namespace: str = ""
    """Whose client is told; empty: anybody's."""
    lasting: bool = False
    about: str = ""
    """The namespace that it is about, if it is about one."""

    def is_about(self, item: Item) -> bool:
        """Whether this is such an item."""
        return item.kind.startswith(self.kind) and self.namespace in ("", item.namespace)


@dataclass(slots=True, kw_only=True)
class Cheat:
    """Sits in the middle."""

    honest: grpc.aio.Channel
    stock: Stock = field(default_factory=Stock)
    armed: list[Lie] = field(default_factory=list)
    told: int = 0
    """How many lies were told."""
    started: set[bytes] = field(default_factory=set)
    """Operations that the honest gateway knows."""
    moved: int = 0
    """Grows whenever anything passes."""
    open_calls: dict[tuple[int, int], tuple[Line, Any]] = field(default_factory=dict)
    """Calls of sessions that nobody has answered."""
    keyset_asked: dict[Line, str] = field(default_factory=dict)
    _requests: dict[bytes, list[bytes]] = field(default_factory=dict)
    _held: list[tuple[Line, bytes]] = field(default_factory=list)
    _lines: dict[Line, str] = field(default_factory=dict)

    def request_of(self, operation_id: bytes, number: int = 0) -> bytes:
        """Return a request that was made for an operation, the first one unless it says otherwise."""
        known = self._requests.get(operation_id, [])
        return known[number % len(known)] if known else b""

    def some_request(self, number: int) -> bytes | None:
        """Return any request that was ever made; mostly one of several for the same operation."""
        several = [known for known in self._requests.values() if len(known) > 1]
        known = [each for known in (several if number % 3 else self._requests.values()) for each in known]
        return known[number % len(known)] if known else None

    @staticmethod
    def caller_of(request: bytes) -> str:
        """Return who made a request."""
        return parse_envelope(request).header.sender_namespace

    @staticmethod
    def operation_of_call(call: Any) -> bytes:  # noqa: ANN401 - a SessionCall
        """Return the operation that an open call is about."""
        asked = getattr(call, call.WhichOneof("call"))
        envelope = asked.start.envelope if hasattr(asked, "start") else getattr(asked, "envelope", b"")
        return operation_of(envelope) if envelope else asked.operation_id

    # --- what the machine decides -------------------------------------------------------------------------

    def arm(self, lie: Lie) -> None:
        """Tell a lie as soon as there is an occasion."""
        if len(self.armed) >= _MOST_ARMED:
            del self.armed[0]
        self.armed.append(lie)

    def work_lines(self) -> list[tuple[Line, str]]:
        """Return the streams of workers, with their namespaces."""
        return [(line, namespace) for line, namespace in self._lines.items() if line.method == WORK]

    def inject(self, line: Line, message: Message) -> None:
        """Say something that the honest gateway never said."""
        self.told += 1
        self._pass(line, message.SerializeToString())

    def hold(self, item: Item) -> tuple[Message, ...]:
        """Keep an item of a stream back, to be told later."""
        if item.line.method in (SESSION, WORK):
            self._held.append((item.line, _frame(item).SerializeToString()))
        return ()

    def release_held(self, *, reverse: bool) -> None:
        """Tell what was held back, in order or not."""
        held, self._held = self._held, []
        for line, frame in held[::-1] if reverse else held:
            if line in self._lines:
                self._pass(line, frame)

    def break_off(self, namespace: str = "") -> None:
        """Break streams, and what polls."""
        for line, whose in self._lines.items():
            if namespace in ("", whose) and line.method in (SESSION, WORK, POLL):
                line.break_off()

    def become_honest(self) -> None:
        """Lie no more: what was swallowed is asked again on new streams."""
        self.armed.clear()
        self._held.clear()
        self.break_off()

    async def quiet(self, pause_seconds: float = 0.003) -> None:
        """Return when nothing has passed for a moment."""
        seen = -1
        while seen != self.moved:
            seen = self.moved
            await asyncio.sleep(pause_seconds)

    # --- what passes --------------------------------------------------------------------------------------

    def opened(self, line: Line) -> None:
        """Remember a client's RPC."""
        self._lines[line] = _namespace_of(line)
        self.moved += 1

    def closed(self, line: Line) -> None:
        """Forget a client's RPC."""
        del self._lines[line]
        self.keyset_asked.pop(line, None)
        self.open_calls = {key: call for key, call in self.open_calls.items() if call[0] is not line}
        self.moved += 1

    def hear(self, line: Line, message: bytes) -> Sequence[bytes]:
        """Keep what a client says, and pass on what a lie leaves of it."""
        self.moved += 1
        if line.method not in _TYPES:
            return (message,)
        frame = _TYPES[line.method][0].FromString(message)
        self.stock.take_in(frame)
        if line.method == START:
            self._note_request(getattr(frame, "envelope", b""))
        if line.method == KEYSET:
            self.keyset_asked[line] = str(getattr(frame, "namespace", ""))
        if line.method == SESSION:
            calls: Iterable[Any] = getattr(frame, "calls", ())
            for call in calls:
                if call.WhichOneof("call") == "abandon":
                    self.open_calls.pop((id(line), call.call_id), None)
                else:
                    self._note_request(call.start.envelope or call.execute.start.envelope)
                    self.open_calls[id(line), call.call_id] = line, call
        return self._changed(line, frame, message, _SAID.get(line.method, ()), "said.")

    def tell(self, line: Line, message: bytes) -> Sequence[bytes]:
        """Keep what the honest gateway answers, and pass on what a lie makes of it."""
        self.moved += 1
        if line.method not in _TYPES:
            return (message,)
        frame = _TYPES[line.method][1].FromString(message)
        self.stock.take_in(frame)
        parts = _PARTS.get(line.method)
        if line.method == SESSION:
            replies: Iterable[Any] = getattr(frame, "replies", ())
            for reply in replies:
                self.open_calls.pop((id(line), reply.call_id), None)
                self._note_start(reply)
        if parts is None:
            name = line.method.rpartition("/")[2]
            kind = f"replies.{_TWINS[name]}" if name in _TWINS else name
            if kind in {"replies.start", "replies.wait"}:
                self.started.add(operation_of(frame))
            item = Item(line=line, namespace=self._lines.get(line, ""), kind=kind, message=frame)
            lied = self._lie(item)
            return (message,) if lied is None else [each.SerializeToString() for each in lied]
        return self._changed(line, frame, message, parts, "")

    def _note_request(self, envelope: bytes) -> None:
        if envelope:
            known = self._requests.setdefault(operation_of(envelope), [])
            if envelope not in known:
                known.append(envelope)

    def _note_start(self, reply: Any) -> None:  # noqa: ANN401 - a SessionReply
        kind = reply.WhichOneof("reply")
        if kind in {"start", "execute", "wait"}:
            self.started.add(getattr(reply, kind).status.operation_id)

    def _changed(
        self, line: Line, frame: Message, message: bytes, parts: Iterable[str], prefix: str
    ) -> Sequence[bytes]:
        if not self.armed:
            return (message,)
        is_changed = False
        for name in parts:
            items: Any = getattr(frame, name)
            passed: list[Message] = []
            for piece in items:
                kind = f"{prefix}{name}{_kind_of(piece)}"
                item = Item(line=line, namespace=self._lines.get(line, ""), kind=kind, message=piece)
                lied = self._lie(item)
                is_changed = is_changed or lied is not None
                passed.extend([piece] if lied is None else lied)
            if is_changed:
                copies = [type(piece).FromString(piece.SerializeToString()) for piece in passed]
                del items[:]
                items.extend(copies)
        return (frame.SerializeToString(),) if is_changed else (message,)

    def _lie(self, item: Item) -> Sequence[Message] | None:
        for lie in list(self.armed):
            if not lie.is_about(item):
                continue
            try:
                changed = lie.change(item)
            except RefusalError:
                self._note_told(lie)
                raise
            if changed is not None:
                self._note_told(lie)
                return changed
        return None

    def _note_told(self, lie: Lie) -> None:
        self.told += 1
        if not lie.lasting and lie in self.armed:
            self.armed.remove(lie)

    def _pass(self, line: Line, frame: bytes) -> None:
        self.moved += 1
        line.say(frame)


def _kind_of(piece: Any) -> str:  # noqa: ANN401 - a part of a frame
    for name in ("reply", "call", "outcome"):
        if name in piece.DESCRIPTOR.oneofs_by_name:
            return f".{piece.WhichOneof(name)}"
    return ""


def _frame(item: Item) -> Message:
    frame = _TYPES[item.line.method][1]()
    getattr(frame, item.kind.partition(".")[0]).append(item.message)
    return frame


def _namespace_of(line: Line) -> str:
    """Read who a client is from its token, as any gateway does."""
    for name, value in line.metadata:
        token = value.decode() if isinstance(value, bytes) else value
        if name == "authorization" and token.count(".") == 2:
            body = token.split(".")[1]
            try:
                subject = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sub"]
            except (binascii.Error, ValueError, KeyError):
                return ""
            return str(subject).partition("/")[0]
    return ""
