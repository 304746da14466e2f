"""The tables.

Moments and durations are integers of microseconds, moments since the Unix epoch. Text that is absent is
empty, so that the conditions of partial indexes stay simple; numbers and bytes that are absent are NULL.

Ids of what belongs to an operation are made of the operation's position, so that rows written together lie
together: a commit costs by the page, and a random key dirties a page of its own. For the same reason the only
random index is that of the operation ids, and audit events refer to positions.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    literal_column,
    text,
)

metadata = MetaData()

# SQLite makes only INTEGER PRIMARY KEY the row's own number; elsewhere 64 bits have to be asked for.
Number = BigInteger().with_variant(Integer(), "sqlite")
_EMPTY: ColumnElement[str] = literal_column("''")


def _partial(name: str, *columns: Column[str] | Column[int] | Column[bytes], where: object) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


operations = Table(
    "operations",
    metadata,
    # Order of the listing.
    Column("position", Number, primary_key=True, autoincrement=False),
    Column("caller", Text, nullable=False),
    Column("operation_id", LargeBinary, nullable=False),
    Column("handler", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("request_bytes", Number, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("scheduled_at", Number, nullable=False),
    Column("schedule_to_start_at", Number),
    Column("start_to_close_timeout", Number),
    Column("schedule_to_close_at", Number, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_since", Number, nullable=False),
    Column("attempt", Number, nullable=False),
    Column("attempts_spent", Number, nullable=False),
    Column("session_id", LargeBinary),
    Column("first_dispatched_at", Number),
    Column("next_attempt_at", Number),
    Column("last_attempt_end", Text),
    Column("last_attempt_error", Text, nullable=False),
    Column("cancel_requested", Number, nullable=False),
    Column("closed_at", Number),
    Column("outcome", Text),
    Column("outcome_digest", LargeBinary, nullable=False),
    Column("outcome_bytes", Number, nullable=False),
    Column("statement", Text),
    # When the first of its timeouts elapses; NULL in a terminal state.
    Column("next_timeout_at", Number),
    # Last, because older gateways do not write it.
    Column("heartbeat_at", Number),
    Column("version", Text, nullable=False, server_default=""),
    Column("signals", Number, nullable=False, server_default="0"),
    Column("signal_bytes", Number, nullable=False, server_default="0"),
)
# By id first: a handler knows the id and not always the caller.
Index("operations_by_id", operations.c.operation_id, operations.c.caller, unique=True)
Index("operations_by_caller", operations.c.caller, operations.c.position)
Index("operations_by_handler", operations.c.handler, operations.c.position)
Index("operations_by_endpoint", operations.c.endpoint, operations.c.position)
is_open = operations.c.next_timeout_at.is_not(None)
_partial("operations_by_timeout", operations.c.next_timeout_at, where=is_open)
_partial("operations_open_by_endpoint", operations.c.endpoint, where=is_open)
_partial("operations_open_by_caller", operations.c.endpoint, operations.c.caller, where=is_open)

# What stays of operations when their retention is over. Small, and written then, not when they start.
identities = Table(
    "identities",
    metadata,
    # That of the operation: what its audit events are filed under.
    Column("position", Number, primary_key=True, autoincrement=False),
    Column("caller", Text, nullable=False),
    Column("operation_id", LargeBinary, nullable=False),
    Column("handler", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("outcome_digest", LargeBinary, nullable=False),
    Column("closed_at", Number, nullable=False),
)
Index("identities_by_id", identities.c.operation_id, identities.c.caller, unique=True)
Index("identities_by_end", identities.c.closed_at)

# How far the audit log of an endpoint was gone through for operations whose retention is over.
retention_marks = Table(
    "retention_marks",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("position", Number, nullable=False),
    sqlite_with_rowid=False,
)

envelopes = Table(
    "envelopes",
    metadata,
    # Slot * 2**48 + position of the operation; the n-th signal is in slot 1024 + n.
    Column("envelope_id", Number, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
)

# Only of operations whose handlers finish later.
operation_tokens = Table(
    "operation_tokens",
    metadata,
    # That of the operation.
    Column("position", Number, primary_key=True, autoincrement=False),
    Column("handler", Text, nullable=False),
    Column("token_key", LargeBinary, nullable=False),
)
Index("operation_tokens_by_key", operation_tokens.c.handler, operation_tokens.c.token_key)

tasks = Table(
    "tasks",
    metadata,
    # Position of the operation * 2 + kind; of signal tasks 2**62 + position.
    Column("task_id", Number, primary_key=True, autoincrement=False),
    Column("caller", Text, nullable=False),
    Column("operation_id", LargeBinary, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("attempt", Number, nullable=False),
    Column("ready_at", Number, nullable=False),
    # NULL while it waits.
    Column("session_id", LargeBinary),
)
is_waiting = tasks.c.session_id.is_(None)
is_leased = tasks.c.session_id.is_not(None)
_partial(
    "tasks_waiting",
    tasks.c.namespace,
    tasks.c.task_queue,
    tasks.c.ready_at,
    tasks.c.task_id,
    where=is_waiting,
)
# A caller of a queue is found without looking at the tasks of the others.
_partial(
    "tasks_waiting_by_caller",
    tasks.c.namespace,
    tasks.c.task_queue,
    tasks.c.caller,
    tasks.c.ready_at,
    tasks.c.task_id,
    where=is_waiting,
)
_partial("tasks_leased", tasks.c.session_id, tasks.c.task_id, where=is_leased)

worker_sessions = Table(
    "worker_sessions",
    metadata,
    Column("session_id", LargeBinary, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("expires_at", Number, nullable=False),
    Index("worker_sessions_by_expiry", "expires_at", "session_id"),
    Index("worker_sessions_by_queue", "namespace", "task_queue", "version"),
    sqlite_with_rowid=False,
)

namespaces = Table(
    "namespaces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("created_at", Number, nullable=False),
    sqlite_with_rowid=False,
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("description", Text, nullable=False),
    # JSON: a list of [namespace, service, operation].
    Column("allow_rules", Text, nullable=False),
    Column("retry_initial_interval", Number, nullable=False),
    Column("retry_max_interval", Number, nullable=False),
    Column("retry_max_attempts", Number, nullable=False),
    Column("retry_park_when_exhausted", Number, nullable=False),
    Column("max_payload_bytes", Number, nullable=False),
    Column("max_schedule_to_close", Number, nullable=False),
    Column("etag", Text, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Column("deleted_at", Number),
    # JSON: a list of [namespace, weight]. Last, and with a default: older gateways do not write it.
    Column("fair_weights", Text, nullable=False, server_default="[]"),
    # Of each caller; 0: no limit.
    Column("max_operations_per_second", Number, nullable=False, server_default="0"),
    Column("max_open_operations", Number, nullable=False, server_default="0"),
    # Microseconds; 30 days.
    Column("retention", Number, nullable=False, server_default="2592000000000"),
    Column("draining_since", Number),
    # Empty: to nobody.
    Column("offered_to", Text, nullable=False, server_default=""),
    Column("circuit_failures", Number, nullable=False, server_default="10"),
    Column("circuit_open_for", Number, nullable=False, server_default="30000000"),
    # JSON: {"ramp": [[version, percent]], "pin": bool}; empty when versions do not matter.
    Column("versions", Text, nullable=False, server_default=""),
    # JSON: {"version": number, "recipients": [namespace], "contract_hash": hexadecimal}; empty when its owner
    # signed nothing about it.
    Column("record", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)
is_routed = endpoints.c.versions != _EMPTY
_partial("endpoints_routed", endpoints.c.name, where=is_routed)
is_current = endpoints.c.deleted_at.is_(None)
_partial("endpoints_current", endpoints.c.name, where=is_current)
_partial("endpoints_current_by_namespace", endpoints.c.namespace, endpoints.c.name, where=is_current)

is_draining = and_(endpoints.c.draining_since.is_not(None), is_current)
_partial("endpoints_draining", endpoints.c.name, where=is_draining)
circuits = Table(
    "circuits",
    metadata,
    # endpoint/caller/task queue
    Column("circuit_id", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    # Empty: of every caller.
    Column("caller", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("since", Number, nullable=False),
    Column("until", Number, nullable=False),
    Column("error", Text, nullable=False),
    # The attempt that is a probe; the id is NULL while there is none.
    Column("probe_caller", Text, nullable=False),
    Column("probe_operation_id", LargeBinary),
    Column("probe_attempt", Number, nullable=False),
    sqlite_with_rowid=False,
)
cursors = Table(
    "cursors",
    metadata,
    # Namespace and name, with a slash between them.
    Column("cursor_id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    # Names of kinds, with commas between them.
    Column("kinds", Text, nullable=False),
    # In the audit log.
    Column("position", Number, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("acknowledged_at", Number),
    sqlite_with_rowid=False,
)
Index("cursors_by_namespace", cursors.c.namespace, cursors.c.name)

published_events = Table(
    "published_events",
    metadata,
    # Reader, publisher and the event's id in hexadecimal, with slashes between them.
    Column("event_key", Text, primary_key=True),
    Column("reader", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("event_id", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("expires_at", Number, nullable=False),
)
Index("published_events_by_expiry", published_events.c.expires_at)

keysets = Table(
    "keysets",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("keyset", LargeBinary, nullable=False),
    # Of the time when one key signed all keysets of a namespace: empty now, removed in a later release.
    Column("root_public_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("published_at", Number, nullable=False),
    # Everything that vouches for it; empty in what was written before there was more than a signature.
    Column("message", LargeBinary, nullable=False, server_default=text("''")),
)

key_holders = Table(
    "key_holders",
    metadata,
    # Namespace and the holder's id in hexadecimal, with a slash between them.
    Column("holder_key", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("holder_id", LargeBinary, nullable=False),
    Column("principal", Text, nullable=False),
    Column("identity", Text, nullable=False),
    # One after the other: all are of the same length.
    Column("key_ids", LargeBinary, nullable=False),
    Column("reported_at", Number, nullable=False),
    Column("alive_until", Number, nullable=False),
    sqlite_with_rowid=False,
)
Index("key_holders_by_namespace", key_holders.c.namespace, key_holders.c.holder_id)
Index("key_holders_by_end", key_holders.c.alive_until)

# What owners signed about their endpoints: every version of every owner.
endpoint_records = Table(
    "endpoint_records",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    # With its signature: a serialized isthmus.v1.SignedStatement.
    Column("message", LargeBinary, nullable=False),
    Column("published_at", Number, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    # Order of the log. Never given twice, not even after the end of the log was cut off.
    Column("position", Number, primary_key=True),
    # Time of the log, which never runs backwards; the event itself says what the clock said.
    Column("recorded_at", Number, nullable=False),
    Column("type", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    # Position of the operation that it is about.
    Column("operation", Number),
    # Id of the operation, where no operation has it: a refused start.
    Column("operation_id", LargeBinary),
    # The leaf: a serialized isthmus.v1.AuditEvent.
    Column("event", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
_audit = audit_events.c
Index("audit_events_by_time", _audit.recorded_at, _audit.position)
# Three indexes, each event only in those that it needs: a namespace finds it once, whatever its part in it.
is_by_caller = _audit.caller != _EMPTY
is_by_handler = and_(_audit.handler != _EMPTY, _audit.handler != _audit.caller)
is_by_actor = and_(_audit.actor != _EMPTY, _audit.actor != _audit.caller, _audit.actor != _audit.handler)
_partial("audit_events_by_caller", _audit.caller, _audit.position, where=is_by_caller)
_partial("audit_events_by_handler", _audit.handler, _audit.position, where=is_by_handler)
_partial("audit_events_by_actor", _audit.actor, _audit.position, where=is_by_actor)
has_endpoint = _audit.endpoint != _EMPTY
_partial("audit_events_by_endpoint", _audit.endpoint, _audit.position, where=has_endpoint)
has_operation = _audit.operation.is_not(None)
_partial("audit_events_by_operation", _audit.operation, _audit.position, where=has_operation)
has_unknown_operation = _audit.operation_id.is_not(None)
_partial("audit_events_by_operation_id", _audit.operation_id, _audit.position, where=has_unknown_operation)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
