"""Events of endpoints: published by the owner for those on the allow list, fetched by whom they are for."""

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.api.authorization import Authorization, question_about
from isthmus.gateway.api.message_checks import HEADER_MISMATCH, MessageChecks
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.publish_event import PublishEvent, publish_event
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError
from isthmus.gateway.ports import Clock, Store
from isthmus.policies.decision import Action, Decision
from isthmus.v1 import feed_service_pb2 as pb
from isthmus.wire.envelope import SealedEnvelope
from isthmus.wire.header import Direction
from isthmus.wire.names import EVENT_SERVICE, check_namespace, check_operation_id

_EVENT = frozenset({Direction.EVENT})


class EventPublishing:
    """Checks, permits, publishes and hands out events."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        registry: RegistryCache,
        checks: MessageChecks,
        authorization: Authorization,
    ) -> None:
        self._store = store
        self._clock = clock
        self._registry = registry
        self._checks = checks
        self._authorization = authorization

    async def publish(self, principal: Principal, envelope: bytes) -> pb.PublishEventResponse:
        """Publish an event to the reader that it is sealed for.

        Raises:
            WireFormatError, GatewayError: it is refused.
        """
        sealed = self._checks.parse(envelope, principal, _EVENT)
        header = sealed.header
        if header.service != EVENT_SERVICE or header.recipients != (header.recipient_namespace,):
            raise InvalidRequestError(
                "an event is sealed for its one reader, as an operation of its own service",
                reason=HEADER_MISMATCH,
                fix="publish it once for each reader",
            )
        endpoint = await self._registry.endpoint(header.endpoint)
        if endpoint is None or endpoint.deleted_at is not None:
            raise NotFoundError(
                f"the endpoint {header.endpoint} does not exist",
                reason="ENDPOINT_NOT_FOUND",
                fix="check its name, or register it",
            )
        await self._decide(Action.PUBLISH, principal.namespace, principal, endpoint, sealed)
        # Asked about the reader: may it have what is published here?
        decision = await self._decide(Action.RECEIVE, header.recipient_namespace, principal, endpoint, sealed)
        await self._checks.check_keys(sealed)
        command = PublishEvent(
            header=header,
            envelope=envelope,
            digest=sealed.digest,
            endpoint=endpoint,
            actor=principal.actor,
            rule=decision.rule,
        )
        clock = self._clock
        is_new = await self._store.transact(lambda uow: publish_event(uow, command, now=clock.now()))
        return pb.PublishEventResponse(repeated_event=not is_new)

    async def get(self, principal: Principal, request: pb.GetEventRequest) -> pb.GetEventResponse:
        """Return an event that was published for the principal's namespace.

        Raises:
            NotFoundError: there is none, or not any more.
        """
        publisher = check_namespace(request.publisher_namespace)
        event_id, reader = check_operation_id(request.event_id), principal.namespace
        event = await self._store.read(lambda at: at.published_event(reader, publisher, event_id))
        if event is None or event.expires_at <= self._clock.now():
            raise NotFoundError(
                "there is no such event for this namespace, or its retention is over",
                reason="EVENT_NOT_FOUND",
                fix="ask its publisher for a longer retention of the endpoint, or read the feed sooner",
            )
        return pb.GetEventResponse(envelope=event.envelope)

    async def _decide(
        self,
        action: Action,
        namespace: str,
        principal: Principal,
        endpoint: Endpoint,
        sealed: SealedEnvelope,
    ) -> Decision:
        question = question_about(sealed, action, namespace=namespace, principal=principal, endpoint=endpoint)
        return await self._authorization.require(
            principal, question, operation_id=sealed.header.operation_id, digest=sealed.digest
        )
