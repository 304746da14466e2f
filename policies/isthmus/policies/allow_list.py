"""The allow list of an endpoint, read as a policy. Default deny."""

from isthmus.policies.decision import Action, Decision, Question

DEFAULT_DENY = "default-deny"
_OWNERS = frozenset({Action.ADMINISTER, Action.REDRIVE, Action.SERVE, Action.TERMINATE, Action.PUBLISH})
_CALLERS = frozenset({Action.START, Action.CANCEL, Action.SIGNAL, Action.READ})


class AllowList:
    """Owners administer and serve their endpoints, and publish; callers on the allow list start.

    Whoever may start anything at an endpoint receives its events.

    The platform may end what runs, and nothing else.
    """

    def decide(self, question: Question) -> Decision:
        """Decide by the endpoint's own allow list; the owner needs an entry too in order to call itself."""
        endpoint = question.endpoint
        if question.action in _OWNERS:
            if question.namespace == endpoint.namespace:
                return Decision(allowed=True, rule=f"owner:{endpoint.name}")
            if question.action is Action.TERMINATE and question.platform:
                return Decision(allowed=True, rule="platform")
        elif question.action in _CALLERS:
            for rule in endpoint.allow:
                if rule.permits(question.namespace, question.service, question.operation):
                    return Decision(allowed=True, rule=f"allow:{endpoint.name}:{rule.scope}")
        elif question.action is Action.RECEIVE:
            for rule in endpoint.allow:
                if rule.namespace == question.namespace:
                    return Decision(allowed=True, rule=f"allow:{endpoint.name}:{rule.scope}")
        return Decision(allowed=False, rule=DEFAULT_DENY)
