"""Open circuits, let probes through, and close circuits: the part of circuit breakers that is durable.

What is open is in the store, for every gateway and across restarts. Counting up to there is each gateway's
own business, in memory: see ``isthmus.gateway.dispatch.circuits``.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, CircuitClosed, CircuitOpened
from isthmus.gateway.core.circuit import EVERYBODY, Circuit, Line, Probe, Verdict, judge, reopened
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import CircuitChanged, QueueKey, UnitOfWork
from isthmus.wire.names import NamespaceName

UNUSED_AFTER = timedelta(hours=1)


def lines_of(operation: Operation) -> tuple[Line, Line]:
    """Return the two lines that an operation's attempts belong to: its caller's, and everybody's."""
    endpoint, task_queue = operation.endpoint, operation.task_queue
    return (
        Line(endpoint=endpoint, task_queue=task_queue, caller=operation.key.caller),
        Line(endpoint=endpoint, task_queue=task_queue, caller=EVERYBODY),
    )


def open_circuit(uow: UnitOfWork, line: Line, *, handler: str, error: str, now: datetime) -> bool:
    """Open the circuit of a line; return whether this very call did.

    It stays as it is when it is open, and closed when its endpoint has none any more.
    """
    endpoint = uow.endpoint(line.endpoint)
    if endpoint is None or endpoint.deleted_at is not None or not endpoint.circuit.failures:
        return False
    if uow.circuit(line) is not None:
        return False
    circuit = Circuit(
        line=line, handler=handler, since=now, until=now + endpoint.circuit.open_for, error=error
    )
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=GATEWAY,
            happening=CircuitOpened(
                endpoint=line.endpoint,
                handler=handler,
                task_queue=line.task_queue,
                caller=line.caller,
                failures=endpoint.circuit.failures,
                error_type=error,
                until=circuit.until,
            ),
        )
    )
    _put(uow, circuit)
    return True


def is_held_up(uow: UnitOfWork, operation: Operation, now: datetime) -> bool:
    """Whether the next attempt of an operation has to wait for a circuit."""
    found = (uow.circuit(line) for line in lines_of(operation))
    return any(circuit is not None and not circuit.takes_probe(now) for circuit in found)


def note_probe(uow: UnitOfWork, operation: Operation) -> None:
    """The next attempt of an operation goes out: it is the probe of the circuits that it has to pass."""
    for line in lines_of(operation):
        circuit = uow.circuit(line)
        if circuit is not None:
            probe = Probe(key=operation.key, attempt=operation.attempt + 1)
            _put(uow, replace(circuit, probe=probe))


def note_failed_probe(
    uow: UnitOfWork, operation: Operation, error: str, *, open_for: timedelta, now: datetime
) -> None:
    """An attempt of an operation failed: circuits whose probe it was stay open for as long again."""
    probe = Probe(key=operation.key, attempt=operation.attempt)
    for line in lines_of(operation):
        circuit = uow.circuit(line)
        if circuit is not None and circuit.probe == probe:
            _put(uow, reopened(circuit, error, open_for, now))


def review_circuits(uow: UnitOfWork, lines: Iterable[Line], *, now: datetime) -> None:
    """Close circuits whose probe was answered, that nobody needs, or that are switched off.

    A probe that was taken away decides nothing: the next attempt is one again.
    """
    for line in lines:
        circuit = uow.circuit(line)
        if circuit is None:
            continue
        endpoint = uow.endpoint(line.endpoint)
        if endpoint is None or endpoint.deleted_at is not None or not endpoint.circuit.failures:
            _close(uow, circuit, "switched_off", now)
        elif circuit.probe is not None:
            match judge(circuit.probe, uow.operation(circuit.probe.key)):
                case Verdict.ANSWERED:
                    _close(uow, circuit, "answered", now)
                case Verdict.UNDECIDED:
                    _put(uow, replace(circuit, probe=None))
                case Verdict.UNDER_WAY:
                    pass
        elif now - circuit.until >= UNUSED_AFTER:
            _close(uow, circuit, "unused", now)


def _put(uow: UnitOfWork, circuit: Circuit) -> None:
    uow.put_circuit(circuit)
    uow.signal(CircuitChanged(line=circuit.line, queue=circuit_queue(circuit), circuit=circuit))


def _close(uow: UnitOfWork, circuit: Circuit, cause: str, now: datetime) -> None:
    line = circuit.line
    uow.remove_circuit(line)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=GATEWAY,
            happening=CircuitClosed(
                endpoint=line.endpoint,
                handler=circuit.handler,
                task_queue=line.task_queue,
                caller=line.caller,
                cause=cause,
            ),
        )
    )
    uow.signal(CircuitChanged(line=line, queue=circuit_queue(circuit), circuit=None))


def circuit_queue(circuit: Circuit) -> QueueKey:
    """Return the queue in which a circuit holds tasks up."""
    return QueueKey(namespace=NamespaceName(circuit.handler), task_queue=circuit.line.task_queue)
