"""Record what a running task reports: that it lives, and what the next attempt needs.

Nothing of it is a step of the operation's life, so nothing of it is in the audit log: a handler may report
many times a second, and only the latest report counts.
"""

from datetime import datetime

from isthmus.gateway.commands.end_attempt import check_current
from isthmus.gateway.commands.record_outcome import check_answers, handled_operation
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.events import HeartbeatReceived
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, UnitOfWork
from isthmus.wire.header import Header


class SealedReport(Value):
    """A sealed message of a report: ``envelope`` as transmitted."""

    header: Header
    envelope: bytes


class Report(Value):
    """What a task of a namespace reports; without ``details`` those of before stay."""

    key: OperationKey
    attempt: int
    handler: str
    details: SealedReport | None = None


def record_report(uow: UnitOfWork, report: Report, *, now: datetime) -> None:
    """Record a report of the attempt that runs. The same report again changes nothing but the time.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
        PreconditionError: the attempt is over: its task belongs to nobody, or to somebody else.
        InvalidRequestError: a sealed message is about another request.
    """
    operation = handled_operation(uow, report.key, report.handler)
    check_current(operation, report.attempt)
    if report.details is not None:
        check_answers(operation, report.details.header)
        uow.put_envelope(report.key, EnvelopeSlot.DETAILS, report.details.envelope)
    transition(uow, operation, HeartbeatReceived(attempt=report.attempt), now)
