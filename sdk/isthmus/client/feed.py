"""What a namespace's feed tells of the operations that it called, step by step. Generators, without I/O.

The feed is the gateway's word: it says where to look. Whoever needs a result takes the handle of the
operation, and that verifies it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from isthmus.client.description import public_state
from isthmus.client.errors import ConfigurationError, UnverifiedAnswerError
from isthmus.client.flows import START_TIMEOUT_SECONDS, Ask, Flow, Pause
from isthmus.transport.errors import DeadlineExceededError, GatewayError, PreconditionFailedError
from isthmus.v1 import feed_service_pb2, feed_service_pb2_grpc, operation_pb2
from isthmus.wire.names import OPERATION_ID_BYTES, check_cursor, check_endpoint, format_operation_id

CompletionStatus = Literal["succeeded", "failed", "canceled"]
Beginning = Literal["now", "beginning"]

WAIT_MS: Final = 45_000
"""How long one look asks the gateway to hold the call."""
PASSED_BY: Final = 10_000
"""So far does a cursor stay behind the end of the log, at most, while nothing in it is for its consumer."""
_GRACE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 1.0
_KINDS: Final[dict[str, feed_service_pb2.FeedKind.ValueType]] = {
    "succeeded": feed_service_pb2.FEED_KIND_SUCCEEDED,
    "failed": feed_service_pb2.FEED_KIND_FAILED,
    "canceled": feed_service_pb2.FEED_KIND_CANCELED,
}
_STATUSES: Final[dict[int, CompletionStatus]] = {
    feed_service_pb2.FEED_KIND_SUCCEEDED: "succeeded",
    feed_service_pb2.FEED_KIND_FAILED: "failed",
    feed_service_pb2.FEED_KIND_CANCELED: "canceled",
}
EVENT: Final = "event"
_BEYOND_THE_LOG: Final = "BEYOND_THE_LOG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An operation of this namespace has ended. Its handle's ``result()`` verifies what is told here."""

    position: int
    """Its place in the feed: increasing, with gaps."""
    event_id: str
    """The same each time that it is delivered, and no other's: what to recognize a repetition by."""
    operation_id: str
    status: CompletionStatus
    state: str
    """As the gateway names it: ``succeeded``, ``failed``, ``timed_out``, ``denied``, ``canceled``."""
    endpoint: str
    service: str
    operation: str
    handler_namespace: str
    occurred_at: datetime
    """By the gateway's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionsInput:
    """Which completions a consumer wants, under which name the gateway remembers how far it is."""

    cursor: str
    endpoint: str
    kinds: tuple[str, ...]
    """Statuses of completions, or ``event``."""
    begin: Beginning | int
    """Where a cursor begins that does not exist: ``now``, ``beginning``, or behind a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookInput:
    """A look into the feed, behind a position that was delivered and perhaps not acknowledged yet."""

    cursor: str
    after: int
    wait: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeInput:
    """Everything up to a position is dealt with."""

    cursor: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNotice:
    """There is an event for this namespace, says the gateway; it is fetched and verified afterwards."""

    position: int
    event_id: bytes
    endpoint: str
    name: str
    publisher_namespace: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionsPage:
    """What a look found."""

    completions: tuple[Completion, ...]
    notices: tuple[EventNotice, ...] = ()
    next_position: int
    """Everything up to here was looked at."""
    more: bool
    """Whether there may be more right now."""


def completions_input(
    cursor: str, *, endpoint: str, statuses: Iterable[CompletionStatus], begin: Beginning | int
) -> CompletionsInput:
    """Return what a consumer wants.

    Raises:
        ConfigurationError: a status or the beginning is none.
        WireFormatError: a name is not valid.
    """
    wanted = tuple(statuses)
    unknown = sorted(set(wanted) - _KINDS.keys())
    if unknown:
        raise ConfigurationError(f"no operation ends {unknown[0]!r}; statuses are: {', '.join(_KINDS)}")
    if begin not in {"now", "beginning"} and not (isinstance(begin, int) and begin >= 0):
        raise ConfigurationError("a feed begins at 'now', at the 'beginning', or behind a position")
    return CompletionsInput(
        cursor=check_cursor(cursor),
        endpoint=check_endpoint(endpoint) if endpoint else "",
        # Spelled out: without any kind a cursor gets events, too.
        kinds=wanted or tuple(_KINDS),
        begin=begin,
    )


def events_input(cursor: str, *, endpoint: str, begin: Beginning | int) -> CompletionsInput:
    """Return what a consumer of events wants. Raises ConfigurationError, WireFormatError."""
    wanted = completions_input(cursor, endpoint=endpoint, statuses=(), begin=begin)
    return replace(wanted, kinds=(EVENT,))


def open_cursor_flow(wanted: CompletionsInput) -> Flow[int]:
    """Make the cursor, unless it exists; return up to where its consumer has acknowledged.

    Raises:
        AlreadyExistsError: it exists, and wants something else.
    """
    request = feed_service_pb2.CreateCursorRequest(
        name=wanted.cursor,
        endpoint=wanted.endpoint,
        kinds=[feed_service_pb2.FEED_KIND_EVENT if kind == EVENT else _KINDS[kind] for kind in wanted.kinds],
    )
    if wanted.begin != "now":
        request.after_position = 0 if wanted.begin == "beginning" else wanted.begin
    response: feed_service_pb2.CreateCursorResponse = yield _ask("CreateCursor", request)
    return response.cursor.position


def look_flow(look: LookInput) -> Flow[CompletionsPage]:
    """Return completions behind a position; wait for the first one for as long as it takes, if asked to.

    While the gateway cannot be reached, one who waits waits on.

    Raises:
        NotFoundError: somebody deleted the cursor.
        UnverifiedAnswerError: the answer makes no sense.
    """
    after = look.after
    while True:
        request = feed_service_pb2.ReadFeedRequest(
            cursor=look.cursor, after_position=after, wait_ms=WAIT_MS if look.wait else 0
        )
        try:
            response = yield _ask("ReadFeed", request, WAIT_MS / 1000 + _GRACE_SECONDS)
        except PreconditionFailedError as error:
            # A copy of the store from before was put back, and with it the cursor: begin there.
            if error.reason != _BEYOND_THE_LOG or not after:
                raise
            after = 0
        except GatewayError as error:
            if not look.wait or not (error.retryable or isinstance(error, DeadlineExceededError)):
                raise
            yield Pause(seconds=_PAUSE_SECONDS)
        else:
            return _page(look.cursor, after, response)


def acknowledge_flow(done: AcknowledgeInput) -> Flow[None]:
    """Move the cursor; durable once it returns, repeated or not."""
    yield _ask(
        "AcknowledgeFeed",
        feed_service_pb2.AcknowledgeFeedRequest(cursor=done.cursor, position=done.position),
    )


class Progress:
    """How far one consumer is: what was delivered to it, and what it acknowledged."""

    def __init__(self, acknowledged: int = 0) -> None:
        self.after = acknowledged
        self._delivered = 0
        self._acknowledged = acknowledged

    def saw(self, page: CompletionsPage) -> None:
        """Go on behind a page."""
        self.after = page.next_position
        for entries in (page.completions, page.notices):
            if entries:
                self._delivered = max(self._delivered, entries[-1].position)

    def acknowledged(self, position: int) -> None:
        """Remember what was acknowledged."""
        self._acknowledged = max(self._acknowledged, position)

    @property
    def passed_by(self) -> int | None:
        """A position to acknowledge by itself: nothing is open, and much went by that is for others."""
        done = self._acknowledged
        if self._delivered > done or self.after - done < PASSED_BY:
            return None
        return self.after


def _ask(method: str, request: Any, timeout_seconds: float = START_TIMEOUT_SECONDS) -> Ask:  # noqa: ANN401
    return Ask(
        stub=feed_service_pb2_grpc.FeedServiceStub,
        method=method,
        request=request,
        timeout_seconds=timeout_seconds,
    )


def _page(cursor: str, after: int, response: feed_service_pb2.ReadFeedResponse) -> CompletionsPage:
    last = after
    for entry in response.entries:
        is_event = entry.kind == feed_service_pb2.FEED_KIND_EVENT
        identity = entry.event_id if is_event else entry.operation_id
        known = (is_event or entry.kind in _STATUSES) and len(identity) == OPERATION_ID_BYTES
        if entry.position <= last or not known:
            raise UnverifiedAnswerError(cursor, "an entry of the feed")
        last = entry.position
    if response.next_position < last:
        raise UnverifiedAnswerError(cursor, "the place in the feed")
    return CompletionsPage(
        completions=tuple(_completion(entry) for entry in response.entries if entry.kind in _STATUSES),
        notices=tuple(_notice(entry) for entry in response.entries if entry.kind not in _STATUSES),
        next_position=response.next_position,
        more=response.more,
    )


def _completion(entry: feed_service_pb2.FeedEntry) -> Completion:
    shown = format_operation_id(entry.operation_id)
    state, _ = public_state(operation_pb2.OperationState.Name(entry.state))
    return Completion(
        position=entry.position,
        event_id=shown,
        operation_id=shown,
        status=_STATUSES[entry.kind],
        state=state,
        endpoint=entry.endpoint,
        service=entry.service,
        operation=entry.operation,
        handler_namespace=entry.handler_namespace,
        occurred_at=entry.occurred_at.ToDatetime(UTC),
    )


def _notice(entry: feed_service_pb2.FeedEntry) -> EventNotice:
    return EventNotice(
        position=entry.position,
        event_id=entry.event_id,
        endpoint=entry.endpoint,
        name=entry.operation,
        publisher_namespace=entry.handler_namespace,
        occurred_at=entry.occurred_at.ToDatetime(UTC),
    )
