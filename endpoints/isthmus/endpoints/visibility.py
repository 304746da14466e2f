"""Who may know that an endpoint exists."""

from isthmus.endpoints.endpoint import Endpoint


def is_visible(endpoint: Endpoint, namespace: str) -> bool:
    """Whether the namespace owns the endpoint, may call it or is offered it; nobody sees a deleted one."""
    if endpoint.deleted_at is not None:
        return False
    if namespace in {endpoint.namespace, endpoint.offered_to}:
        return True
    return any(rule.namespace == namespace for rule in endpoint.allow)
