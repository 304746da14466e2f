"""Who may know that an endpoint exists."""

from isthmus.endpoints.endpoint import Endpoint


def is_visible(endpoint: Endpoint, namespace: str) -> bool:
    """Whether the namespace owns the endpoint or is on its allow list; a deleted one is nobody's business."""
    if endpoint.deleted_at is not None:
        return False
    return endpoint.namespace == namespace or any(rule.namespace == namespace for rule in endpoint.allow)
