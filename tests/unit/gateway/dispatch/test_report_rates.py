"""How fast tasks may report."""

from datetime import timedelta

import pytest
from tests.contract.samples import key
from tests.unit.gateway.manual_time import START

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.dispatch.report_rates import ReportRates


def test_report_is_refused_when_its_task_reports_too_fast() -> None:
    """Each task has a rate of its own, and is told when the next report is welcome."""
    rates = ReportRates(per_second=2)
    for _ in range(2):
        rates.take(key(1), START)
    with pytest.raises(ExhaustedError) as refused:
        rates.take(key(1), START)
    assert refused.value.reason == "REPORTING_TOO_FAST"
    assert refused.value.retry_after_seconds == pytest.approx(0.5)
    rates.take(key(2), START)
    rates.take(key(1), START + timedelta(seconds=0.5))


def test_memory_is_bounded_when_ever_more_tasks_report() -> None:
    """The task that reported longest ago is forgotten first."""
    rates = ReportRates(per_second=1, most=2)
    for number in (1, 2, 3):
        rates.take(key(number), START)
    rates.take(key(1), START)
    with pytest.raises(ExhaustedError):
        rates.take(key(3), START)
