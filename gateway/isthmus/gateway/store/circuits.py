"""Open circuits: rows and statements."""

from sqlalchemy import bindparam, select

from isthmus.gateway.core.circuit import Circuit, Line, Probe
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.gateway.store.operations import key_from_row
from isthmus.gateway.store.schema import circuits
from isthmus.gateway.store.statements import FROM_THE_FIRST, Row, compile_query, delete_many, insert_many

PUT = insert_many(circuits, replace_by=("circuit_id",))
REMOVE = delete_many(circuits, "circuit_id")
SELECT = compile_query(select(circuits).where(circuits.c.circuit_id == bindparam("circuit_id")), "circuit_id")
LIST = compile_query(
    select(circuits).order_by(circuits.c.circuit_id).limit(bindparam("most")).offset(FROM_THE_FIRST), "most"
)


def circuit_id(line: Line) -> str:
    """Return where the circuit of a line is. Names of endpoints and namespaces have no slash."""
    return f"{line.endpoint}/{line.caller}/{line.task_queue}"


def circuit_row(circuit: Circuit) -> Row:
    """Return the row of a circuit, in the order of the columns."""
    line, probe = circuit.line, circuit.probe
    return (
        circuit_id(line),
        line.endpoint,
        line.task_queue,
        line.caller,
        circuit.handler,
        to_microseconds(circuit.since),
        to_microseconds(circuit.until),
        circuit.error,
        "" if probe is None else probe.key.caller,
        None if probe is None else probe.key.operation_id,
        0 if probe is None else probe.attempt,
    )


def circuit_from_row(row: Row) -> Circuit:
    """Return the circuit of a row of all columns."""
    _, endpoint, task_queue, caller, handler, since, until, error, probe_caller, probe_id, attempt = row
    probe = None
    if probe_id is not None:
        probe = Probe(key=key_from_row((probe_caller, probe_id)), attempt=attempt)
    return Circuit(
        line=Line(endpoint=endpoint, task_queue=task_queue, caller=caller),
        handler=handler,
        since=from_microseconds(since),
        until=from_microseconds(until),
        error=error,
        probe=probe,
    )
