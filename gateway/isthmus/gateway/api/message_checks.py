"""What the gateway checks of every sealed message, whoever sends it: the header against the credential."""

from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import ConflictError, InvalidRequestError, PreconditionError
from isthmus.wire.envelope import SealedEnvelope, parse_envelope
from isthmus.wire.header import Direction

KEY_RETIRED = "KEY_RETIRED"
SENDER_KEY_UNKNOWN = "SENDER_KEY_UNKNOWN"
HEADER_MISMATCH = "HEADER_MISMATCH"
# They travel beside requests, and one frame has room for all of them; or they are written again and again.
MAX_SMALL_BODY_BYTES = 64 * 1024
# Of 8 KiB, padded.
MAX_CONTEXT_BODY_BYTES = 10 * 1024
_SMALL = (
    Direction.CANCEL,
    Direction.STARTED,
    Direction.DETAILS,
    Direction.PROGRESS,
    Direction.SIGNAL,
    Direction.EVENT,
)
_MOST_BODY_BYTES = {
    **dict.fromkeys(_SMALL, MAX_SMALL_BODY_BYTES),
    Direction.CONTEXT: MAX_CONTEXT_BODY_BYTES,
}


class MessageChecks:
    """Parses and checks sealed messages."""

    def __init__(self, registry: RegistryCache, *, trust_domain: str) -> None:
        self._registry = registry
        self._trust_domain = trust_domain

    def parse(
        self, envelope: bytes, principal: Principal, directions: frozenset[Direction]
    ) -> SealedEnvelope:
        """Parse a message of this principal.

        Raises:
            WireFormatError: it is malformed.
            InvalidRequestError: its header does not fit the credential, the deployment or the call.
        """
        sealed = parse_envelope(envelope)
        header = sealed.header
        if header.direction not in directions:
            raise InvalidRequestError(
                f"a message of direction {header.direction.name} does not belong here",
                reason="WRONG_DIRECTION",
            )
        most_bytes = _MOST_BODY_BYTES.get(header.direction)
        if most_bytes is not None and len(sealed.body) > most_bytes:
            raise InvalidRequestError(
                f"a message of direction {header.direction.name} has at most {most_bytes} bytes",
                reason="PAYLOAD_TOO_LARGE",
                fix="send a pointer to the data instead of the data",
            )
        for name, stated, actual in (
            ("sender_namespace", header.sender_namespace, principal.namespace),
            ("principal", header.principal, principal.name),
            ("trust_domain", header.trust_domain, self._trust_domain),
        ):
            if stated != actual:
                raise InvalidRequestError(
                    f"the header's {name} is not {actual}",
                    reason=HEADER_MISMATCH,
                    fix="seal with the identity that the credential stands for",
                )
        return sealed

    async def check_keys(self, sealed: SealedEnvelope) -> None:
        """Check that the sender's and the recipients' keys are those that their namespaces use now.

        A namespace without a keyset is not checked here: the other end verifies every key itself.

        Raises:
            ConflictError: a recipient's key was retired (KEY_RETIRED): sealed again, the message is welcome.
            PreconditionError: the sender's key is unknown (SENDER_KEY_UNKNOWN).
        """
        sender = await self._registry.active_keys(sealed.header.sender_namespace)
        if sender is not None and sealed.header.sender_key_id not in sender.signing:
            raise PreconditionError(
                "the signing key is not an active one of its namespace's newest keyset",
                reason=SENDER_KEY_UNKNOWN,
                fix="publish the key, or sign with one that is published",
            )
        for wrap in sealed.wraps:
            keys = await self._registry.active_keys(wrap.namespace)
            if keys is not None and wrap.key_id not in keys.encryption:
                raise ConflictError(
                    f"the encryption key of namespace {wrap.namespace} was replaced",
                    reason=KEY_RETIRED,
                    fix="fetch its newest keyset and seal again",
                    retry_after_seconds=0,
                )
