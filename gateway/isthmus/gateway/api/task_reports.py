"""What workers report of running tasks, checked and recorded."""

from functools import partial

from isthmus.gateway.api.sealed_answers import SealedAnswers
from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.api.task_outcomes import Prepared, Ref, Refusal, key_of
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.record_report import Report, SealedReport, record_report
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.dispatch.report_rates import ReportRates
from isthmus.gateway.ports import Clock, Store, UnitOfWork
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction

_DETAILS = frozenset({Direction.DETAILS})
_PROGRESS = frozenset({Direction.PROGRESS})


class TaskReports:
    """Records reports of the handler's side."""

    def __init__(self, *, store: Store, clock: Clock, answers: SealedAnswers, rates: ReportRates) -> None:
        self._store = store
        self._clock = clock
        self._answers = answers
        self._rates = rates

    async def acknowledge(
        self, principal: Principal, report: worker_service_pb2.TaskReport
    ) -> worker_service_pb2.ReportAck:
        """Record a report; the acknowledgement says whether that is durable."""
        try:
            prepared = await self.prepare(principal, report)
            refusal = await self._store.transact(prepared.command, reads=(prepared.key,))
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            refusal = error
        return report_acknowledgement(report.task, refusal)

    async def prepare(self, principal: Principal, report: worker_service_pb2.TaskReport) -> Prepared:
        """Check what a worker reports of a task; return the command that records it.

        Raises:
            WireFormatError, GatewayError: it is refused, and nothing is to be recorded.
        """
        task = report.task
        if task.kind != worker_service_pb2.TASK_KIND_START:
            raise InvalidRequestError("only a START task reports", reason="UNKNOWN_REPORT")
        if not (report.HasField("heartbeat") or report.progress):
            raise InvalidRequestError("the report is empty or unknown", reason="UNKNOWN_REPORT")
        key = key_of(task)
        self._rates.take(key, self._clock.now())
        details = await self._sealed(principal, report.heartbeat.details, _DETAILS)
        progress = await self._sealed(principal, report.progress, _PROGRESS)
        checked = Report(
            key=key,
            attempt=task.attempt,
            handler=principal.namespace,
            details=details,
            progress=progress,
        )
        return Prepared(command=partial(_record, checked, self._clock), key=key)

    async def _sealed(
        self, principal: Principal, envelope: bytes, directions: frozenset[Direction]
    ) -> SealedReport | None:
        if not envelope:
            return None
        sealed = await self._answers.check(principal, envelope, directions)
        return SealedReport(header=sealed.header, envelope=envelope)


def report_acknowledgement(task: Ref, refusal: Refusal) -> worker_service_pb2.ReportAck:
    """Return what a worker gets to know about its report."""
    if refusal is None:
        return worker_service_pb2.ReportAck(task=task)
    return worker_service_pb2.ReportAck(task=task, error=status_bytes(refusal))


def _record(report: Report, clock: Clock, uow: UnitOfWork) -> None:
    record_report(uow, report, now=clock.now())
