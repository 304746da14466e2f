"""Record what a running task reports: that it lives, what the next attempt needs, how far it is.

Nothing of it is a step of the operation's life, so nothing of it is in the audit log: a handler may report
many times a second, and only the latest report counts.
"""

from datetime import datetime

from isthmus.gateway.commands.end_attempt import check_current
from isthmus.gateway.commands.record_outcome import check_answers, handled_operation
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.events import HeartbeatReceived
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, ProgressReported, UnitOfWork
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Header


class SealedReport(Value):
    """A sealed message of a report: ``envelope`` as transmitted."""

    header: Header
    envelope: bytes


class Report(Value):
    """What a task of a namespace reports; without ``details`` or ``progress`` those of before stay."""

    key: OperationKey
    attempt: int
    handler: str
    details: SealedReport | None = None
    progress: SealedReport | None = None


def record_report(uow: UnitOfWork, report: Report, *, now: datetime) -> None:
    """Record a report of the attempt that runs. The same report again changes nothing but the time.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
        PreconditionError: the attempt is over: its task belongs to nobody, or to somebody else. Or there is
            newer progress.
        InvalidRequestError: a sealed message is about another request.
    """
    operation = handled_operation(uow, report.key, report.handler)
    check_current(operation, report.attempt)
    if report.details is not None:
        check_answers(operation, report.details.header)
        uow.put_envelope(report.key, EnvelopeSlot.DETAILS, report.details.envelope)
    if report.progress is not None:
        check_answers(operation, report.progress.header)
        _put_progress(uow, report.key, report.progress)
    transition(uow, operation, HeartbeatReceived(attempt=report.attempt), now)


def _put_progress(uow: UnitOfWork, key: OperationKey, progress: SealedReport) -> None:
    """Keep progress that is newer than what there is. Whoever watches is told after the commit."""
    before = uow.envelope(key, EnvelopeSlot.PROGRESS)
    if before == progress.envelope:
        return
    sequence = progress.header.sequence
    if before is not None and sequence <= parse_envelope(before).header.sequence:
        msg = "there is newer progress of this operation"
        raise PreconditionError(msg, reason="PROGRESS_OUT_OF_ORDER", fix="nothing: only the latest counts")
    uow.put_envelope(key, EnvelopeSlot.PROGRESS, progress.envelope)
    uow.signal(ProgressReported(key=key, sequence=sequence))
