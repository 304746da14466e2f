"""Asks the authorizer, and audits what it denies: a denial is answered after it is on record."""

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.api.denial_log import DenialLog
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.core.errors import AccessDeniedError
from isthmus.policies.decision import Action, Authorizer, Decision, Question
from isthmus.wire.envelope import SealedEnvelope


def question_about(
    sealed: SealedEnvelope, action: Action, *, namespace: str, principal: Principal, endpoint: Endpoint
) -> Question:
    """Return whether a namespace may do something with a sealed message: all that the gateway sees of it."""
    header = sealed.header
    return Question(
        action=action,
        namespace=namespace,
        principal=principal.name,
        endpoint=endpoint,
        service=header.service,
        operation=header.operation,
        labels=header.labels,
        payload_bytes=len(sealed.body),
    )


class Authorization:
    """Decides, and records denials. Lives on the event loop."""

    def __init__(self, authorizer: Authorizer, denials: DenialLog) -> None:
        self._authorizer = authorizer
        self._denials = denials

    async def require(
        self, principal: Principal, question: Question, *, operation_id: bytes = b"", digest: bytes = b""
    ) -> Decision:
        """Return the decision that permits it.

        Raises:
            AccessDeniedError: it is denied, and the denial is on record.
            UnavailableError: it is denied, and the record cannot be written now.
        """
        decision = self._authorizer.decide(question)
        if decision.allowed:
            return decision
        denied = RequestDenied(
            action=question.action.value,
            rule=decision.rule,
            endpoint=question.endpoint.name,
            handler=question.endpoint.namespace,
            service=question.service,
            operation=question.operation,
            operation_id=operation_id,
            digest=digest,
        )
        await self._denials.record(principal, denied)
        raise AccessDeniedError(
            f"namespace {principal.namespace} may not {question.action.value} "
            f"{'/'.join(part for part in (question.service, question.operation) if part) or 'tasks'} "
            f"on endpoint {question.endpoint.name}",
            fix=_fix(question),
        )


def _fix(question: Question) -> str:
    owner = f"ask namespace {question.endpoint.namespace}, its owner"
    is_owners = question.action in {Action.REDRIVE, Action.TERMINATE}
    return f"{owner}, to do it" if is_owners else f"{owner}, for a rule that allows it"
