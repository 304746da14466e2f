"""Sizes and durations that both sides enforce."""

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024 + 256 * 1024
"""Largest serialized Envelope: a 4 MiB body and room for header and wraps."""

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Largest sealed body."""

MAX_HEADER_BYTES = 64 * 1024
"""Largest serialized EnvelopeHeader."""

MAX_RECIPIENTS = 16
# Header and wraps, which come before the body.
MAX_SEALED_HEAD_BYTES = MAX_HEADER_BYTES + MAX_RECIPIENTS * (4096 + 128)
"""Most recipients of one envelope."""

MAX_LABELS = 64
"""Most labels of one header."""

MAX_LABEL_CHARS = 1024
"""Longest name or value of a label."""

MAX_PRINCIPAL_CHARS = 1024
"""Longest principal."""

MAX_REQUEST_ID_BYTES = 256
"""Longest request id (the caller's idempotency key)."""

MAX_OPERATION_TOKEN_BYTES = 4096
MAX_CALLER_CONTEXT_BYTES = 8192
# Of one operation: those of its starts, the first and those that attached.
MAX_CALLER_CONTEXTS = 10
"""Longest operation token of an asynchronous handler."""

MAX_REPORT_BYTES = 56 * 1024
"""Largest serialized value of heartbeat details, progress or a signal: it fits into a small envelope."""

MAX_SCHEDULE_TO_CLOSE_MS = 60 * 24 * 3600 * 1000
"""Longest life of an operation."""

MAX_RETENTION_MS = 365 * 24 * 3600 * 1000
"""Longest time for which a gateway keeps the payloads of an operation that ended."""

DEFAULT_SCHEDULE_TO_CLOSE_MS = 24 * 3600 * 1000
"""Life of an operation unless the caller says otherwise."""

CLOCK_SKEW_MS = 60_000
"""How far in the future an issued_at may lie."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest gRPC message: a frame of envelopes."""
