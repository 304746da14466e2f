"""The allow list of an endpoint, read as a policy. Default deny."""

from isthmus.policies.decision import Action, Decision, Question

DEFAULT_DENY = "default-deny"


class AllowList:
    """Owners administer and serve their endpoints; callers on the allow list start."""

    def decide(self, question: Question) -> Decision:
        """Decide by the endpoint's own allow list; the owner needs an entry too in order to call itself."""
        endpoint = question.endpoint
        match question.action:
            case Action.ADMINISTER | Action.SERVE:
                if question.namespace == endpoint.namespace:
                    return Decision(allowed=True, rule=f"owner:{endpoint.name}")
            case Action.START | Action.CANCEL | Action.READ:
                for rule in endpoint.allow:
                    if rule.permits(question.namespace, question.service, question.operation):
                        scope = "/".join(
                            part for part in (rule.namespace, rule.service, rule.operation) if part
                        )
                        return Decision(allowed=True, rule=f"allow:{endpoint.name}:{scope}")
        return Decision(allowed=False, rule=DEFAULT_DENY)
