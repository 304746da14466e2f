"""What gateways tell each other of a commit: names of what changed, never its content.

A notification holds at most 8000 bytes and reaches every gateway, so it carries keys; who needs more reads
it. What concerns only the gateway that committed (counters of failures, of answers) is not sent.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from isthmus.gateway.core.circuit import Line
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import (
    AttemptFailed,
    AuditAppended,
    CircuitChanged,
    EnvelopeSlot,
    EventArrived,
    HandlerAccepted,
    OperationClosed,
    ProgressReported,
    QueueKey,
    Reader,
    RegistryChanged,
    Signal,
    SignalRecorded,
    StartCounted,
    TaskInterrupted,
    TasksReady,
)
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.wire.names import NamespaceName, OperationId

CHANNEL = "isthmus"
_MOST_BYTES = 7_900

Note = list[Any]
"""A signal as it is sent: what it is, and the names in it."""


class Sender:
    """Writes notifications, and recognizes those of its own process."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex[:12]

    def payloads(self, signals: Sequence[Signal]) -> Iterator[str]:
        """Return notifications for the signals of a commit, each once, as few as hold them."""
        notes = [note for note in map(encode, signals) if note]
        texts = {json.dumps(note, separators=(",", ":")): None for note in [*notes, *_counted(signals)]}
        batch, size = [self.name], len(self.name)
        for text in texts:
            size += len(text) + 1
            if size > _MOST_BYTES:
                yield "\n".join(batch)
                batch, size = [self.name], len(self.name) + len(text) + 1
            batch.append(text)
        if len(batch) > 1:
            yield "\n".join(batch)

    def notes(self, payload: str) -> list[Note]:
        """Return what another gateway sent; nothing, when it was this one."""
        name, *texts = payload.split("\n")
        return [] if name == self.name else [json.loads(text) for text in texts]


def encode(signal: Signal) -> Note | None:
    """Return a signal as it is sent; None when it concerns nobody else."""
    match signal:
        case TasksReady():
            queue = signal.queue
            return ["ready", queue.namespace, queue.task_queue, to_microseconds(signal.ready_at)]
        case TaskInterrupted():
            is_cancel = int(signal.cancel is not None)
            return ["stop", signal.session_id.hex(), *_key(signal.key), signal.attempt, is_cancel]
        case OperationClosed():
            return encode_end(signal.operation.key)
        case ProgressReported():
            return ["progress", *_key(signal.key), signal.sequence]
        case SignalRecorded():
            return ["signal", *_key(signal.key)]
        case CircuitChanged():
            line, queue = signal.line, signal.queue
            return ["circuit", line.endpoint, line.task_queue, line.caller, queue.namespace, queue.task_queue]
        case EventArrived():
            return ["event", signal.reader]
        case RegistryChanged():
            return ["registry", signal.namespace, signal.endpoint]
        case AuditAppended():
            return ["audit"]
        case AttemptFailed() | HandlerAccepted() | StartCounted():
            # Starts are counted together: ``_counted``.
            return None
        case _:
            assert_never(signal)


def _counted(signals: Sequence[Signal]) -> Iterator[Note]:
    """Return one note for all starts of a caller at an endpoint: equal notes are sent once."""
    counts: Counter[tuple[str, str, int]] = Counter()
    for signal in signals:
        if type(signal) is StartCounted:
            counts[signal.endpoint, signal.caller, signal.per_second] += signal.count
    for (endpoint, caller, per_second), count in counts.items():
        yield ["started", endpoint, caller, per_second, count]


def encode_end(key: OperationKey) -> Note:
    """Return what is sent of the end of an operation."""
    return ["closed", *_key(key)]


def ended(note: Note) -> OperationKey | None:
    """Return which operation has ended, when the note is of an end."""
    return _from_key(*note[1:3]) if note[0] == "closed" else None


def decode(reader: Reader, notes: Sequence[Note]) -> list[Signal]:
    """Return the signals again, with what they need read from the store."""
    return [signal for note in notes if (signal := _decode(reader, note)) is not None]


def closed(reader: Reader, key: OperationKey) -> OperationClosed | None:
    """Return how an operation ended; None when it has not, or is not there any more."""
    operation = reader.operation(key)
    if operation is None or not operation.state.is_terminal:
        return None
    outcome = None if operation.statement is not None else reader.envelope(key, EnvelopeSlot.OUTCOME)
    return OperationClosed(operation=operation, outcome=outcome)


def _decode(reader: Reader, note: Note) -> Signal | None:  # noqa: PLR0911 - a case each
    match note:
        case ["ready", namespace, task_queue, ready_at]:
            return TasksReady(queue=_queue(namespace, task_queue), ready_at=from_microseconds(ready_at))
        case ["stop", session_id, caller, operation_id, attempt, is_cancel]:
            key = _from_key(caller, operation_id)
            return TaskInterrupted(
                session_id=bytes.fromhex(session_id),
                key=key,
                attempt=attempt,
                cancel=reader.envelope(key, EnvelopeSlot.CANCEL) if is_cancel else None,
            )
        case ["closed", caller, operation_id]:
            return closed(reader, _from_key(caller, operation_id))
        case ["progress", caller, operation_id, sequence]:
            return ProgressReported(key=_from_key(caller, operation_id), sequence=sequence)
        case ["signal", caller, operation_id]:
            return SignalRecorded(key=_from_key(caller, operation_id))
        case ["circuit", endpoint, of_queue, caller, namespace, task_queue]:
            line = Line(endpoint=endpoint, task_queue=of_queue, caller=caller)
            queue = _queue(namespace, task_queue)
            return CircuitChanged(line=line, queue=queue, circuit=reader.circuit(line))
        case ["event", reader_namespace]:
            return EventArrived(reader=reader_namespace)
        case ["started", endpoint, caller, per_second, count]:
            return StartCounted(endpoint=endpoint, caller=caller, per_second=per_second, count=count)
        case ["registry", namespace, endpoint]:
            return RegistryChanged(namespace=namespace, endpoint=endpoint)
        case ["audit"]:
            return AuditAppended()
        case _:
            # A newer gateway tells something that this one knows nothing of.
            return None


def _key(key: OperationKey) -> tuple[str, str]:
    return key.caller, key.operation_id.hex()


def _from_key(caller: str, operation_id: str) -> OperationKey:
    return OperationKey(caller=NamespaceName(caller), operation_id=OperationId(bytes.fromhex(operation_id)))


def _queue(namespace: str, task_queue: str) -> QueueKey:
    return QueueKey(namespace=NamespaceName(namespace), task_queue=task_queue)
