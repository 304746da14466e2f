"""Runs flows: for asyncio over a session stream, for threads over unary calls."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextlib import closing
from typing import Any, Final, TypeVar, cast

from isthmus.client.assembly import Parts, make_caller
from isthmus.client.flows import (
    Ask,
    Clock,
    Effect,
    FetchKeys,
    FetchRecord,
    FindOwner,
    Flow,
    Pause,
    PeerKeys,
    RefreshKeys,
    Send,
)
from isthmus.client.large_payloads import Block
from isthmus.client.lockstep import run_together
from isthmus.client.own_keyset import BlockingLook, OwnKeysWatch
from isthmus.client.record_fetching import no_record, record_in, record_request
from isthmus.client.request import Caller
from isthmus.envelope.errors import EnvelopeError
from isthmus.keys.directory import ANY_NEWER_KEY, AsyncKeyDirectory, KeyDirectory, KeysetCache
from isthmus.keys.endpoint_records import (
    AsyncRecordDirectory,
    RecordCache,
    RecordDirectory,
    own_signer,
    signer_in,
)
from isthmus.keys.errors import DirectoryUnreachableError, KeysError
from isthmus.transport.async_stubs import endpoint_stub_of, key_stub_of, namespace_stub_of
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.errors import GatewayError, IsthmusError
from isthmus.transport.fork import ProcessMark
from isthmus.transport.session import Session
from isthmus.transport.unary import UnarySession
from isthmus.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
)
from isthmus.wire.endpoint_record import SignedEndpointRecord
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_of

CONNECT_SECONDS: Final = 10.0
_LOOKUP_SECONDS: Final = 10.0
_EXPECTED_ERRORS: Final = (IsthmusError, KeysError, EnvelopeError)

T = TypeVar("T")


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def system_clock() -> Clock:
    """Return the clock of this machine."""
    return Clock(now_ms=now_ms, monotonic=time.monotonic)


class AsyncEngine:
    """Performs what flows ask for, on one event loop."""

    def __init__(
        self,
        connection: Connection,
        caller: Caller,
        directory: AsyncKeyDirectory,
        records: AsyncRecordDirectory,
        own_keys: OwnKeysWatch,
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.clock = system_clock()
        self.directory = directory
        self.records = records
        self._session = Session(connection)
        self.own_keys = own_keys

    @classmethod
    async def connect(cls, parts: Parts) -> "AsyncEngine":
        """Connect, and learn who the gateway says this client is. Raises GatewayError, ConfigurationError."""
        connection = Connection(parts.channel, parts.credentials)
        try:
            key_stub = key_stub_of(connection)
            gateway = await connection.call_retrying(
                key_stub.GetGatewayKey,
                key_service_pb2.GetGatewayKeyRequest(),
                timeout_seconds=CONNECT_SECONDS,
            )
            who = await connection.call_retrying(
                namespace_stub_of(connection).WhoAmI,
                namespace_service_pb2.WhoAmIRequest(),
                timeout_seconds=CONNECT_SECONDS,
            )
            known = RecordCache(parts.trust, clock_ms=now_ms)
            caller = make_caller(parts, who, gateway, known)
        except BaseException:
            await connection.close()
            raise

        async def fetch(namespace: str) -> SignedKeyset:
            request = key_service_pb2.GetKeysetRequest(namespace=namespace)
            try:
                response = await connection.call_retrying(
                    key_stub.GetKeyset, request, timeout_seconds=_LOOKUP_SECONDS
                )
            except GatewayError as error:
                raise _unreachable(error) from error
            return signed_keyset_of(response.keyset)

        async def fetch_record(namespace: str, endpoint: str) -> SignedEndpointRecord | None:
            try:
                response = await connection.call_retrying(
                    endpoint_stub.GetEndpointRecord, record_request(endpoint), timeout_seconds=_LOOKUP_SECONDS
                )
            except GatewayError as error:
                return no_record(error, was_seen=known.was_seen(namespace, endpoint))
            return record_in(response)

        async def signer(namespace: str, *, newest: bool) -> HybridPublicKey | None:
            if namespace == caller.namespace:
                try:
                    signed = await fetch(namespace)
                except DirectoryUnreachableError:
                    return signer_in(caller.keyring.contents, now_ms=now_ms())
                return own_signer(signed, caller.keyring.contents, now_ms=now_ms())
            keyset = await directory.keyset(namespace, key_id=ANY_NEWER_KEY if newest else None)
            return keyset.signer

        endpoint_stub = endpoint_stub_of(connection)
        directory = AsyncKeyDirectory(new_keyset_cache(parts), fetch)
        records = AsyncRecordDirectory(known, fetch_record, signer)
        own_keys = OwnKeysWatch(connection, caller.keyring, parts.timings, parts.on_key_alarm)
        return cls(connection, caller, directory, records, own_keys)

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return what it returns. Raises what it raises."""
        result: object = None
        error: Exception | None = None
        try:
            while True:
                effect = flow.send(result) if error is None else flow.throw(error)
                result, error = None, None
                if isinstance(effect, FetchKeys) and effect.key_id is None:
                    result = self.directory.at_hand(effect.namespace)
                if result is None:
                    try:
                        result = await self._perform(effect)
                    except _EXPECTED_ERRORS as failed:
                        error = failed
        except StopIteration as stop:
            return cast("T", stop.value)
        finally:
            flow.close()

    async def close(self) -> None:
        """Close session and connection. Operations go on."""
        await self.own_keys.close()
        await self._session.close()
        await self.connection.close()

    def _perform(self, effect: Effect) -> Awaitable[object]:
        match effect:
            case Send():
                return self._session.call(
                    effect.call, timeout_seconds=effect.timeout_seconds, size_bytes=effect.size_bytes
                )
            case Ask():
                return self.connection.call_retrying(
                    getattr(effect.stub(self.connection.channel), effect.method),
                    effect.request,
                    timeout_seconds=effect.timeout_seconds,
                )
            case FetchKeys():
                return self.directory.keyset(effect.namespace, key_id=effect.key_id)
            case FetchRecord():
                return self.records.record(effect.namespace, effect.endpoint, newest=effect.newest)
            case RefreshKeys():
                return self.own_keys.refresh()
            case Pause():
                return asyncio.sleep(effect.seconds)
            case FindOwner():
                return self._find_owner(effect.endpoint)
            case Block():
                return asyncio.to_thread(effect.work)

    async def _find_owner(self, endpoint: str) -> str:
        response = await self.connection.call_retrying(
            endpoint_stub_of(self.connection).GetEndpoint,
            endpoint_service_pb2.GetEndpointRequest(name=endpoint),
            timeout_seconds=_LOOKUP_SECONDS,
        )
        return response.endpoint.namespace


class SyncEngine:
    """Performs what flows ask for, blocking. Thread-safe, and usable in a forked process."""

    def __init__(self, connection: SyncConnection, parts: Parts, caller: Caller, known: RecordCache) -> None:
        self.connection = connection
        self.caller = caller
        self.clock = system_clock()
        self._parts = parts
        self._session = UnarySession(connection)
        self._mark = ProcessMark()
        self._directory = self._new_directory()
        self.records = RecordDirectory(known, self._fetch_record, self._signer)
        self.own_keys = BlockingLook(connection, parts.keyring, parts.timings, parts.on_key_alarm)

    @classmethod
    def connect(cls, parts: Parts) -> "SyncEngine":
        """Connect, and learn who the gateway says this client is. Raises GatewayError, ConfigurationError."""
        connection = SyncConnection(parts.channel, parts.credentials)
        try:
            gateway = connection.call_retrying(
                lambda channel: key_service_pb2_grpc.KeyServiceStub(channel).GetGatewayKey,
                key_service_pb2.GetGatewayKeyRequest(),
                timeout_seconds=CONNECT_SECONDS,
            )
            who = connection.call_retrying(
                lambda channel: namespace_service_pb2_grpc.NamespaceServiceStub(channel).WhoAmI,
                namespace_service_pb2.WhoAmIRequest(),
                timeout_seconds=CONNECT_SECONDS,
            )
            known = RecordCache(parts.trust, clock_ms=now_ms)
            return cls(connection, parts, make_caller(parts, who, gateway, known), known)
        except BaseException:
            connection.close()
            raise

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return what it returns. Raises what it raises."""
        self.own_keys.if_it_is_time()
        with closing(flow):
            result: Any = None
            error: Exception | None = None
            while True:
                try:
                    effect = flow.send(result) if error is None else flow.throw(error)
                except StopIteration as stop:
                    return cast("T", stop.value)
                result, error = None, None
                try:
                    result = self._perform(effect)
                except _EXPECTED_ERRORS as failed:
                    error = failed

    def run_together(self, flows: Sequence[Flow[T]]) -> list[T | Exception]:
        """Run flows side by side, their starts in one call; return what each returns or raises."""
        self.own_keys.if_it_is_time()
        return run_together(flows, perform=self._perform, start_all=self._session.start_all)

    def close(self) -> None:
        """Close the connection. Operations go on."""
        self.own_keys.close()
        self.connection.close()

    def _perform(self, effect: Effect) -> object:
        match effect:
            case Send():
                return self._session.call(effect.call, timeout_seconds=effect.timeout_seconds)
            case Ask():
                return self.connection.call_retrying(
                    lambda channel: getattr(effect.stub(channel), effect.method),
                    effect.request,
                    timeout_seconds=effect.timeout_seconds,
                )
            case FetchKeys():
                return self._keys(effect)
            case FetchRecord():
                return self.records.record(effect.namespace, effect.endpoint, newest=effect.newest)
            case RefreshKeys():
                self.own_keys.refresh()
                return None
            case Pause():
                time.sleep(effect.seconds)
                return None
            case FindOwner():
                response = self.connection.call_retrying(
                    lambda channel: endpoint_service_pb2_grpc.EndpointServiceStub(channel).GetEndpoint,
                    endpoint_service_pb2.GetEndpointRequest(name=effect.endpoint),
                    timeout_seconds=_LOOKUP_SECONDS,
                )
                return response.endpoint.namespace
            case Block():
                return effect.work()

    @property
    def directory(self) -> KeyDirectory:
        """Verified keysets of other namespaces."""
        if self._mark.forked:  # a lock of the old one may have been held by a thread that this process lacks
            self._mark, self._directory = ProcessMark(), self._new_directory()
        return self._directory

    def _keys(self, effect: FetchKeys) -> PeerKeys:
        return self.directory.keyset(effect.namespace, key_id=effect.key_id)

    def _new_directory(self) -> KeyDirectory:
        return KeyDirectory(new_keyset_cache(self._parts), self._fetch)

    def _fetch(self, namespace: str) -> SignedKeyset:
        request = key_service_pb2.GetKeysetRequest(namespace=namespace)
        try:
            response = self.connection.call_retrying(
                lambda channel: key_service_pb2_grpc.KeyServiceStub(channel).GetKeyset,
                request,
                timeout_seconds=_LOOKUP_SECONDS,
            )
        except GatewayError as error:
            raise _unreachable(error) from error
        return signed_keyset_of(response.keyset)

    def _fetch_record(self, namespace: str, endpoint: str) -> SignedEndpointRecord | None:
        try:
            response = self.connection.call_retrying(
                lambda channel: endpoint_service_pb2_grpc.EndpointServiceStub(channel).GetEndpointRecord,
                record_request(endpoint),
                timeout_seconds=_LOOKUP_SECONDS,
            )
        except GatewayError as error:
            return no_record(error, was_seen=self.records.cache.was_seen(namespace, endpoint))
        return record_in(response)

    def _signer(self, namespace: str, *, newest: bool) -> HybridPublicKey | None:
        if namespace == self.caller.namespace:
            try:
                signed = self._fetch(namespace)
            except DirectoryUnreachableError:
                return signer_in(self.caller.keyring.contents, now_ms=now_ms())
            return own_signer(signed, self.caller.keyring.contents, now_ms=now_ms())
        return self.directory.keyset(namespace, key_id=ANY_NEWER_KEY if newest else None).signer


def new_keyset_cache(parts: Parts) -> KeysetCache:
    """Return an empty cache of keysets of other namespaces."""
    timings = parts.timings
    return KeysetCache(
        parts.trust,
        clock_ms=now_ms,
        cache_seconds=timings.cache_seconds,
        refresh_interval_seconds=timings.refresh_interval_seconds,
    )


def _unreachable(error: GatewayError) -> Exception:
    """A directory falls back on what it has when the gateway is away, not when the gateway refuses."""
    return DirectoryUnreachableError(str(error)) if error.retryable else error
