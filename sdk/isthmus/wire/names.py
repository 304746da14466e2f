"""Names and ids: what is valid, and how ids are shown.

The rules follow Temporal's for endpoints and services, so that one name works in both worlds.
"""

import base64
import binascii
import re
from typing import NewType

from isthmus.wire.errors import WireFormatError

NamespaceName = NewType("NamespaceName", str)
EndpointName = NewType("EndpointName", str)
OperationId = NewType("OperationId", bytes)
KeyId = NewType("KeyId", bytes)

EVENT_SERVICE = "isthmus.event"
"""Service of the header of an event, whose name is the operation: nothing that could be called."""
OPERATION_ID_BYTES = 16
KEY_ID_BYTES = 16
HOLDER_ID_BYTES = 16
DIGEST_BYTES = 32
MAX_NAME_CHARS = 200
MAX_SERVICE_CHARS = 1000
MAX_TRUST_DOMAIN_CHARS = 255
DEVELOPMENT_TRUST_DOMAIN = "dev.isthmus.internal"
"""That of ``isthmus dev``, the one where the gateway is believed about whom to trust."""

_NAMESPACE = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ENDPOINT = re.compile(r"[a-zA-Z](?:[a-zA-Z0-9-]{0,198}[a-zA-Z0-9])?")
_TASK_QUEUE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._/-]{0,198}[a-zA-Z0-9])?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?")
_OPERATION_ID_PREFIX = "op-"


def check_namespace(name: str) -> NamespaceName:
    """Return the name, or raise WireFormatError when it is not a valid namespace name."""
    if not _NAMESPACE.fullmatch(name):
        raise WireFormatError(
            "a namespace is 1 to 63 lower-case letters, digits and hyphens, beginning with a letter"
        )
    return NamespaceName(name)


def check_endpoint(name: str) -> EndpointName:
    """Return the name, or raise WireFormatError when it is not a valid endpoint name."""
    if not _ENDPOINT.fullmatch(name):
        raise WireFormatError("an endpoint is 1 to 200 letters, digits and hyphens, beginning with a letter")
    return EndpointName(name)


SIGNAL_NAME_HEADER = "isthmus-signal"
"""Header inside of the sealed payload that names a signal: the gateway does not see the name."""


def check_task_queue(name: str) -> str:
    """Return the name, or raise WireFormatError when it is not a valid task queue name."""
    if not _TASK_QUEUE.fullmatch(name):
        raise WireFormatError(
            "a task queue is 1 to 200 letters, digits and . _ / -, not beginning or ending with punctuation"
        )
    return name


def check_cursor(name: str) -> str:
    """Return the name, or raise WireFormatError when it is not a valid name of a cursor."""
    if not _TASK_QUEUE.fullmatch(name):
        raise WireFormatError(
            "a cursor is 1 to 200 letters, digits and . _ / -, not beginning or ending with punctuation"
        )
    return name


def check_trust_domain(name: str) -> str:
    """Return the name, or raise WireFormatError when it is not a valid trust domain."""
    if not _TRUST_DOMAIN.fullmatch(name):
        raise WireFormatError(
            "a trust domain is 1 to 255 lower-case letters, digits, dots, hyphens and underscores"
        )
    return name


def check_service(name: str, what: str = "service") -> str:
    """Return the name of a service or an operation, or raise WireFormatError.

    Any printable text of up to 1000 characters: contracts of other worlds use spaces and slashes.
    """
    if not 0 < len(name) <= MAX_SERVICE_CHARS or not name.isprintable():
        raise WireFormatError(f"the name of the {what} must be 1 to {MAX_SERVICE_CHARS} printable characters")
    return name


def check_operation_id(value: bytes) -> OperationId:
    """Return the id, or raise WireFormatError when it is not 16 bytes."""
    if len(value) != OPERATION_ID_BYTES:
        raise WireFormatError(f"an operation id is {OPERATION_ID_BYTES} bytes")
    return OperationId(value)


def format_operation_id(value: bytes) -> str:
    """Show an operation id as ``op-`` and lower-case base32 without padding: URL-safe."""
    if len(value) != OPERATION_ID_BYTES:
        return _OPERATION_ID_PREFIX + base64.b32encode(value).decode().rstrip("=").lower()
    # Ten bits at a time: base64 does it in Python, and takes four times as long.
    number = int.from_bytes(value, "big") << _PADDING_BITS
    return _OPERATION_ID_PREFIX + "".join([_DIGITS[number >> shift & 1023] for shift in _SHIFTS])


_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_DIGITS = tuple(first + second for first in _BASE32 for second in _BASE32)
# 26 digits are 130 bits.
_PADDING_BITS = 26 * 5 - OPERATION_ID_BYTES * 8
_SHIFTS = tuple(range(120, -1, -10))


def parse_operation_id(text: str) -> OperationId:
    """Read what format_operation_id wrote. Raises WireFormatError."""
    digits = text.removeprefix(_OPERATION_ID_PREFIX)
    if digits != text:
        try:
            value = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
        except binascii.Error:
            value = b""
        if format_operation_id(value) == text:
            return check_operation_id(value)
    raise WireFormatError("an operation id looks like op-… followed by 26 lower-case base32 characters")
