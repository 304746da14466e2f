"""Puts the parts of a gateway together: who gets what. Nothing runs here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from isthmus.gateway.api.admission import Admission
from isthmus.gateway.api.audit_service import AuditService
from isthmus.gateway.api.audit_watch import AuditWatch
from isthmus.gateway.api.authorization import Authorization
from isthmus.gateway.api.brief_statuses import BriefStatuses
from isthmus.gateway.api.credential_expiry import CredentialExpiry
from isthmus.gateway.api.denial_log import DenialLog
from isthmus.gateway.api.endpoint_backlog import EndpointBacklogs
from isthmus.gateway.api.endpoint_service import EndpointService
from isthmus.gateway.api.event_publishing import EventPublishing
from isthmus.gateway.api.feed_service import FeedService
from isthmus.gateway.api.feed_watch import FeedWatch
from isthmus.gateway.api.handled_requests import HandledRequests
from isthmus.gateway.api.key_holders import KeyHolders
from isthmus.gateway.api.key_service import KeyService
from isthmus.gateway.api.message_checks import MessageChecks
from isthmus.gateway.api.namespace_service import NamespaceService
from isthmus.gateway.api.open_streams import OpenStreams
from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.operation_control import OperationControl
from isthmus.gateway.api.operation_listing import OperationListing
from isthmus.gateway.api.operation_messages import Endings
from isthmus.gateway.api.operation_service import OperationService
from isthmus.gateway.api.operation_status import StatusAnswers
from isthmus.gateway.api.operation_views import OperationViews
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.api.running_tasks import RunningTasks
from isthmus.gateway.api.sealed_answers import SealedAnswers
from isthmus.gateway.api.sealed_messages import SealedMessages
from isthmus.gateway.api.signal_reads import SignalReads
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.api.task_reports import TaskReports
from isthmus.gateway.api.worker_hello import WorkerHellos
from isthmus.gateway.api.worker_polls import WorkerPolls
from isthmus.gateway.api.worker_service import WorkerService
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.dispatch.report_rates import ReportRates
from isthmus.gateway.dispatch.waiters import WaiterLimits, Waiters
from isthmus.gateway.ports import Listener, Signal, Store
from isthmus.gateway.statement_key import StatementKey
from isthmus.gateway.system import Surroundings
from isthmus.policies.allow_list import AllowList
from isthmus.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    feed_service_pb2,
    feed_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedService:
    """A gRPC service: what it is called, and how it is added to a server."""

    descriptor: ServiceDescriptor
    add_to: Callable[[grpc.aio.Server], None]

    @property
    def methods(self) -> list[str]:
        """Full names of its RPCs, as they are called."""
        return [f"/{self.descriptor.full_name}/{method.name}" for method in self.descriptor.methods]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The parts of a gateway that its server starts, feeds and stops."""

    services: tuple[ServedService, ...]
    registry: RegistryCache
    dispatcher: Dispatcher
    waiters: Waiters
    watch: AuditWatch
    feeds: FeedWatch
    streams: OpenStreams

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Pass on what a commit tells: caches forget before anybody wakes who would read them."""
        self._tell(signals, self.dispatcher.on_signals)

    def on_signals_of_others(self, signals: Sequence[Signal]) -> None:
        """Pass on what a commit of another gateway tells."""
        self._tell(signals, self.dispatcher.on_signals_of_others)

    def _tell(self, signals: Sequence[Signal], dispatch: Listener) -> None:
        self.registry.on_signals(signals)
        dispatch(signals)
        self.waiters.on_signals(signals)
        self.watch.on_signals(signals)
        self.feeds.on_signals(signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What both sides of an operation work with."""

    config: GatewayConfig
    store: Store
    surroundings: Surroundings
    registry: RegistryCache
    dispatcher: Dispatcher
    waiters: Waiters
    streams: OpenStreams
    checks: MessageChecks
    authorization: Authorization
    views: OperationViews
    expiry: CredentialExpiry


def assemble(
    config: GatewayConfig, *, store: Store, signer: StatementKey, surroundings: Surroundings
) -> Assembly:
    """Build every part of a gateway on an open store."""
    clock = surroundings.clock
    authorizer = AllowList()
    registry, denials = RegistryCache(store), DenialLog(store, clock=clock)
    dispatcher = Dispatcher(store, clock=clock, timers=surroundings.timers)
    shared = _Shared(
        config=config,
        store=store,
        surroundings=surroundings,
        registry=registry,
        dispatcher=dispatcher,
        waiters=Waiters(WaiterLimits(most=config.limits.max_waiters)),
        streams=OpenStreams(),
        checks=MessageChecks(registry, trust_domain=config.trust_domain),
        authorization=Authorization(authorizer, denials),
        views=OperationViews(store=store, clock=clock, dispatcher=dispatcher),
        expiry=CredentialExpiry(clock=clock, wall_clock=surroundings.wall_clock, timers=surroundings.timers),
    )
    watch = AuditWatch()
    operations, workers = _operation_service(shared, signer), _worker_service(shared)
    namespaces = NamespaceService(store, clock=clock, trust_domain=config.trust_domain)
    endpoints = EndpointService(
        store,
        clock=clock,
        wall_clock=surroundings.wall_clock,
        trust_domain=config.trust_domain,
        randomness=surroundings.randomness,
        authorizer=authorizer,
        denials=denials,
        backlogs=EndpointBacklogs(store, shared.views, dispatcher.circuits, clock=clock),
    )
    keys = KeyService(
        store,
        clock=surroundings.wall_clock,
        signer=signer,
        denials=denials,
        sealed=SealedMessages(store, registry, clock=clock),
        holders=KeyHolders(store, clock=clock),
        trust_domain=config.trust_domain,
        version=own_version(),
    )
    audit = AuditService(store, clock=clock, watch=watch)
    feeds = FeedWatch()
    publishing = EventPublishing(
        store,
        clock=clock,
        registry=registry,
        checks=shared.checks,
        authorization=shared.authorization,
    )
    feed = FeedService(store, clock=clock, watch=feeds, events=publishing)
    return Assembly(
        services=(
            _served(
                namespace_service_pb2.DESCRIPTOR.services_by_name["NamespaceService"],
                lambda server: namespace_service_pb2_grpc.add_NamespaceServiceServicer_to_server(
                    namespaces, server
                ),
            ),
            _served(
                endpoint_service_pb2.DESCRIPTOR.services_by_name["EndpointService"],
                lambda server: endpoint_service_pb2_grpc.add_EndpointServiceServicer_to_server(
                    endpoints, server
                ),
            ),
            _served(
                key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
                lambda server: key_service_pb2_grpc.add_KeyServiceServicer_to_server(keys, server),
            ),
            _served(
                audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
                lambda server: audit_service_pb2_grpc.add_AuditServiceServicer_to_server(audit, server),
            ),
            _served(
                feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"],
                lambda server: feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed, server),
            ),
            _served(
                operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"],
                lambda server: operation_service_pb2_grpc.add_OperationServiceServicer_to_server(
                    operations, server
                ),
            ),
            _served(
                worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
                lambda server: worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(workers, server),
            ),
        ),
        registry=registry,
        dispatcher=shared.dispatcher,
        waiters=shared.waiters,
        watch=watch,
        feeds=feeds,
        streams=shared.streams,
    )


def own_version() -> str:
    """Return the version of the software; ``unknown`` when it runs without being installed."""
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return "unknown"


def _served(descriptor: ServiceDescriptor, add_to: Callable[[grpc.aio.Server], None]) -> ServedService:
    return ServedService(descriptor=descriptor, add_to=add_to)


def _operation_service(shared: _Shared, signer: StatementKey) -> OperationService:
    clock = shared.surroundings.clock
    endings = Endings(signer, trust_domain=shared.config.trust_domain)
    calls = OperationCalls(
        store=shared.store,
        clock=clock,
        admission=Admission(
            registry=shared.registry,
            checks=shared.checks,
            authorization=shared.authorization,
            wall_clock=shared.surroundings.wall_clock,
        ),
        dispatcher=shared.dispatcher,
        waiters=shared.waiters,
        statuses=StatusAnswers(shared.store, endings),
        views=shared.views,
    )
    control = OperationControl(
        store=shared.store,
        clock=clock,
        registry=shared.registry,
        authorization=shared.authorization,
        views=shared.views,
    )
    return OperationService(
        calls=calls,
        listing=OperationListing(shared.store, shared.views),
        briefs=BriefStatuses(shared.store, endings),
        control=control,
        streams=shared.streams,
        expiry=shared.expiry,
    )


def _worker_service(shared: _Shared) -> WorkerService:
    clock = shared.surroundings.clock
    leases = Leases(shared.store, clock=clock, lease=timedelta(seconds=shared.config.lease_seconds))
    answers = SealedAnswers(
        registry=shared.registry, checks=shared.checks, authorization=shared.authorization
    )
    outcomes = TaskOutcomes(
        store=shared.store, clock=clock, randomness=shared.surroundings.randomness, answers=answers
    )
    reports = TaskReports(store=shared.store, clock=clock, answers=answers, rates=ReportRates())
    hellos = WorkerHellos(store=shared.store, authorization=shared.authorization, leases=leases)
    running = RunningTasks(shared.store)
    return WorkerService(
        hellos=hellos,
        polls=WorkerPolls(
            hellos=hellos,
            dispatcher=shared.dispatcher,
            leases=leases,
            outcomes=outcomes,
            reports=reports,
            running=running,
        ),
        outcomes=outcomes,
        reports=reports,
        signal_reads=SignalReads(shared.store, shared.waiters),
        running=running,
        requests=HandledRequests(shared.store, outcomes),
        dispatcher=shared.dispatcher,
        leases=leases,
        streams=shared.streams,
        expiry=shared.expiry,
    )
