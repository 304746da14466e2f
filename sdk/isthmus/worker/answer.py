"""What comes of a task, on its way to the gateway."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from isthmus.v1 import worker_service_pb2


class Answer(NamedTuple):
    """An outcome, and how to seal it again when one of its keys went out of use before it arrived."""

    outcome: worker_service_pb2.TaskOutcome
    seal_again: Callable[[], Awaitable[bytes]] | None = None
    """Returns another envelope with the same content, under the newest keys."""

    @property
    def kind(self) -> str | None:
        """Which kind of outcome it is, as the wire calls it."""
        return self.outcome.WhichOneof("outcome")

    def with_envelope(self, envelope: bytes) -> "Answer":
        """Return the same answer under another envelope."""
        outcome = worker_service_pb2.TaskOutcome()
        outcome.CopyFrom(self.outcome)
        if self.kind == "retry":
            outcome.retry.envelope = envelope
        else:
            outcome.envelope = envelope
        return Answer(outcome=outcome, seal_again=self.seal_again)

    def for_attempt(self, attempt: int) -> "Answer":
        """Return the same answer for another delivery of its task."""
        outcome = worker_service_pb2.TaskOutcome()
        outcome.CopyFrom(self.outcome)
        outcome.task.attempt = attempt
        return Answer(outcome=outcome, seal_again=self.seal_again)


def rejected(outcome: worker_service_pb2.TaskOutcome, code: str) -> Answer:
    """Answer the task of an outcome with a bare code: there is nobody to seal for, or nothing to say."""
    return Answer(
        outcome=worker_service_pb2.TaskOutcome(
            task=outcome.task, rejection=worker_service_pb2.Rejection(code=code)
        )
    )


def returned(outcome: worker_service_pb2.TaskOutcome) -> Answer:
    """Give the task of an outcome back unrun."""
    return Answer(
        outcome=worker_service_pb2.TaskOutcome(task=outcome.task, returned=worker_service_pb2.TaskReturned())
    )
