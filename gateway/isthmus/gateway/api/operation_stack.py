"""Everything that serves operations, put together once: what callers and workers reach over gRPC."""

from dataclasses import dataclass
from datetime import timedelta

from isthmus.gateway.api.admission import Admission
from isthmus.gateway.api.authorization import Authorization
from isthmus.gateway.api.handled_requests import HandledRequests
from isthmus.gateway.api.message_checks import MessageChecks
from isthmus.gateway.api.open_streams import OpenStreams
from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.operation_listing import OperationListing
from isthmus.gateway.api.operation_messages import Endings
from isthmus.gateway.api.operation_service import OperationService
from isthmus.gateway.api.operation_status import StatusAnswers
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.api.worker_hello import WorkerHellos
from isthmus.gateway.api.worker_polls import WorkerPolls
from isthmus.gateway.api.worker_service import WorkerService
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.leases import DEFAULT_LEASE, Leases
from isthmus.gateway.dispatch.timers import Timers
from isthmus.gateway.dispatch.waiters import WaiterLimits, Waiters
from isthmus.gateway.ports import Clock, Randomness, StatementSigner, Store
from isthmus.policies.decision import Authorizer


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationStack:
    """The two services, and what a gateway settles when it stops: drain ``streams``, close ``dispatcher``."""

    operation_service: OperationService
    worker_service: WorkerService
    dispatcher: Dispatcher
    waiters: Waiters
    streams: OpenStreams


def operation_stack(
    *,
    store: Store,
    clock: Clock,
    timers: Timers,
    randomness: Randomness,
    authorizer: Authorizer,
    signer: StatementSigner,
    trust_domain: str,
    lease: timedelta = DEFAULT_LEASE,
    waiter_limits: WaiterLimits | None = None,
) -> OperationStack:
    """Put the services together and subscribe them to the signals of the store. Nothing runs by itself."""
    registry = RegistryCache(store)
    waiters = Waiters(waiter_limits)
    dispatcher = Dispatcher(store, clock=clock, timers=timers)
    for listener in (registry.on_signals, waiters.on_signals, dispatcher.on_signals):
        store.subscribe(listener)
    streams = OpenStreams()
    checks = MessageChecks(registry, trust_domain=trust_domain)
    authorization = Authorization(authorizer, store, clock=clock)
    calls = OperationCalls(
        store=store,
        clock=clock,
        admission=Admission(registry=registry, checks=checks, authorization=authorization, clock=clock),
        dispatcher=dispatcher,
        waiters=waiters,
        statuses=StatusAnswers(store, Endings(signer, trust_domain=trust_domain)),
    )
    leases = Leases(store, clock=clock, lease=lease)
    outcomes = TaskOutcomes(
        store=store,
        clock=clock,
        randomness=randomness,
        registry=registry,
        checks=checks,
        authorization=authorization,
    )
    hellos = WorkerHellos(store=store, authorization=authorization, leases=leases)
    return OperationStack(
        operation_service=OperationService(
            calls=calls,
            listing=OperationListing(store, calls),
            streams=streams,
            clock=clock,
            timers=timers,
        ),
        worker_service=WorkerService(
            hellos=hellos,
            polls=WorkerPolls(hellos=hellos, dispatcher=dispatcher, leases=leases, outcomes=outcomes),
            outcomes=outcomes,
            requests=HandledRequests(store, outcomes),
            dispatcher=dispatcher,
            leases=leases,
            streams=streams,
            clock=clock,
            timers=timers,
        ),
        dispatcher=dispatcher,
        waiters=waiters,
        streams=streams,
    )
