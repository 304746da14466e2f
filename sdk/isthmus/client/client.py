"""The async client: starts, awaits, cancels and looks at operations of other teams."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.client.assembly import assemble
from isthmus.client.completions import Completions, Events
from isthmus.client.engine import AsyncEngine
from isthmus.client.feed import Beginning, CompletionStatus, completions_input, events_input
from isthmus.client.handle import OperationHandle
from isthmus.client.interceptor import Interceptor, StatusesInput, layered
from isthmus.client.key_alarm import OnKeyAlarm
from isthmus.client.known_operation import KnownOperation
from isthmus.client.nexus_client import NexusClient
from isthmus.client.operation_spec import service_name
from isthmus.client.profile import Profile
from isthmus.client.published_events import Published, publish_input
from isthmus.client.request import EndpointPins
from isthmus.client.root import Root
from isthmus.client.statuses import OperationStatus
from isthmus.keys.directory import AsyncKeyDirectory
from isthmus.keys.endpoint_records import AsyncRecordDirectory
from isthmus.keys.keyring import Keyring
from isthmus.keys.trust import TrustStore
from isthmus.payload.converter import DefaultPayloadConverter, PayloadConverter
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.transport.credentials import TokenSource
from isthmus.wire.names import NamespaceName, parse_operation_id

OutputT = TypeVar("OutputT")
ServiceT = TypeVar("ServiceT")


class Client:
    """A namespace's connection to a gateway. Make one per event loop and share it."""

    def __init__(
        self, engine: AsyncEngine, *, converter: PayloadConverter, interceptors: Sequence[Interceptor] = ()
    ) -> None:
        self._engine = engine
        self._converter = converter
        self._outbound = layered(Root(engine, converter), interceptors)

    @classmethod
    async def connect(
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
        """Connect to a gateway as a namespace.

        What is not given comes from ``ISTHMUS_…`` variables, then from the profile.

        Args:
            address: ``host:port``, with ``https://`` in front for TLS.
            namespace: whose client this is; compared with the keyring and the credential.
            profile: name of a profile, or one made by hand.
            keyring: the namespace's private keys, or the file with them.
            trust: whom this namespace trusts, or the file with that.
            credentials: where bearer tokens come from.
            channel: everything about the connection, instead of address.
            payload_converter: how values become payloads.
            interceptors: layers around everything that the client does.
            on_key_alarm: is told when the gateway shows a keyset of this namespace that it did not publish;
                once for each finding. It is called on the event loop and has to return soon. The alarm is
                logged as well (``isthmus.keys``).

        Raises:
            ConfigurationError: something is missing or does not fit together.
            GatewayError: the gateway cannot be reached, or does not accept the credential.
            KeyringError: the keyring does not open.
            ForkedError: the process was forked while an async client was connected.
        """
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
        engine = await AsyncEngine.connect(parts)
        converter = payload_converter or DefaultPayloadConverter()
        return cls(engine, converter=converter, interceptors=interceptors)

    @property
    def namespace(self) -> NamespaceName:
        """The namespace of this client."""
        return NamespaceName(self._engine.caller.namespace)

    @property
    def trust_domain(self) -> str:
        """The deployment that it belongs to."""
        return self._engine.caller.keyring.trust_domain

    @property
    def principal(self) -> str:
        """Who this client is to the gateway."""
        return self._engine.caller.principal

    @property
    def connection(self) -> Connection:
        """The connection, for workers and tools."""
        return self._engine.connection

    @property
    def keyring(self) -> Keyring:
        """The namespace's private keys."""
        return self._engine.caller.keyring

    async def refresh_keys(self) -> None:
        """Read the keyring again, and go by what the namespace's newest keyset says. Raises nothing.

        Happens by itself whenever a key is refused, and every few minutes.
        """
        await self._engine.own_keys.refresh()

    @property
    def key_directory(self) -> AsyncKeyDirectory:
        """Verified keysets of other namespaces."""
        return self._engine.directory

    @property
    def endpoint_records(self) -> AsyncRecordDirectory:
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
    def create_nexus_client(self, endpoint: str, service: type[ServiceT]) -> NexusClient[ServiceT]: ...

    @overload
    def create_nexus_client(self, endpoint: str, service: str) -> NexusClient[Any]: ...

    def create_nexus_client(self, endpoint: str, service: type[Any] | str) -> NexusClient[Any]:
        """Return a client for one service at one endpoint.

        Args:
            endpoint: whose namespace it is, this client's trust store says.
            service: a class decorated with ``nexusrpc.service``, a service handler class, or a name.

        Raises:
            ConfigurationError: it is no service.
        """
        service_name(service)
        return NexusClient(self._engine, self._outbound, endpoint=endpoint, service=service)

    def get_operation_handle(
        self, operation_id: str, *, result_type: type[OutputT] | None = None
    ) -> OperationHandle[OutputT]:
        """Return a handle of an operation of this namespace, from its id alone. Asks nobody yet.

        Raises:
            WireFormatError: it is no operation id.
        """
        known = KnownOperation(parse_operation_id(operation_id), Any if result_type is None else result_type)
        return OperationHandle(self._outbound, known)

    async def get_operation_statuses(self, operation_ids: Iterable[str]) -> list[OperationStatus]:
        """Return where many operations of this namespace are, without waiting, in the order they are given.

        One call for up to 256 of them. What ended is verified as strictly as by ``result()``, each for
        itself, and its result is not fetched: ``get_operation_handle`` does that.

        Raises:
            WireFormatError: one of them is no operation id.
            GatewayError: the gateway does not answer.
        """
        numbers = tuple(parse_operation_id(operation_id) for operation_id in operation_ids)
        return await self._outbound.get_operation_statuses(StatusesInput(operation_ids=numbers))

    def completions(
        self,
        cursor: str,
        *,
        endpoint: str = "",
        statuses: Iterable[CompletionStatus] = (),
        begin: Beginning | int = "now",
        follow: bool = True,
    ) -> Completions:
        """Return what ended of the operations that this namespace called, to iterate over.

        The gateway remembers under the name of the cursor how far its consumer is; what was delivered and not
        acknowledged comes again. See ``Completions``.

        Args:
            cursor: name of the consumer, 1 to 200 letters, digits and ``. _ / -``. It is made when it does
                not exist, and keeps what it wants: endpoint and statuses are the same each time.
            endpoint: completions of this endpoint only.
            statuses: completions of these only: ``succeeded``, ``failed``, ``canceled``.
            begin: where a new cursor begins: ``"now"``, ``"beginning"``, or behind a position.
            follow: whether to wait for what comes; else the iteration ends when nothing is left.

        Raises:
            ConfigurationError: a status or the beginning is none.
            WireFormatError: a name is not valid.
        """
        wanted = completions_input(cursor, endpoint=endpoint, statuses=statuses, begin=begin)
        return Completions(self._outbound, wanted, follow=follow)

    async def publish_event(
        self,
        endpoint: str,
        name: str,
        value: object = None,
        *,
        id: str | None = None,  # noqa: A002 - named as in start_operation
        readers: Iterable[str] | None = None,
    ) -> Published:
        """Publish an event of an endpoint that this namespace owns; it waits for nobody.

        It is sealed for each reader, and appears in the feed of each: ``events``. Durable once it returns.

        Args:
            endpoint: an endpoint of this namespace.
            name: what happened, for example ``batch-ready``; in clear for the gateway.
            value: up to 56 KiB, sealed.
            id: your idempotency key: published again under the same id, the event arrives once.
            readers: namespaces of the endpoint's allow list; all of them that this namespace trusts, if None.
                Name them where the gateway should have no say in who gets it.

        Raises:
            PayloadTooLargeError: the value is too large.
            PayloadConversionError: the value has no serialized form.
            TrustError: a reader that was named is not trusted here.
            PermissionDeniedError: the endpoint is another namespace's, or does not allow the reader.
            GatewayError: the gateway could not be asked: publish again, under the same id.
        """
        event = publish_input(endpoint, name, value, id_=id, readers=readers)
        return await self._outbound.publish_event(event)

    def events(
        self,
        cursor: str,
        *,
        endpoint: str = "",
        result_type: object = Any,
        begin: Beginning | int = "now",
        follow: bool = True,
    ) -> Events:
        """Return what other teams published for this namespace, to iterate over. See ``Events``.

        Args:
            cursor: name of the consumer, as in ``completions``.
            endpoint: events of this endpoint only.
            result_type: what the value of each event should become.
            begin: where a new cursor begins: ``"now"``, ``"beginning"``, or behind a position.
            follow: whether to wait for what comes; else the iteration ends when nothing is left.

        Raises:
            ConfigurationError: the beginning is none.
            WireFormatError: a name is not valid.
        """
        wanted = events_input(cursor, endpoint=endpoint, begin=begin)
        return Events(self._outbound, wanted, follow=follow, type_hint=result_type)

    async def close(self) -> None:
        """Close the connection. Operations go on; their handles work again in another client."""
        await self._engine.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
