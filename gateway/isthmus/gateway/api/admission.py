"""From a sealed request or cancel of a caller to the command that it asks for: parsed, checked, allowed."""

from datetime import timedelta

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.api.authorization import Authorization, question_about
from isthmus.gateway.api.message_checks import HEADER_MISMATCH, MessageChecks
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.request_cancel import RequestCancel
from isthmus.gateway.commands.signal_operation import SignalOperation
from isthmus.gateway.commands.start_operation import ReusePolicy, StartOperation
from isthmus.gateway.core.errors import ConflictError, InvalidRequestError, NotFoundError, PreconditionError
from isthmus.gateway.ports import Clock
from isthmus.policies.decision import Action, Decision
from isthmus.v1 import operation_service_pb2
from isthmus.wire.endpoint_record import Difference, difference_to
from isthmus.wire.envelope import SealedEnvelope
from isthmus.wire.header import Direction, Header
from isthmus.wire.limits import CLOCK_SKEW_MS

_REQUEST = frozenset({Direction.REQUEST})
_CANCEL = frozenset({Direction.CANCEL})
_CONTEXT = frozenset({Direction.CONTEXT})
_SIGNAL = frozenset({Direction.SIGNAL})
_REUSE = {
    operation_service_pb2.REUSE_POLICY_UNSPECIFIED: ReusePolicy.ATTACH,
    operation_service_pb2.REUSE_POLICY_ATTACH: ReusePolicy.ATTACH,
    operation_service_pb2.REUSE_POLICY_REJECT: ReusePolicy.REJECT,
}


class Admission:
    """Admits what callers send."""

    def __init__(
        self,
        *,
        registry: RegistryCache,
        checks: MessageChecks,
        authorization: Authorization,
        wall_clock: Clock,
    ) -> None:
        self._registry = registry
        self._checks = checks
        self._authorization = authorization
        self._wall_clock = wall_clock

    async def start(
        self, principal: Principal, request: operation_service_pb2.StartOperationRequest
    ) -> StartOperation:
        """Return the start that is asked for.

        Raises:
            WireFormatError, GatewayError: it is refused.
        """
        reuse = _REUSE.get(request.reuse_policy)
        if reuse is None:
            raise InvalidRequestError(
                "the reuse policy is unknown",
                fix="attach or reject; or update the gateway",
            )
        envelope = request.envelope
        sealed = self._checks.parse(envelope, principal, _REQUEST)
        header = sealed.header
        endpoint = await self._registry.endpoint(header.endpoint)
        if endpoint is None or endpoint.deleted_at is not None:
            raise _endpoint_not_found(header.endpoint)
        digest = sealed.digest
        decision = await self._authorize(Action.START, principal, endpoint, sealed, digest)
        self._check_recipient(sealed, endpoint)
        _check_terms(sealed.header, endpoint)
        self._check_times(sealed)
        _check_limits(sealed, endpoint)
        await self._checks.check_keys(sealed)
        return StartOperation(
            header=header,
            envelope=envelope,
            digest=digest,
            endpoint=endpoint,
            actor=principal.actor,
            rule=decision.rule,
            reuse=reuse,
            delay=self._delay(header),
            context=await self._context(principal, request.context, sealed) if request.context else b"",
        )

    def _delay(self, header: Header) -> timedelta:
        """Return how long a start is put off: by the machine's clock, as its caller names a moment of it."""
        if not header.start_at_ms:
            return timedelta(0)
        now_ms = round(self._wall_clock.now().timestamp() * 1000)
        return timedelta(milliseconds=max(header.start_at_ms - now_ms, 0))

    async def _context(self, principal: Principal, context: bytes, request: SealedEnvelope) -> bytes:
        """Check what a caller wants to have back: sealed to itself, about this very start."""
        sealed = self._checks.parse(context, principal, _CONTEXT)
        asked, header = request.header, sealed.header
        own = asked.sender_namespace
        if (
            header.operation_id,
            header.request_digest,
            header.endpoint,
            header.service,
            header.operation,
            header.recipient_namespace,
            header.recipients,
        ) != (
            asked.operation_id,
            request.digest,
            asked.endpoint,
            asked.service,
            asked.operation,
            own,
            (own,),
        ):
            raise InvalidRequestError(
                "the header of the context does not match the request",
                reason=HEADER_MISMATCH,
                fix="update the SDK: it leaves its context under the header of the very request",
            )
        await self._checks.check_keys(sealed)
        return context

    async def cancel(self, principal: Principal, envelope: bytes) -> RequestCancel:
        """Return the cancel that is asked for. The endpoint may be deleted meanwhile.

        Raises:
            WireFormatError, GatewayError: it is refused.
        """
        sealed = await self._to_operation(principal, envelope, _CANCEL, Action.CANCEL)
        return RequestCancel(
            header=sealed.header, envelope=envelope, digest=sealed.digest, actor=principal.actor
        )

    async def signal(self, principal: Principal, envelope: bytes) -> SignalOperation:
        """Return the signal that is sent. The endpoint may be deleted meanwhile.

        Raises:
            WireFormatError, GatewayError: it is refused.
        """
        sealed = await self._to_operation(principal, envelope, _SIGNAL, Action.SIGNAL)
        return SignalOperation(
            header=sealed.header, envelope=envelope, digest=sealed.digest, actor=principal.actor
        )

    async def _to_operation(
        self, principal: Principal, envelope: bytes, directions: frozenset[Direction], action: Action
    ) -> SealedEnvelope:
        """Check a message to an operation that exists."""
        sealed = self._checks.parse(envelope, principal, directions)
        endpoint = await self._registry.endpoint(sealed.header.endpoint)
        if endpoint is None:
            raise _endpoint_not_found(sealed.header.endpoint)
        # Whom it is sealed for, the operation says: its endpoint may have another owner now.
        await self._authorize(action, principal, endpoint, sealed, sealed.digest)
        self._check_times(sealed)
        await self._checks.check_keys(sealed)
        return sealed

    async def _authorize(
        self,
        action: Action,
        principal: Principal,
        endpoint: Endpoint,
        sealed: SealedEnvelope,
        digest: bytes,
    ) -> Decision:
        question = question_about(
            sealed, action, namespace=principal.namespace, principal=principal, endpoint=endpoint
        )
        return await self._authorization.require(
            principal, question, operation_id=sealed.header.operation_id, digest=digest
        )

    def _check_recipient(self, sealed: SealedEnvelope, endpoint: Endpoint) -> None:
        if sealed.header.recipient_namespace != endpoint.namespace:
            raise PreconditionError(
                f"{endpoint.name} belongs to {endpoint.namespace}, and the message is sealed for"
                f" {sealed.header.recipient_namespace}",
                reason="ENDPOINT_MOVED",
                fix="ask both teams whether it was handed over, then isthmus trust add … --endpoint … --move",
            )

    def _check_times(self, sealed: SealedEnvelope) -> None:
        now_ms = round(self._wall_clock.now().timestamp() * 1000)
        if sealed.header.expires_at_ms <= now_ms:
            raise InvalidRequestError(
                "the message has expired", reason="MESSAGE_EXPIRED", fix="seal it again"
            )
        if sealed.header.issued_at_ms > now_ms + CLOCK_SKEW_MS:
            raise InvalidRequestError(
                "the message was sealed in the future",
                reason="MESSAGE_FROM_FUTURE",
                fix="set the clock of the sender",
            )


def _check_terms(header: Header, endpoint: Endpoint) -> None:
    """Check recipients and contract against what the endpoint's owner signed, or that nobody reads along."""
    terms = endpoint.record
    if terms is None:
        if difference_to(header, recipients=None) is not None:
            raise _record_changed(endpoint.name, "requires no further recipients")
        return
    found = difference_to(header, recipients=terms.recipients, contract_hash=terms.contract_hash)
    if found is Difference.RECIPIENTS:
        raise _record_changed(endpoint.name, f"has its requests sealed to {', '.join(terms.recipients)}")
    if found is not None:
        raise _record_changed(endpoint.name, "names another contract")


def _record_changed(name: str, what: str) -> ConflictError:
    return ConflictError(
        f"what the owner of {name} signed {what}",
        reason="ENDPOINT_RECORD_CHANGED",
        fix="fetch its newest record and seal again",
        retry_after_seconds=0,
    )


def _check_limits(sealed: SealedEnvelope, endpoint: Endpoint) -> None:
    most_bytes = endpoint.max_payload_bytes
    if 0 < most_bytes < len(sealed.body):
        raise InvalidRequestError(
            f"the payload has {len(sealed.body)} bytes; endpoint {endpoint.name} takes {most_bytes}",
            reason="PAYLOAD_TOO_LARGE",
            fix="send a pointer to the data instead of the data",
        )
    whole_ms = sealed.header.schedule_to_close_timeout_ms
    most_ms = round(endpoint.max_schedule_to_close.total_seconds() * 1000)
    if whole_ms > most_ms:
        # Cut short silently, the operation would end before the deadline that its caller signed, and the
        # caller could not believe that ending.
        raise InvalidRequestError(
            f"schedule_to_close is {whole_ms} ms; endpoint {endpoint.name} allows {most_ms} ms",
            reason="TIMEOUT_TOO_LONG",
            fix=f"ask for a schedule_to_close timeout of at most {most_ms // 1000} s",
        )


def _endpoint_not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no endpoint {name}", reason="ENDPOINT_NOT_FOUND", fix="check its name, or register it"
    )
