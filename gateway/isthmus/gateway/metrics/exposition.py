"""Samples for Prometheus, made of what the parts of a gateway say of themselves when somebody scrapes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.gateway.core.value import Value
from isthmus.gateway.core.waiting import WaitingCause
from isthmus.gateway.dispatch.circuits import Circuits
from isthmus.gateway.metrics.backlog import Backlog, BacklogCache
from isthmus.gateway.metrics.instruments import Instruments
from isthmus.gateway.ports import Clock, QueueKey

_OF_QUEUE = ("endpoint", "namespace", "task_queue")


class Parts(Value):
    """What is asked at a scrape."""

    clock: Clock
    started: Callable[[], Mapping[str, int]]
    circuits: Circuits
    connected: Callable[[], Mapping[QueueKey, int]]
    streams: Sized
    waiters: Sized
    is_ready: Callable[[], bool]
    version: str


class Exposition:
    """Renders everything. Lives on the event loop."""

    def __init__(self, instruments: Instruments, backlog: BacklogCache, parts: Parts) -> None:
        self._instruments = instruments
        self._backlog = backlog
        self._parts = parts

    async def render(self) -> bytes:
        """Return the samples in Prometheus' text format."""
        backlog = await self._backlog.get()
        families = [
            *_of_process(self._parts),
            *_of_operations(self._instruments, self._parts),
            *_of_circuits(self._parts.circuits),
            *_of_backlog(backlog, self._parts.clock.now()),
        ]
        # A registry of this one scrape: nothing of it can change while it is rendered.
        snapshot = CollectorRegistry(auto_describe=False)
        snapshot.register(_Snapshot(families))
        return generate_latest(self._instruments.registry) + generate_latest(snapshot)


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield what was gathered."""
        yield from self._families


def _of_process(parts: Parts) -> Iterator[Metric]:
    build = GaugeMetricFamily("isthmus_build_info", "Always 1; says which release runs.", labels=("version",))
    build.add_metric((parts.version,), 1)
    yield build
    yield GaugeMetricFamily("isthmus_ready", "1 while this gateway takes calls.", int(parts.is_ready()))
    yield GaugeMetricFamily("isthmus_streams", "Streams that are open.", len(parts.streams))
    yield GaugeMetricFamily("isthmus_waiters", "Waits for outcomes that are under way.", len(parts.waiters))
    sessions = GaugeMetricFamily(
        "isthmus_worker_sessions",
        "Worker sessions that are connected to this gateway.",
        labels=("namespace", "task_queue"),
    )
    for queue, count in parts.connected().items():
        sessions.add_metric((queue.namespace, queue.task_queue), count)
    yield sessions


def _of_operations(instruments: Instruments, parts: Parts) -> Iterator[Metric]:
    started = CounterMetricFamily(
        "isthmus_operations_started", "Operations that began.", labels=("endpoint",)
    )
    for endpoint, count in parts.started().items():
        started.add_metric((endpoint,), count)
    yield started
    closed = CounterMetricFamily(
        "isthmus_operations_closed", "Operations that ended, by how.", labels=("endpoint", "state")
    )
    for state, tally in instruments.closed.items():
        for endpoint, count in tally.counts().items():
            closed.add_metric((endpoint, state.value), count)
    yield closed
    failed = CounterMetricFamily(
        "isthmus_attempts_failed", "Attempts that ended without an outcome.", labels=("endpoint", "kind")
    )
    for end, tally in instruments.attempts_failed.items():
        for endpoint, count in tally.counts().items():
            failed.add_metric((endpoint, end.value), count)
    yield failed
    refused = CounterMetricFamily("isthmus_refusals", "Calls that were refused.", labels=("reason",))
    for reason, count in instruments.refused.counts().items():
        refused.add_metric((reason,), count)
    yield refused


def _of_circuits(circuits: Circuits) -> Iterator[Metric]:
    opened = CounterMetricFamily(
        "isthmus_circuits_opened", "Circuits that opened because of failures here.", labels=("endpoint",)
    )
    for endpoint, count in circuits.opened.counts().items():
        opened.add_metric((endpoint,), count)
    yield opened
    now_open = GaugeMetricFamily(
        "isthmus_circuits_open",
        "Circuits that are open, in the whole deployment: take the maximum over gateways.",
        labels=("endpoint",),
    )
    for endpoint, count in Counter(circuit.line.endpoint for circuit in circuits.all()).items():
        now_open.add_metric((endpoint,), count)
    yield now_open


def _of_backlog(backlog: Backlog | None, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "isthmus_backlog_known",
        "1 when the gauges of what waits are complete, 0 when the store does not answer or holds too much.",
        int(backlog is not None and backlog.is_complete),
    )
    if backlog is None:
        return
    waiting = GaugeMetricFamily(
        "isthmus_backlog_operations",
        "Operations that wait for a worker, in the whole deployment: take the maximum over gateways.",
        labels=_OF_QUEUE,
    )
    oldest = GaugeMetricFamily(
        "isthmus_backlog_oldest_seconds",
        "How long the first of them has waited for a worker.",
        labels=_OF_QUEUE,
    )
    for queue in backlog.queues:
        labels = (queue.endpoint, queue.handler, queue.task_queue)
        waiting.add_metric(labels, queue.operations)
        age = 0.0 if queue.since is None else max(0.0, (now - queue.since).total_seconds())
        oldest.add_metric(labels, age)
    yield waiting
    yield oldest
    causes = GaugeMetricFamily(
        "isthmus_open_operations",
        "Open operations by what they wait for, in the whole deployment: take the maximum over gateways.",
        labels=("endpoint", "cause"),
    )
    totals = dict.fromkeys(WaitingCause, 0)
    for (endpoint, cause), count in backlog.causes.items():
        causes.add_metric((endpoint, cause.value), count)
        totals[cause] += count
    yield causes
    by_cause = GaugeMetricFamily(
        "isthmus_waiting_operations",
        "Open operations of all endpoints by what they wait for: take the maximum over gateways.",
        labels=("cause",),
    )
    for cause, count in totals.items():
        by_cause.add_metric((cause.value,), count)
    yield by_cause
