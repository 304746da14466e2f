"""What operations that finish later are found by, besides their ids: keyed hashes of their tokens."""

from sqlalchemy import bindparam, select

from isthmus.gateway.store.schema import operation_tokens, operations
from isthmus.gateway.store.statements import FROM_THE_FIRST, compile_query, delete_many, insert_many

MOST_FOUND = 2

PUT = insert_many(operation_tokens, replace_by=("position",))
DELETE = delete_many(operation_tokens, "position")
SELECT_OPERATIONS = compile_query(
    select(operations)
    .select_from(operation_tokens.join(operations, operations.c.position == operation_tokens.c.position))
    .where(
        operation_tokens.c.handler == bindparam("handler"),
        operation_tokens.c.token_key == bindparam("token_key"),
    )
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "handler",
    "token_key",
    "most",
)
