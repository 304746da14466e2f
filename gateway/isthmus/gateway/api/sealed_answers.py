"""What the handler's side seals, checked: by its header, its keys, and whether its sender may serve."""

from isthmus.gateway.api.authorization import Authorization, question_about
from isthmus.gateway.api.message_checks import MessageChecks
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.policies.decision import Action
from isthmus.wire.envelope import SealedEnvelope
from isthmus.wire.header import Direction


class SealedAnswers:
    """Checks sealed messages of handlers; whether one answers its operation, a command says."""

    def __init__(
        self, *, registry: RegistryCache, checks: MessageChecks, authorization: Authorization
    ) -> None:
        self._registry = registry
        self._checks = checks
        self._authorization = authorization

    async def check(
        self, principal: Principal, envelope: bytes, directions: frozenset[Direction]
    ) -> SealedEnvelope:
        """Return the message, taken apart.

        Raises:
            WireFormatError, GatewayError: it is refused.
        """
        sealed = self._checks.parse(envelope, principal, directions)
        await self._checks.check_keys(sealed)
        header = sealed.header
        endpoint = await self._registry.endpoint(header.endpoint)
        # An endpoint that another namespace owns now does not concern what came through it before.
        if endpoint is not None and endpoint.namespace == principal.namespace:
            question = question_about(
                sealed, Action.SERVE, namespace=principal.namespace, principal=principal, endpoint=endpoint
            )
            await self._authorization.require(principal, question, operation_id=header.operation_id)
        return sealed
