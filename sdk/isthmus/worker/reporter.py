"""How a running task speaks before it has an outcome: what ``current()`` does behind its methods."""

from collections.abc import Callable
from typing import Any

from isthmus.payload.converter import PayloadConverter
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.worker.errors import ReportTooLargeError
from isthmus.worker.reported import Reported
from isthmus.worker.reports import Content


class Reporter:
    """Reports of one task, in the types of its application."""

    def __init__(
        self, *, report: Callable[[Content], Reported], details: Payload | None, converter: PayloadConverter
    ) -> None:
        """Hand reports on to ``report``; ``details`` are those of the attempt before."""
        self._report = report
        self._details = details
        self._converter = converter

    def heartbeat(self, details: object) -> Reported:
        """Report that the task runs, and what the next attempt needs."""
        return self._report(Content(details=None if details is None else self._payload(details)))

    def progress(self, value: object) -> Reported:
        """Report to the caller how far the task is."""
        return self._report(Content(progress=self._payload(value)))

    def details_as(self, as_type: object) -> Any:  # noqa: ANN401 - of that type
        """Return what the last attempt reported, None if there is nothing."""
        return None if self._details is None else self._converter.from_payload(self._details, as_type)

    def _payload(self, value: object) -> Payload:
        payload = self._converter.to_payload(value)
        if len(payload.data) > limits.MAX_REPORT_BYTES:
            raise ReportTooLargeError(
                f"a report is at most {limits.MAX_REPORT_BYTES} bytes, this one has {len(payload.data)}: "
                "put the data where the next attempt can reach it, and report where that is"
            )
        return payload
