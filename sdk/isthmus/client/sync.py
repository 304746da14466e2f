"""The sync client: the same calls without an event loop, safe in threads and after a fork."""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

import nexusrpc

from isthmus.blobs.claim_checks import ClaimChecks, Content
from isthmus.client.answer import KnownRequest, Outcome
from isthmus.client.assembly import assemble
from isthmus.client.batch import Start, start_inputs
from isthmus.client.completions import SyncCompletions, SyncEvents
from isthmus.client.contexts import contexts_flow
from isthmus.client.description import OperationDescription, describe
from isthmus.client.engine import SyncEngine
from isthmus.client.feed import (
    AcknowledgeInput,
    Beginning,
    CompletionsInput,
    CompletionsPage,
    CompletionStatus,
    LookInput,
    acknowledge_flow,
    completions_input,
    events_input,
    look_flow,
    open_cursor_flow,
)
from isthmus.client.flows import Flow, Started, cancel_flow, describe_flow
from isthmus.client.interceptor import (
    EventInput,
    HandleInput,
    Interceptor,
    ProgressInput,
    ProgressUpdate,
    SignalInput,
    StartInput,
    StatusesInput,
    SyncClientOutbound,
    layered_sync,
)
from isthmus.client.key_alarm import OnKeyAlarm
from isthmus.client.known_operation import KnownOperation
from isthmus.client.large_payloads import unpacked_result
from isthmus.client.operation_spec import OperationSpecs, service_name
from isthmus.client.profile import Profile
from isthmus.client.progress import WATCH_WAIT
from isthmus.client.published_events import (
    Event,
    Published,
    PublishInput,
    event_flow,
    publish_flow,
    publish_input,
)
from isthmus.client.request import EndpointPins, StartKeywords, StartOptions, operation_id_of, start_options
from isthmus.client.root import content_of, payload_of, progress_update, value_of
from isthmus.client.signals import signal_payload
from isthmus.client.starting import start_flow
from isthmus.client.statuses import OperationStatus, statuses_flow
from isthmus.keys.directory import KeyDirectory
from isthmus.keys.endpoint_records import RecordDirectory
from isthmus.keys.keyring import Keyring
from isthmus.keys.trust import TrustStore
from isthmus.payload.converter import DefaultPayloadConverter, PayloadConverter
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import SyncConnection
from isthmus.transport.credentials import TokenSource
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.names import NamespaceName, parse_operation_id

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
OutputT_co = TypeVar("OutputT_co", covariant=True)
ServiceT = TypeVar("ServiceT")


class SyncClient:
    """What Client is for asyncio. Share one between threads; a forked process may go on using it."""

    def __init__(
        self, engine: SyncEngine, *, converter: PayloadConverter, interceptors: Sequence[Interceptor] = ()
    ) -> None:
        self._engine = engine
        self._converter = converter
        self._outbound = layered_sync(_SyncRoot(engine, converter), interceptors)

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        namespace: str | None = None,
        profile: str | Profile | None = None,
        keyring: Keyring | Path | str | None = None,
        trust: TrustStore | Path | str | None = None,
        credentials: TokenSource | None = None,
        channel: ChannelSettings | None = None,
        payload_converter: PayloadConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        on_key_alarm: OnKeyAlarm | None = None,
    ) -> Self:
        """Connect to a gateway as a namespace; arguments and errors are those of ``Client.connect``."""
        parts = assemble(
            address=address,
            namespace=namespace,
            profile=profile,
            keyring=keyring,
            trust=trust,
            credentials=credentials,
            channel=channel,
            on_key_alarm=on_key_alarm,
        )
        converter = payload_converter or DefaultPayloadConverter()
        return cls(SyncEngine.connect(parts), converter=converter, interceptors=interceptors)

    @property
    def namespace(self) -> NamespaceName:
        """The namespace of this client."""
        return NamespaceName(self._engine.caller.namespace)

    @property
    def principal(self) -> str:
        """Who this client is to the gateway."""
        return self._engine.caller.principal

    @property
    def trust_domain(self) -> str:
        """The deployment that it belongs to."""
        return self._engine.caller.keyring.trust_domain

    @property
    def connection(self) -> SyncConnection:
        """The connection, for those who complete operations, and tools."""
        return self._engine.connection

    @property
    def keyring(self) -> Keyring:
        """The namespace's private keys."""
        return self._engine.caller.keyring

    def refresh_keys(self) -> None:
        """Read the keyring again, and go by what the namespace's newest keyset says, as ``Client``'s."""
        self._engine.own_keys.refresh()

    @property
    def key_directory(self) -> KeyDirectory:
        """Verified keysets of other namespaces."""
        return self._engine.directory

    @property
    def endpoint_records(self) -> RecordDirectory:
        """What owners signed about their endpoints, verified."""
        return self._engine.records

    @property
    def consents(self) -> EndpointPins:
        """Who may read along: the trust store."""
        return self._engine.caller.pins

    @property
    def payload_converter(self) -> PayloadConverter:
        """How values become payloads."""
        return self._converter

    @property
    def claim_checks(self) -> ClaimChecks:
        """How payloads travel that are too large for envelopes."""
        return self._engine.caller.claim_checks

    @overload
    def create_nexus_client(self, endpoint: str, service: type[ServiceT]) -> "SyncNexusClient[ServiceT]": ...

    @overload
    def create_nexus_client(self, endpoint: str, service: str) -> "SyncNexusClient[Any]": ...

    def create_nexus_client(self, endpoint: str, service: type[Any] | str) -> "SyncNexusClient[Any]":
        """Return a client for one service at one endpoint, as ``Client.create_nexus_client``."""
        service_name(service)
        return SyncNexusClient(self._engine, self._outbound, endpoint=endpoint, service=service)

    def get_operation_handle(
        self, operation_id: str, *, result_type: type[OutputT] | None = None
    ) -> "SyncOperationHandle[OutputT]":
        """Return a handle of an operation of this namespace, from its id alone. Asks nobody yet.

        Raises:
            WireFormatError: it is no operation id.
        """
        known = KnownOperation(parse_operation_id(operation_id), Any if result_type is None else result_type)
        return SyncOperationHandle(self._outbound, known)

    def get_operation_statuses(self, operation_ids: Iterable[str]) -> list[OperationStatus]:
        """Return where many operations are, without waiting; as ``Client.get_operation_statuses``."""
        numbers = tuple(parse_operation_id(operation_id) for operation_id in operation_ids)
        return self._outbound.get_operation_statuses(StatusesInput(operation_ids=numbers))

    def completions(
        self,
        cursor: str,
        *,
        endpoint: str = "",
        statuses: Iterable[CompletionStatus] = (),
        begin: Beginning | int = "now",
        follow: bool = True,
    ) -> SyncCompletions:
        """Return what ended of the operations that this namespace called; as ``Client.completions``."""
        wanted = completions_input(cursor, endpoint=endpoint, statuses=statuses, begin=begin)
        return SyncCompletions(self._outbound, wanted, follow=follow)

    def publish_event(
        self,
        endpoint: str,
        name: str,
        value: object = None,
        *,
        id: str | None = None,
        readers: Iterable[str] | None = None,
    ) -> Published:
        """Publish an event of an endpoint that this namespace owns; as ``Client.publish_event``."""
        event = publish_input(endpoint, name, value, id_=id, readers=readers)
        return self._outbound.publish_event(event)

    def events(
        self,
        cursor: str,
        *,
        endpoint: str = "",
        result_type: object = Any,
        begin: Beginning | int = "now",
        follow: bool = True,
    ) -> SyncEvents:
        """Return what other teams published for this namespace; as ``Client.events``."""
        wanted = events_input(cursor, endpoint=endpoint, begin=begin)
        return SyncEvents(self._outbound, wanted, follow=follow, type_hint=result_type)

    def close(self) -> None:
        """Close the connection. Operations go on; their handles work again in another client."""
        self._engine.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class SyncNexusClient(Generic[ServiceT]):
    """Calls one service at one endpoint, blocking."""

    def __init__(
        self,
        engine: SyncEngine,
        outbound: SyncClientOutbound,
        *,
        endpoint: str,
        service: type[ServiceT] | str,
    ) -> None:
        self._engine = engine
        self._outbound = outbound
        self._specs = OperationSpecs(endpoint, service)

    @overload
    def execute_operation(
        self, operation: nexusrpc.Operation[InputT, OutputT], input: InputT, **options: Unpack[StartKeywords]
    ) -> OutputT: ...

    @overload
    def execute_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> Any: ...

    def execute_operation(self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]) -> Any:
        """Start, or attach, and return the result; as ``NexusClient.execute_operation``."""
        return self._outbound.execute_operation(
            self._start_input(operation, input, start_options(options, method="execute_operation"))
        )

    @overload
    def start_operation(
        self, operation: nexusrpc.Operation[InputT, OutputT], input: InputT, **options: Unpack[StartKeywords]
    ) -> "SyncOperationHandle[OutputT]": ...

    @overload
    def start_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> "SyncOperationHandle[Any]": ...

    def start_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> "SyncOperationHandle[Any]":
        """Start, or attach. Durable once it returns; as ``NexusClient.start_operation``."""
        known = self._outbound.start_operation(
            self._start_input(operation, input, start_options(options, method="start_operation"))
        )
        return SyncOperationHandle(self._outbound, known)

    def start_operations(self, starts: Iterable[Start]) -> "list[SyncOperationHandle[Any] | Exception]":
        """Start many operations, each for itself; as ``NexusClient.start_operations``."""
        answers = self._outbound.start_operations(start_inputs(self._specs, starts))
        return [
            answer if isinstance(answer, Exception) else SyncOperationHandle(self._outbound, answer)
            for answer in answers
        ]

    def get_operation_handle(
        self,
        operation: Any,
        *,
        id: str | None = None,
        generation: int = 1,
        operation_id: str | None = None,
    ) -> "SyncOperationHandle[Any]":
        """Return a handle of an operation that was started before; as in ``NexusClient``."""
        spec = self._specs.of(operation)
        if (id is None) == (operation_id is None):
            raise ConfigurationError("pass id= or operation_id=, one of them")
        if operation_id is not None:
            number = parse_operation_id(operation_id)
            known = KnownOperation(number, spec.output_type)
        else:
            if generation < 1:
                raise ConfigurationError("generations are counted from 1")
            number = operation_id_of(self._engine.caller, spec, id or "", generation=generation)
            known = KnownOperation(number, spec.output_type, generation=generation)
        return SyncOperationHandle(self._outbound, known)

    def _start_input(self, operation: Any, value: Any, options: StartOptions) -> StartInput:
        spec = self._specs.of(operation)
        return StartInput(spec=spec, value=value, options=options)


class SyncOperationHandle(Generic[OutputT_co]):
    """What OperationHandle is for asyncio."""

    def __init__(self, outbound: SyncClientOutbound, known: KnownOperation) -> None:
        self._outbound = outbound
        self._known = known
        self._signaling = threading.Lock()

    @property
    def operation_id(self) -> str:
        """``op-…``: URL-safe, valid in every process of the namespace, nothing secret."""
        return self._known.shown_id

    @property
    def generation(self) -> int | None:
        """The how manieth operation under its request id; None when the handle was made of its own id."""
        return self._known.generation

    def result(self, *, timeout: timedelta | None = None) -> OutputT_co:
        """Wait for the result and return it; as ``OperationHandle.result``."""
        output: OutputT_co = self._outbound.get_result(HandleInput(known=self._known, wait=timeout))
        return output

    def cancel(self) -> None:
        """Ask to cancel; as ``OperationHandle.cancel``."""
        self._outbound.cancel_operation(HandleInput(known=self._known))

    def contexts(self) -> list[bytes]:
        """Return what starts of this operation gave as their context; as ``OperationHandle.contexts``."""
        return self._outbound.get_contexts(HandleInput(known=self._known))

    def signal(self, name: str, value: object = None) -> None:
        """Send a signal to the operation; as ``OperationHandle.signal``."""
        with self._signaling:
            self._outbound.signal_operation(SignalInput(known=self._known, name=name, value=value))

    def progress(self, as_type: object = Any) -> Iterator[Any]:
        """Watch how far the operation is, until it ends; as ``OperationHandle.progress``."""
        after = 0
        while True:
            update = self._outbound.get_progress(
                ProgressInput(known=self._known, as_type=as_type, after=after, wait=WATCH_WAIT)
            )
            if update.sequence:
                after = update.sequence
                yield update.value
            if update.ended:
                return

    def progress_now(self, as_type: object = Any) -> Any:
        """Return the latest progress; as ``OperationHandle.progress_now``."""
        return self._outbound.get_progress(ProgressInput(known=self._known, as_type=as_type)).value

    def describe(self, *, timeout: timedelta | None = None) -> OperationDescription:
        """Ask the gateway where the operation is in its life; as ``OperationHandle.describe``."""
        return self._outbound.describe_operation(HandleInput(known=self._known, wait=timeout))

    def __repr__(self) -> str:
        """Show the id."""
        return f"SyncOperationHandle({self.operation_id})"


class _SyncRoot(SyncClientOutbound):
    """The innermost layer."""

    def __init__(self, engine: SyncEngine, converter: PayloadConverter) -> None:
        super().__init__(self)  # there is no next layer, and nothing is handed on to it
        self._engine = engine
        self._converter = converter

    def start_operation(self, input: StartInput) -> KnownOperation:
        return self._engine.run(self._known(input))

    def start_operations(self, inputs: Sequence[StartInput]) -> list[KnownOperation | Exception]:
        return self._engine.run_together([self._known(one) for one in inputs])

    def execute_operation(self, input: StartInput) -> Any:
        started = self._engine.run(self._start(input, wait=True))
        return self._value(started.outcome, started.request, input.spec.output_type)

    def get_result(self, input: HandleInput) -> Any:
        known, engine = input.known, self._engine
        outcome = engine.run(known.outcome(engine.caller, engine.clock, wait=input.wait))
        request = engine.run(known.request(engine.caller, engine.clock))
        return self._value(outcome, request, known.output_type)

    def cancel_operation(self, input: HandleInput) -> None:
        known, engine = input.known, self._engine
        request = engine.run(known.request(engine.caller, engine.clock))
        engine.run(cancel_flow(engine.caller, request, engine.clock))

    def get_contexts(self, input: HandleInput) -> list[bytes]:
        known, engine = input.known, self._engine
        request = engine.run(known.request(engine.caller, engine.clock))
        return engine.run(contexts_flow(engine.caller, request, engine.clock))

    def signal_operation(self, input: SignalInput) -> None:
        engine = self._engine
        payload = signal_payload(input.name, self._converter.to_payload(input.value))
        engine.run(input.known.signal(engine.caller, engine.clock, payload))

    def get_progress(self, input: ProgressInput) -> ProgressUpdate:
        engine = self._engine
        found = engine.run(
            input.known.progress(engine.caller, engine.clock, after=input.after, wait=input.wait)
        )
        return progress_update(found, self._converter, input.as_type)

    def describe_operation(self, input: HandleInput) -> OperationDescription:
        operation_id = input.known.operation_id
        return describe(self._engine.run(describe_flow(operation_id, wait=input.wait)))

    def get_operation_statuses(self, input: StatusesInput) -> list[OperationStatus]:
        engine = self._engine
        return engine.run(statuses_flow(engine.caller, input.operation_ids, engine.clock))

    def open_completions(self, input: CompletionsInput) -> int:
        return self._engine.run(open_cursor_flow(input))

    def read_completions(self, input: LookInput) -> CompletionsPage:
        return self._engine.run(look_flow(input))

    def acknowledge_completions(self, input: AcknowledgeInput) -> None:
        self._engine.run(acknowledge_flow(input))

    def publish_event(self, input: PublishInput) -> Published:
        engine, payload = self._engine, self._converter.to_payload(input.value)
        return engine.run(publish_flow(engine.caller, input, payload, engine.clock))

    def get_event(self, input: EventInput) -> Event:
        engine = self._engine
        flow = event_flow(engine.caller, input.notice, engine.clock, self._converter, input.type_hint)
        return engine.run(flow)

    def _known(self, input: StartInput) -> Flow[KnownOperation]:
        started = yield from self._start(input, wait=False)
        return KnownOperation(started.operation_id, input.spec.output_type, started)

    def _start(self, input: StartInput, *, wait: bool) -> Flow[Started]:
        engine = self._engine
        content = content_of(input.value, self._converter)
        return start_flow(engine.caller, input.spec, content, input.options, engine.clock, wait=wait)

    def _value(self, outcome: Outcome | None, request: KnownRequest, output_type: object) -> Any:
        payload = payload_of(outcome)
        content: Content = payload
        caller = self._engine.caller
        if caller.claim_checks.must_unpack(payload, output_type):
            content = self._engine.run(unpacked_result(caller, payload, request.header, output_type))
        return value_of(content, self._converter, output_type)
