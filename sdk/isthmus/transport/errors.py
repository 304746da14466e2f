"""What can go wrong between a process and the gateway. Every message says what to do next.

Endings of operations are no transport errors: those are raised by ``isthmus.client``.
"""

from typing import Final, Self


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
    advice_on_operation = ""
    """Instead, for whoever meant an operation: most calls start none, and are told nothing about starts."""
    is_of_operation = False
    """Whether the call started an operation, or asked something of one."""

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
        super().__init__(self._text(self.advice))

    def of_operation(self) -> Self:
        """Return this error, advising whoever started an operation, or asked something of one."""
        self.is_of_operation = True
        self.args = (self._text(self.advice_on_operation or self.advice),)
        return self

    def _text(self, advice: str) -> str:
        advice = _ADVICE_BY_REASON.get(self.reason) or self.metadata.get("fix") or advice
        # The gateway's fixes are sentences, those of this module go on.
        link = ". " if advice[:1].isupper() else "; "
        reason = f" [{self.reason}]" if self.reason else ""
        return f"{self.message or type(self).__name__}{reason}{link}{advice}"


class ConnectionLostError(GatewayError):
    """The gateway cannot be reached, or went away during the call."""

    retryable = True
    advice = "check the address and that the gateway runs"
    advice_on_operation = f"{advice}; a start may be repeated with the same id"


class DeadlineExceededError(GatewayError):
    """The call's own time was over before an answer came. The operation, if started, goes on."""

    advice = "check that the gateway runs; it may still have done it: look before you repeat it"
    advice_on_operation = (
        "repeat with the same id to attach to the operation, or take its handle and wait longer"
    )


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
    """What was to be created exists: an operation under the id of the start, or something by this name."""

    advice = "take another name, or change what exists"
    advice_on_operation = "use another id, or reuse_policy='attach' to get the existing operation"


class ConflictError(GatewayError):
    """Another input is known under the same id, or somebody else changed what was to be changed."""

    advice = "look at what is there now, and repeat it if it still makes sense"
    advice_on_operation = "use another id for another input; repeat the id only with the same input"


class PreconditionFailedError(GatewayError):
    """The state of the operation or of the resource does not allow it."""

    advice = "look at the state of it first"
    advice_on_operation = "look at the operation's state first"


class OperationExpiredError(PreconditionFailedError):
    """The operation ended so long ago that the gateway keeps nothing but its id; it is not started again."""

    advice = advice_on_operation = "use another id if it is to run again; how it ended is in the audit log"


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

    advice = "repeat it later; if it persists, ask the operator of the gateway"
    advice_on_operation = "repeat with the same id; if it persists, ask the operator of the gateway"


class KeyRetiredError(GatewayError):
    """A key that the envelope is sealed or signed with was just retired: seal again with the current one."""

    advice = "seal again after refreshing the keyset (the client does so itself)"


class EndpointRecordChangedError(KeyRetiredError):
    """The owner of the endpoint signed something newer about it: seal again as that says."""

    advice = "seal again after fetching the endpoint's record (the client does so itself)"
