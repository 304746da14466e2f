"""Who may call which RPC: one table of all of them.

What is not listed is refused, and a gateway whose table does not match its services refuses to start.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

from isthmus.gateway.core.errors import ConfigurationError


class Access(Enum):
    """Who may call an RPC. What the call may then touch is decided by owners, policies and commands."""

    PUBLIC = "public"
    """Everybody, without a credential."""
    AUTHENTICATED = "authenticated"
    """Every subject of a configured issuer."""
    MEMBER = "member"
    """Every subject of a namespace that exists."""
    PLATFORM = "platform"
    """Subjects that the configuration makes administrators."""


_V1 = "/isthmus.v1."

ACCESS: Mapping[str, Access] = {
    "/grpc.health.v1.Health/Check": Access.PUBLIC,
    "/grpc.health.v1.Health/List": Access.PUBLIC,
    "/grpc.health.v1.Health/Watch": Access.PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.AUTHENTICATED,
    _V1 + "AuditService/QueryAuditEvents": Access.AUTHENTICATED,
    _V1 + "AuditService/TailAuditEvents": Access.AUTHENTICATED,
    _V1 + "EndpointService/AcceptEndpoint": Access.MEMBER,
    _V1 + "EndpointService/CreateEndpoint": Access.MEMBER,
    _V1 + "EndpointService/DeleteEndpoint": Access.MEMBER,
    _V1 + "EndpointService/GetEndpoint": Access.MEMBER,
    _V1 + "EndpointService/GetEndpointRecord": Access.MEMBER,
    _V1 + "EndpointService/KeepEndpoint": Access.MEMBER,
    _V1 + "EndpointService/ListEndpoints": Access.MEMBER,
    _V1 + "EndpointService/OfferEndpoint": Access.MEMBER,
    _V1 + "EndpointService/PublishEndpointRecord": Access.MEMBER,
    _V1 + "EndpointService/UpdateEndpoint": Access.MEMBER,
    _V1 + "FeedService/AcknowledgeFeed": Access.MEMBER,
    _V1 + "FeedService/CreateCursor": Access.MEMBER,
    _V1 + "FeedService/DeleteCursor": Access.MEMBER,
    _V1 + "FeedService/GetEvent": Access.MEMBER,
    _V1 + "FeedService/ListCursors": Access.MEMBER,
    _V1 + "FeedService/PublishEvent": Access.MEMBER,
    _V1 + "FeedService/ReadFeed": Access.MEMBER,
    _V1 + "KeyService/GetGatewayKey": Access.AUTHENTICATED,
    _V1 + "KeyService/GetKeyset": Access.AUTHENTICATED,
    _V1 + "KeyService/PublishKeyset": Access.MEMBER,
    _V1 + "KeyService/ListKeyHolders": Access.MEMBER,
    _V1 + "KeyService/ReportKeys": Access.MEMBER,
    _V1 + "KeyService/ListSealedMessages": Access.MEMBER,
    _V1 + "KeyService/GetSealedMessage": Access.MEMBER,
    _V1 + "KeyService/RewrapMessages": Access.MEMBER,
    _V1 + "NamespaceService/CreateNamespace": Access.PLATFORM,
    _V1 + "NamespaceService/GetNamespace": Access.AUTHENTICATED,
    _V1 + "NamespaceService/ListNamespaces": Access.AUTHENTICATED,
    _V1 + "NamespaceService/WhoAmI": Access.AUTHENTICATED,
    _V1 + "OperationService/BatchGetOperationStatuses": Access.MEMBER,
    _V1 + "OperationService/BatchStartOperations": Access.MEMBER,
    _V1 + "OperationService/CancelOperation": Access.MEMBER,
    _V1 + "OperationService/ExecuteOperation": Access.MEMBER,
    _V1 + "OperationService/GetOperation": Access.MEMBER,
    _V1 + "OperationService/GetProgress": Access.MEMBER,
    _V1 + "OperationService/ListOperations": Access.MEMBER,
    _V1 + "OperationService/RedriveOperation": Access.MEMBER,
    _V1 + "OperationService/RedriveOperations": Access.MEMBER,
    _V1 + "OperationService/Session": Access.MEMBER,
    _V1 + "OperationService/SignalOperation": Access.MEMBER,
    _V1 + "OperationService/StartOperation": Access.MEMBER,
    # The platform's own namespace need not exist. What is asked of whose operation is decided by policy.
    _V1 + "OperationService/TerminateOperation": Access.AUTHENTICATED,
    _V1 + "OperationService/WaitOperation": Access.MEMBER,
    _V1 + "WorkerService/CompleteOperation": Access.MEMBER,
    _V1 + "WorkerService/GetRequest": Access.MEMBER,
    _V1 + "WorkerService/PollTasks": Access.MEMBER,
    _V1 + "WorkerService/ReadSignals": Access.MEMBER,
    _V1 + "WorkerService/RespondTasks": Access.MEMBER,
    _V1 + "WorkerService/Work": Access.MEMBER,
}


def check_access(served: Iterable[str], table: Mapping[str, Access], *, optional: Iterable[str] = ()) -> None:
    """Compare the RPCs that are served with those that are listed; ``optional`` ones need not be served.

    Raises:
        ConfigurationError: an RPC is served and not listed, or listed and not served.
    """
    serving = set(served)
    unlisted = sorted(serving - table.keys())
    missing = sorted(table.keys() - serving - set(optional))
    if unlisted or missing:
        complaints = [f"{method} is served, and nobody said who may call it" for method in unlisted]
        complaints += [f"{method} is listed, and not served" for method in missing]
        raise ConfigurationError("; ".join(complaints), reason="ACCESS_TABLE")
