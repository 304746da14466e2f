"""Many operations with what proves where they are: three queries, however many they are."""

from collections.abc import Callable, Sequence
from typing import Final

from isthmus.gateway.core.operation import Operation, OperationKey, Statement
from isthmus.gateway.ports import EnvelopeSlot
from isthmus.gateway.ports.evidence import Evidence
from isthmus.gateway.store import operations, retention
from isthmus.gateway.store.operations import StoredOperation
from isthmus.gateway.store.schema import envelopes
from isthmus.gateway.store.statements import ManyRows, Row, select_many

SELECT_ENVELOPES: Final = select_many(envelopes, "envelope_id")

SelectMany = Callable[[ManyRows, Sequence[Row]], list[Row]]
"""Runs a query over rows of keys, and returns what it finds."""


def evidence(select: SelectMany, keys: Sequence[OperationKey], most_bytes: int) -> list[Evidence]:
    """Return the evidence of the first operations, of as many as fit into the bytes, and of one at least."""
    wanted = [(key.operation_id, key.caller) for key in keys]
    rows = map(operations.from_row, select(operations.SELECT_MANY, wanted))
    stored = {entry.operation.key: entry for entry in rows}
    missing = [(key.operation_id, key.caller) for key in keys if key not in stored]
    identities = {
        identity.key: identity for identity in map(retention.from_row, select(retention.SELECT_MANY, missing))
    }
    keys = _that_fit(keys, stored, most_bytes)
    chosen = [
        (operations.envelope_id(stored[key].position, slot),)
        for key in keys
        if key in stored
        for slot in _slots(stored[key].operation)
    ]
    messages: dict[int, bytes] = {row[0]: row[-1] for row in select(SELECT_ENVELOPES, chosen)}

    def message(entry: StoredOperation, slot: EnvelopeSlot) -> bytes:
        return messages.get(operations.envelope_id(entry.position, slot), b"")

    found: list[Evidence] = []
    for key in keys:
        entry = stored.get(key)
        if entry is None:
            found.append(Evidence(key=key, identity=identities.get(key)))
            continue
        found.append(
            Evidence(
                key=key,
                operation=entry.operation,
                request=message(entry, EnvelopeSlot.REQUEST),
                outcome=message(entry, EnvelopeSlot.OUTCOME),
                cancel=message(entry, EnvelopeSlot.CANCEL),
            )
        )
    return found


def _slots(operation: Operation) -> Sequence[EnvelopeSlot]:
    if operation.statement is Statement.CANCELED:
        return EnvelopeSlot.REQUEST, EnvelopeSlot.CANCEL
    if operation.state.is_terminal and operation.statement is None:
        return EnvelopeSlot.REQUEST, EnvelopeSlot.OUTCOME
    return (EnvelopeSlot.REQUEST,)


def _that_fit(
    keys: Sequence[OperationKey], stored: dict[OperationKey, StoredOperation], most_bytes: int
) -> Sequence[OperationKey]:
    """Return the first keys, as many as have no more messages than the bytes, but one at least."""
    total = 0
    for count, key in enumerate(keys):
        entry = stored.get(key)
        if entry is not None:
            total += entry.operation.request_bytes + entry.operation.outcome_bytes
        if count and total > most_bytes:
            return keys[:count]
    return keys
