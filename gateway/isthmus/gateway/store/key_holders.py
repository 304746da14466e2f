"""Key holders: rows and statements."""

from typing import Final

from sqlalchemy import bindparam, func, select

from isthmus.gateway.ports.key_holders import KeyHolder
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.gateway.store.schema import key_holders
from isthmus.gateway.store.statements import FROM_THE_FIRST, Row, compile_query, delete_many, insert_many
from isthmus.wire.names import KEY_ID_BYTES, NamespaceName

HolderName = tuple[str, bytes]
"""(namespace, holder id)."""
_COLUMNS: Final = key_holders.c

PUT = insert_many(key_holders, replace_by=("holder_key",))
REMOVE = delete_many(key_holders, "holder_key")
HAS = compile_query(
    select(_COLUMNS.holder_key).where(_COLUMNS.holder_key == bindparam("holder_key")), "holder_key"
)
COUNT = compile_query(
    select(func.count()).select_from(key_holders).where(_COLUMNS.namespace == bindparam("namespace")),
    "namespace",
)
LIST = compile_query(
    select(key_holders)
    .where(_COLUMNS.namespace == bindparam("namespace"), _COLUMNS.holder_id > bindparam("after"))
    .order_by(_COLUMNS.holder_id)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "namespace",
    "after",
    "most",
)
SELECT_GONE = compile_query(
    select(_COLUMNS.namespace, _COLUMNS.holder_id)
    .where(_COLUMNS.alive_until <= bindparam("until"))
    .order_by(_COLUMNS.alive_until)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "until",
    "most",
)


def holder_key(name: HolderName) -> str:
    """Return where a holder is; the name of a namespace has no slash."""
    namespace, holder_id = name
    return f"{namespace}/{holder_id.hex()}"


def holder_row(holder: KeyHolder) -> Row:
    """Return the row of a holder, in the order of the columns."""
    return (
        holder_key((holder.namespace, holder.holder_id)),
        holder.namespace,
        holder.holder_id,
        holder.principal,
        holder.identity,
        b"".join(holder.key_ids),
        to_microseconds(holder.reported_at),
        to_microseconds(holder.alive_until),
    )


def holder_from_row(row: Row) -> KeyHolder:
    """Return the holder of a row of all columns."""
    _, namespace, holder_id, principal, identity, key_ids, reported_at, alive_until = row
    return KeyHolder(
        namespace=NamespaceName(namespace),
        holder_id=bytes(holder_id),
        principal=principal,
        identity=identity,
        key_ids=tuple(
            bytes(key_ids[start : start + KEY_ID_BYTES]) for start in range(0, len(key_ids), KEY_ID_BYTES)
        ),
        reported_at=from_microseconds(reported_at),
        alive_until=from_microseconds(alive_until),
    )
