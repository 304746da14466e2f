"""The open operations of an endpoint: how many wait for what, and which is the oldest."""

from collections import Counter
from collections.abc import Mapping

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.api.moments import timestamp
from isthmus.gateway.api.operation_messages import WAITING_CAUSES
from isthmus.gateway.api.operation_views import OperationViews, View
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.circuit import Circuit
from isthmus.gateway.dispatch.circuits import Circuits
from isthmus.gateway.ports import Clock, QueueKey, Reader, Store
from isthmus.v1 import endpoint_service_pb2 as pb

# However long a backlog is, saying so takes the same time: the oldest of it tell what is wrong.
MOST_LOOKED_AT = 1000
MOST_CIRCUITS = 100
MOST_VERSIONS = 100


class EndpointBacklogs:
    """Counts what waits."""

    def __init__(self, store: Store, views: OperationViews, circuits: Circuits, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._views = views
        self._circuits = circuits

    async def backlog(self, endpoint: Endpoint, *, to: Principal) -> pb.EndpointBacklog:
        """Return the backlog of an endpoint, for a principal of the namespace that owns it."""
        now = self._clock.now()

        def query(reader: Reader) -> tuple[list[View], Mapping[str, int]]:
            listed = reader.open_operations(endpoint.name, 0, MOST_LOOKED_AT)
            queue = QueueKey(namespace=endpoint.namespace, task_queue=endpoint.task_queue)
            views = self._views.views(reader, (entry.operation for entry in listed))
            return views, reader.present_versions(queue, now)

        views, versions = await self._store.read(query)
        waiting = (self._views.waiting(shown) for shown in views)
        counts = Counter(found.cause for found in waiting if found is not None)
        return pb.EndpointBacklog(
            operations=len(views),
            waiting=[
                pb.WaitingCount(cause=WAITING_CAUSES[cause], operations=count)
                for cause, count in counts.most_common()
            ],
            oldest=self._views.show(views[0], to=to) if views else None,
            circuits=[_circuit_message(circuit) for circuit in self._open_circuits(endpoint.name)],
            versions=[
                pb.PresentVersion(version=version, sessions=count)
                for version, count in sorted(versions.items())[:MOST_VERSIONS]
            ],
        )

    def _open_circuits(self, endpoint: str) -> list[Circuit]:
        found = [circuit for circuit in self._circuits.all() if circuit.line.endpoint == endpoint]
        # That of everybody comes first.
        return sorted(found, key=lambda circuit: circuit.line.caller)[:MOST_CIRCUITS]


def _circuit_message(circuit: Circuit) -> pb.OpenCircuit:
    return pb.OpenCircuit(
        caller_namespace=circuit.line.caller,
        task_queue=circuit.line.task_queue,
        since=timestamp(circuit.since),
        until=timestamp(circuit.until),
        error_type=circuit.error,
        probing=circuit.probe is not None,
    )
