"""The open circuits as this process knows them, and what it counts until one opens.

The store has what is open; this is a view of it, as young as the last commit of this process and, for what
other gateways did, as the last ``refresh``. Counting is this process's own: failures in a row that it
committed itself. While nothing fails, all of this costs one look at an empty dictionary for each commit.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from isthmus.gateway.commands.circuits import circuit_queue, open_circuit, review_circuits
from isthmus.gateway.core.circuit import EVERYBODY, Circuit, Line, Streaks, count_answer, count_failure
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.core.operation import AttemptEnd, Operation, OperationKey
from isthmus.gateway.dispatch.tally import Tally
from isthmus.gateway.ports import (
    AttemptFailed,
    CircuitChanged,
    Clock,
    HandlerAccepted,
    OperationClosed,
    QueueKey,
    Signal,
    Store,
)
from isthmus.wire.names import NamespaceName

MOST_CIRCUITS = 10_000
MOST_STREAKS = 10_000
_NONE: AbstractSet[Line] = frozenset()
_LOG = logging.getLogger(__name__)

Changed = Callable[[QueueKey], None]
"""Called when what may go out of a queue is different now."""


class Circuits:
    """All open circuits. Lives on the event loop that runs the store."""

    def __init__(self, store: Store, *, clock: Clock, changed: Changed) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._open: dict[Line, Circuit] = {}
        self._queues: dict[QueueKey, dict[Line, Circuit]] = {}
        self._opening: dict[QueueKey, set[Line]] = {}
        self._probes: set[OperationKey] = set()
        self._streaks: dict[tuple[str, str], Streaks] = {}
        # Grows with every change that was committed here, or seen in the store.
        self.changes = 0
        self._jobs: set[asyncio.Task[None]] = set()
        # By endpoint: how often a circuit of a caller, or that of everybody, opened here.
        self.opened = Tally()

    # --- what is open ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def all(self) -> Sequence[Circuit]:
        """Return what is open."""
        return tuple(self._open.values())

    def of_queue(self, queue: QueueKey) -> Mapping[Line, Circuit]:
        """Return what is open in a queue."""
        return self._queues.get(queue, {})

    def opening_in(self, queue: QueueKey) -> AbstractSet[Line]:
        """Return the lines whose circuit is about to open: its commit is under way."""
        return self._opening.get(queue, _NONE)

    def is_anything_held_up(self, queue: QueueKey) -> bool:
        """Whether some tasks of a queue may not go out now."""
        return queue in self._queues or queue in self._opening

    def holds_up(self, queue: QueueKey, endpoint: str, caller: str) -> bool:
        """Whether an attempt of a caller has to wait for a circuit, one that is about to open included."""
        if not (self._open or self._opening):
            return False
        if self.of_line(endpoint, queue.task_queue, caller) is not None:
            return True
        opening = self.opening_in(queue)
        return any(line.endpoint == endpoint and line.caller in {caller, EVERYBODY} for line in opening)

    def is_open(self, endpoint: str, task_queue: str, caller: str) -> bool:
        """Whether an attempt of a caller has to wait for a circuit."""
        return self.of_line(endpoint, task_queue, caller) is not None

    def of_line(self, endpoint: str, task_queue: str, caller: str) -> Circuit | None:
        """Return the circuit that an attempt of a caller has to wait for; the longer one of two."""
        if not self._open:
            return None
        found = [
            circuit
            for circuit in (
                self._open.get(Line(endpoint=endpoint, task_queue=task_queue, caller=name))
                for name in (caller, EVERYBODY)
            )
            if circuit is not None
        ]
        return max(found, key=lambda circuit: circuit.until, default=None)

    # --- what happens ---------------------------------------------------------------------------------------

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Count failures and answers, and learn of circuits."""
        lost: set[Line] = set()
        for signal in signals:
            match signal:
                case AttemptFailed():
                    self._count_failure(signal, lost)
                case OperationClosed() if self._streaks or self._probes:
                    self._ended(signal.operation, is_answered=signal.is_answered)
                case HandlerAccepted() if self._streaks or self._probes:
                    self._ended(signal.operation, is_answered=True)
                case CircuitChanged():
                    self._learn(signal.line, signal.circuit)
                    self._changed(signal.queue)
                case _:
                    pass

    def _count_failure(self, failed: AttemptFailed, lost: set[Line]) -> None:
        operation = failed.operation
        if not failed.opens_after:
            return
        line = Line(endpoint=operation.endpoint, task_queue=operation.task_queue, caller=operation.key.caller)
        if failed.end is AttemptEnd.LEASE_LOST:
            # What was lost together was lost with one worker: it says as much as one failure.
            if line in lost:
                return
            lost.add(line)
        where = (line.endpoint, line.task_queue)
        streaks, opened = count_failure(self._streaks.get(where, Streaks()), line.caller, failed.opens_after)
        self._remember(where, streaks)
        for caller in opened:
            self._open_soon(
                Line(endpoint=line.endpoint, task_queue=line.task_queue, caller=caller),
                handler=operation.handler,
                error=failed.error,
            )

    def _ended(self, operation: Operation, *, is_answered: bool) -> None:
        if is_answered:
            where = (operation.endpoint, operation.task_queue)
            streaks = self._streaks.get(where)
            if streaks is not None:
                self._remember(where, count_answer(streaks, operation.key.caller))
        if operation.key in self._probes:
            self._do_soon(self.review())

    def _remember(self, where: tuple[str, str], streaks: Streaks) -> None:
        if streaks:
            if where not in self._streaks and len(self._streaks) >= MOST_STREAKS:
                self._streaks.clear()
            self._streaks[where] = streaks
        else:
            self._streaks.pop(where, None)

    def _open_soon(self, line: Line, *, handler: str, error: str) -> None:
        if line in self._open:
            return

        queue = QueueKey(namespace=NamespaceName(handler), task_queue=line.task_queue)
        self._opening.setdefault(queue, set()).add(line)
        self.changes += 1

        async def open_now() -> None:
            clock = self._clock
            try:
                opened = await self._store.transact(
                    lambda uow: open_circuit(uow, line, handler=handler, error=error, now=clock.now())
                )
            finally:
                self._opening[queue].discard(line)
                if not self._opening[queue]:
                    del self._opening[queue]
                self.changes += 1
                self._changed(queue)
            if not opened:
                return
            self.opened.add(line.endpoint)
            _LOG.warning(
                "a circuit is open",
                extra={
                    "endpoint": line.endpoint,
                    "task_queue": line.task_queue,
                    "caller": line.caller or "everybody",
                    "error_type": error,
                },
            )

        self._do_soon(open_now())

    # --- what the store knows -------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Learn what other gateways did."""
        seen = self.changes
        found = await self._store.read(lambda reader: reader.circuits(MOST_CIRCUITS))
        if self.changes != seen:
            # What was committed here meanwhile may be younger; the next look has it all.
            return
        now = {circuit.line: circuit for circuit in found}
        for line in self._open.keys() | now.keys():
            before, after = self._open.get(line), now.get(line)
            if before != after:
                self._learn(line, after)
                circuit = after or before
                if circuit is not None:
                    self._changed(circuit_queue(circuit))

    async def review(self) -> None:
        """Look what became of probes, and close what nobody needs."""
        lines = tuple(self._open)
        clock = self._clock
        await self._store.transact(lambda uow: review_circuits(uow, lines, now=clock.now()))

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._jobs:
            await asyncio.wait(self._jobs)

    def _learn(self, line: Line, circuit: Circuit | None) -> None:
        self.changes += 1
        before = self._open.pop(line, None)
        if before is not None:
            queue = circuit_queue(before)
            lines = self._queues.get(queue, {})
            lines.pop(line, None)
            if not lines:
                self._queues.pop(queue, None)
        if circuit is not None:
            self._open[line] = circuit
            self._queues.setdefault(circuit_queue(circuit), {})[line] = circuit
        self._probes = set(_probed(self._open.values()))

    def _do_soon(self, work: Coroutine[object, object, None]) -> None:
        job = asyncio.get_running_loop().create_task(self._do(work))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _do(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except GatewayError as error:
            # Counted anew, or reviewed again within a second.
            _LOG.warning("a circuit could not be changed: %s", error.message)


def waits_until(circuits: Iterable[Circuit], looked_at: datetime) -> datetime | None:
    """Return when the first of the circuits takes a probe that did not take one then; None: none will."""
    waiting = (circuit for circuit in circuits if circuit.probe is None)
    return min((circuit.until for circuit in waiting if circuit.until > looked_at), default=None)


def _probed(circuits: Iterable[Circuit]) -> Iterable[OperationKey]:
    return (circuit.probe.key for circuit in circuits if circuit.probe is not None)
