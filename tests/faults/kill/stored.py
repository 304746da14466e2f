"""What the store says, read behind the gateway's back: read-only SQL on its file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.faults.kill.records import Stored

from isthmus.wire.names import OperationId, format_operation_id

_OPERATIONS = """
SELECT o.operation_id, o.state, o.outcome_digest,
  (SELECT count(*) FROM audit_events a WHERE a.operation = o.position AND a.type = 'operation_started'),
  (SELECT count(*) FROM audit_events a WHERE a.operation = o.position AND a.type = 'operation_ended')
FROM operations o WHERE o.caller = ?
"""


def read_store(database: Path, caller: str) -> list[Stored]:
    """Return every operation that a namespace started."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        return [
            Stored(
                operation_id=format_operation_id(OperationId(operation_id)),
                state=state,
                outcome_digest=outcome_digest.hex(),
                starts=starts,
                ends=ends,
            )
            for operation_id, state, outcome_digest, starts, ends in connection.execute(
                _OPERATIONS, (caller,)
            )
        ]
