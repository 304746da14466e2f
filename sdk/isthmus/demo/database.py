"""What whoever reads the gateway's database learns about a payload: its header, and that it is ciphertext."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.demo.services import Batch
from isthmus.wire.envelope import SealedEnvelope, parse_envelope
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id

_SHOWN_BYTES = 48
_SOUGHT_VALUES = 500
_TELLING_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One request at rest, and a search for what the teams sent."""

    clear: dict[str, str]
    """What the gateway knows of it, because it has to."""
    ciphertext: str
    """How its payload begins in the database, hexadecimal."""
    sealed_bytes: int
    plaintext: str
    """How the same payload begins at the two ends."""
    values_sought: int
    values_found: int
    database_bytes: int


def read_exposure(database: Path, operation_id: str, batches: Sequence[Batch]) -> Exposure:
    """Read the database of a gateway that has stopped, as a thief would. Raises sqlite3.Error."""
    envelope = _request(database, operation_id)
    header = envelope.header
    files = [path for path in sorted(database.parent.iterdir()) if path.name.startswith(database.name)]
    content = b"".join(path.read_bytes() for path in files)
    sought = _telling_values(batches)
    first = batches[0].rows[0]
    return Exposure(
        clear={
            "from": header.principal,
            "to": header.recipient_namespace,
            "called": f"{header.endpoint}/{header.service}/{header.operation}",
            "operation": operation_id,
            "suite": header.suite,
        },
        ciphertext=envelope.body[:_SHOWN_BYTES].hex(),
        sealed_bytes=len(envelope.body),
        plaintext=json.dumps(first, ensure_ascii=False),
        values_sought=len(sought),
        values_found=sum(1 for value in sought if value in content),
        database_bytes=len(content),
    )


def _request(database: Path, operation_id: str) -> SealedEnvelope:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        for (data,) in connection.execute("SELECT envelope FROM envelopes ORDER BY envelope_id"):
            envelope = parse_envelope(data)
            is_request = envelope.header.direction is Direction.REQUEST
            if is_request and format_operation_id(envelope.header.operation_id) == operation_id:
                return envelope
    finally:
        connection.close()
    raise LookupError(f"the database does not hold {operation_id}")


def _telling_values(batches: Sequence[Batch]) -> set[bytes]:
    """Return values that can only be in the database if a payload is: long ones, of many rows."""
    found: set[bytes] = set()
    for batch in batches:
        for row in batch.rows:
            found.update(value.encode() for value in row.values() if len(value) >= _TELLING_CHARS)
            if len(found) >= _SOUGHT_VALUES:
                return found
    return found
