"""What can go wrong when a message is sealed or opened.

The other end learns one thing only, ``E2E_REJECTED``: which check failed would tell a forger how far it got.
"""

from enum import StrEnum, unique


@unique
class RejectionReason(StrEnum):
    """Which check refused a message. For the log of the end that refused, never for the wire."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    SUITE = "suite"
    DIRECTION = "direction"
    TRUST_DOMAIN = "trust-domain"
    SENDER = "sender"
    RECIPIENT = "recipient"
    RECIPIENTS = "recipients"
    ENDPOINT = "endpoint"
    SERVICE = "service"
    OPERATION = "operation"
    OPERATION_ID = "operation-id"
    REQUEST_DIGEST = "request-digest"
    PRINCIPAL = "principal"
    CONTRACT = "contract"
    TASK_QUEUE = "task-queue"
    LABELS = "labels"
    FINGERPRINT = "fingerprint"
    EXPIRED = "expired"
    ISSUED_IN_FUTURE = "issued-in-future"
    TOO_EARLY = "too-early"
    SENDER_KEY = "sender-key"
    SENDER_KEY_STATE = "sender-key-state"
    SIGNATURE = "signature"
    NOT_LISTED = "not-listed"
    RECIPIENT_KEY = "recipient-key"
    WRAP = "wrap"
    BODY = "body"
    PADDING = "padding"
    INNER = "inner"
    REPLAY = "replay"
    ORDER = "order"
    ATTEMPT = "attempt"
    STATEMENT = "statement"


class EnvelopeError(Exception):
    """A message could not be sealed or opened."""


class EnvelopeRejectedError(EnvelopeError):
    """A message was refused for good: the same bytes will be refused again.

    ``str()`` is the opaque code that may travel; ``reason`` is for local logs.
    """

    code = "E2E_REJECTED"

    def __init__(self, reason: RejectionReason) -> None:
        super().__init__(self.code)
        self.reason = reason


@unique
class MissingKey(StrEnum):
    """Which key an end lacks."""

    SENDER_SIGNING = "sender-signing"
    RECIPIENT_ENCRYPTION = "recipient-encryption"
    KEYSET = "keyset"
    ENDPOINT_RECORD = "endpoint-record"
    CONSENT = "recipient-consent"


class KeyUnavailableError(EnvelopeError):
    """A key is needed that is not known here (yet): refresh, then try again, unless it is gone for good."""

    code = "KEY_UNAVAILABLE"

    def __init__(self, *, key_id: bytes, namespace: str, which: MissingKey, permanent: bool = False) -> None:
        super().__init__(f"{self.code}: {which} key {key_id.hex() or '(any)'} of {namespace}")
        self.key_id = key_id
        self.namespace = namespace
        self.which = which
        self.permanent = permanent


class NeverSealError(EnvelopeError):
    """A message that must not leave in this form; nothing was sealed."""


class BodyTooLargeError(NeverSealError):
    """The sealed payload is larger than what envelopes carry (``limits.MAX_BODY_BYTES``)."""
