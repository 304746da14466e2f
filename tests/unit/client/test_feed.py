"""What a consumer does with the answers of a gateway that restarts, restores, or lies."""

from collections.abc import Sequence
from typing import Any

import pytest

from isthmus.client.errors import (
    ConnectionLostError,
    DeadlineExceededError,
    GatewayError,
    NotFoundError,
    PreconditionFailedError,
    UnverifiedAnswerError,
)
from isthmus.client.feed import PASSED_BY, Completion, CompletionsPage, LookInput, Progress, look_flow
from isthmus.client.flows import Ask, Pause
from isthmus.v1 import feed_service_pb2, operation_pb2

Answer = feed_service_pb2.ReadFeedResponse | GatewayError


def entry(position: int, **changes: Any) -> feed_service_pb2.FeedEntry:
    """Return an entry of an operation that succeeded."""
    values: dict[str, Any] = {
        "position": position,
        "event_id": b"i" * 16,
        "operation_id": b"i" * 16,
        "kind": feed_service_pb2.FEED_KIND_SUCCEEDED,
        "state": operation_pb2.OPERATION_STATE_SUCCEEDED,
    }
    return feed_service_pb2.FeedEntry(**(values | changes))


def page(*entries: feed_service_pb2.FeedEntry, next_position: int) -> feed_service_pb2.ReadFeedResponse:
    """Return an answer."""
    return feed_service_pb2.ReadFeedResponse(entries=entries, next_position=next_position)


def look(
    answers: Sequence[Answer], *, after: int = 5, wait: bool = True
) -> tuple[CompletionsPage, list[int], int]:
    """Return what a look finds, behind which positions it asked, and how often it paused."""
    flow = look_flow(LookInput(cursor="nightly", after=after, wait=wait))
    left, asked, pauses = list(answers), list[int](), 0
    effect = next(flow)
    while True:
        answer: Answer | None = None
        if isinstance(effect, Pause):
            pauses += 1
        else:
            assert isinstance(effect, Ask)
            assert isinstance(effect.request, feed_service_pb2.ReadFeedRequest)
            asked.append(effect.request.after_position)
            answer = left.pop(0)
        try:
            effect = flow.throw(answer) if isinstance(answer, GatewayError) else flow.send(answer)
        except StopIteration as stop:
            return stop.value, asked, pauses


def completion(position: int) -> Completion:
    """Return the completion of an entry."""
    found, _, _ = look([page(entry(position), next_position=position)], after=0)
    return found.completions[0]


def test_look_goes_on_when_the_gateway_is_away() -> None:
    """A consumer outlives every restart of the gateway; one that does not wait is told."""
    found, asked, pauses = look(
        [ConnectionLostError("gone"), DeadlineExceededError("slow"), page(entry(6), next_position=9)]
    )
    assert [each.position for each in found.completions] == [6]
    assert (asked, pauses) == ([5, 5, 5], 2)
    with pytest.raises(ConnectionLostError):
        look([ConnectionLostError("gone")], wait=False)


def test_look_begins_again_when_the_gateway_was_restored() -> None:
    """The log is shorter than what was seen of it: what happens now has positions that were there before."""
    restored = PreconditionFailedError("the log ends before", reason="BEYOND_THE_LOG")
    found, asked, _ = look([restored, page(entry(3), next_position=3)])
    assert asked == [5, 0]
    assert found.next_position == 3
    with pytest.raises(PreconditionFailedError):
        look([restored], after=0)
    with pytest.raises(PreconditionFailedError):
        look([PreconditionFailedError("no", reason="SOMETHING_ELSE")])
    with pytest.raises(NotFoundError):
        look([NotFoundError("deleted")])


@pytest.mark.parametrize(
    "answer",
    [
        page(entry(5), next_position=5),
        page(entry(7), entry(7), next_position=7),
        page(entry(8), entry(7), next_position=8),
        page(entry(6), next_position=5),
        page(next_position=4),
        page(entry(6, operation_id=b"short"), next_position=6),
        page(entry(6, kind=feed_service_pb2.FEED_KIND_UNSPECIFIED), next_position=6),
    ],
    ids=["seen", "twice", "backwards", "past", "back", "id", "kind"],
)
def test_answer_is_refused_when_it_makes_no_sense(answer: feed_service_pb2.ReadFeedResponse) -> None:
    """A gateway cannot lead a consumer in circles."""
    with pytest.raises(UnverifiedAnswerError):
        look([answer])


def passed_by(*steps: CompletionsPage | int) -> int | None:
    """Return what a consumer acknowledges by itself after what it saw and what it acknowledged."""
    progress = Progress()
    for step in steps:
        if isinstance(step, int):
            progress.acknowledged(step)
        else:
            progress.saw(step)
    return progress.passed_by


def test_cursor_follows_by_itself_when_nothing_is_open() -> None:
    """Not past what was delivered and not acknowledged, and not for every few records of others."""
    delivered = CompletionsPage(completions=(completion(10),), next_position=10, more=False)
    far = CompletionsPage(completions=(), next_position=10 + PASSED_BY, more=False)
    near = CompletionsPage(completions=(), next_position=9 + PASSED_BY, more=False)
    assert passed_by(delivered, far) is None
    assert passed_by(delivered, 10, near) is None
    assert passed_by(delivered, 10, far) == far.next_position
    assert passed_by(delivered, 10, far, far.next_position) is None
    assert passed_by(far) == far.next_position
