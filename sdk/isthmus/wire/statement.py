"""Gateway statements: endings that no handler signed."""

from isthmus.wire.pae import pae

_STATEMENT_CONTEXT = "isthmus/statement"


def statement_signed_bytes(body: bytes) -> bytes:
    """Return what the gateway signs of a serialized StatementBody."""
    return pae(_STATEMENT_CONTEXT, body)
