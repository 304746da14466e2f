"""What can go wrong between a process and the gateway. Every message says what to do next.

Endings of operations are no transport errors: those are raised by ``isthmus.client``.
"""

from typing import Final


class IsthmusError(Exception):
    """Any error of Isthmus itself; errors of handlers are those of ``nexusrpc``."""


class ConfigurationError(IsthmusError):
    """A setting is missing, contradictory or unsafe; nothing was sent."""


class ForkedError(IsthmusError):
    """This process was forked from one that had a connection; it must not be used here."""


class ClientClosedError(IsthmusError):
    """The client was closed; what it started goes on at the gateway."""


_ADVICE_BY_REASON: Final = {
    "CREDENTIAL_MISSING": "set token_file, or signing_key_file with issuer and subject, in the profile that"
    " is in use (ISTHMUS_CONFIG and ISTHMUS_PROFILE say which), or ISTHMUS_TOKEN",
}
"""Where this end knows better than the gateway what to do."""


class GatewayError(IsthmusError):
    """The gateway, or the way to it, answered with an error.

    Attributes:
        reason: the machine-readable reason of the gateway, upper case, or empty.
        retryable: whether the same request, the same bytes, may succeed later.
        retry_after_seconds: how long the gateway asks to wait, or None.
        metadata: what the gateway adds to the reason.
    """

    retryable = False
    advice = "see the gateway's log"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        retry_after_seconds: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.message = message
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata or {}
        advice = _ADVICE_BY_REASON.get(reason) or self.metadata.get("fix") or self.advice
        # The gateway's fixes are sentences, those of this module go on.
        link = ". " if advice[:1].isupper() else "; "
        super().__init__(f"{message or type(self).__name__}{f' [{reason}]' if reason else ''}{link}{advice}")


class ConnectionLostError(GatewayError):
    """The gateway cannot be reached, or went away during the call."""

    retryable = True
    advice = "check the address and that the gateway runs; a start may be repeated with the same id"


class DeadlineExceededError(GatewayError):
    """The call's own time was over before an answer came. The operation, if started, goes on."""

    advice = "repeat with the same id to attach to the operation, or take its handle and wait longer"


class UnauthenticatedError(GatewayError):
    """The gateway does not accept the credential."""

    advice = "check that the token or signing key is current and meant for this gateway (issuer, audience)"


class PermissionDeniedError(GatewayError):
    """The gateway knows the principal and does not permit the call."""

    advice = "ask the owner of the endpoint, or the platform team, for a policy that permits it"


class NotFoundError(GatewayError):
    """No such thing, or none that this namespace may know of."""

    advice = "check the name or id, and that the credential belongs to the right namespace"


class AlreadyExistsError(GatewayError):
    """The start was to create an operation and one exists under its id."""

    advice = "use another id, or reuse_policy='attach' to get the existing operation"


class ConflictError(GatewayError):
    """Another input, or another operation, is known under the same id."""

    advice = "use another id for another input; repeat the id only with the same input"


class PreconditionFailedError(GatewayError):
    """The state of the operation or of the resource does not allow it."""

    advice = "look at the operation's state first"


class OperationExpiredError(PreconditionFailedError):
    """The operation ended so long ago that the gateway keeps nothing but its id; it is not started again."""

    advice = "use another id if it is to run again; how it ended is in the audit log"


class ResourceExhaustedError(GatewayError):
    """A limit is reached."""

    retryable = True
    advice = "slow down, or ask for a higher limit"


class InvalidRequestError(GatewayError):
    """The gateway refuses the request as malformed."""

    advice = "check names and sizes; if they are right, update the SDK or the gateway"


class UnsupportedError(GatewayError):
    """The gateway does not know this call."""

    advice = "update the gateway, or use an SDK of its version"


class GatewayInternalError(GatewayError):
    """The gateway failed; it keeps the cause in its log."""

    advice = "repeat with the same id; if it persists, ask the operator of the gateway"


class KeyRetiredError(GatewayError):
    """A key that the envelope is sealed or signed with was just retired: seal again with the current one."""

    advice = "seal again after refreshing the keyset (the client does so itself)"


class EndpointRecordChangedError(KeyRetiredError):
    """The owner of the endpoint signed something newer about it: seal again as that says."""

    advice = "seal again after fetching the endpoint's record (the client does so itself)"
