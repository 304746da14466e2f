"""Tells a fresh gateway about the two teams: namespaces, keysets, endpoints, and whom each team trusts."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from isthmus.client.assembly import channel_settings, token_source
from isthmus.client.profile import load_profile
from isthmus.demo.deployment import APP_TEAM, DATA_TEAM, PLATFORM, TEAMS, Deployment
from isthmus.keys.publication import KeysetPublication
from isthmus.transport.connection import SyncConnection
from isthmus.transport.errors import AlreadyExistsError, ConflictError, NotFoundError
from isthmus.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
)
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_message, signed_keyset_of

ROUTES: Final = "routes"
DATASETS: Final = "datasets"
OWNERS: Final = {ROUTES: APP_TEAM, DATASETS: DATA_TEAM}
"""Endpoint: the team that serves it. The other team may call it."""

_CALL_SECONDS = 10.0


def provision(deployment: Deployment) -> None:
    """Set up what is missing. Safe to repeat. Raises GatewayError."""
    with _connected(deployment, PLATFORM) as platform:
        for team in TEAMS:
            platform.create_namespace(team)
    for team in TEAMS:
        with _connected(deployment, team) as gateway:
            keyring = deployment.keyring(team)
            KeysetPublication(
                keyring=keyring, signer=keyring.signer_key(), directory=gateway, now_ms=_now_ms
            ).publish()
            for endpoint, owner in OWNERS.items():
                if owner == team:
                    gateway.create_endpoint(endpoint, allow=_other(team))
    for team in TEAMS:
        other = _other(team)
        fingerprint = deployment.keyring(other).contents.fingerprint
        served = tuple(endpoint for endpoint, owner in OWNERS.items() if owner == other)
        deployment.trust(team).add(other, fingerprint, endpoints=served)


class _Gateway:
    """The calls that setting up takes. A ``KeysetDirectory``."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    def create_namespace(self, name: str) -> None:
        request = namespace_service_pb2.CreateNamespaceRequest(
            name=name, description="a team of the demonstration"
        )
        self._call(namespace_service_pb2_grpc.NamespaceServiceStub, "CreateNamespace", request)

    def create_endpoint(self, name: str, *, allow: str) -> None:
        endpoint = endpoint_service_pb2.Endpoint(
            name=name, task_queue=name, allow=[endpoint_service_pb2.AllowRule(namespace=allow)]
        )
        request = endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint)
        try:
            self._call(endpoint_service_pb2_grpc.EndpointServiceStub, "CreateEndpoint", request)
        except (AlreadyExistsError, ConflictError):
            return

    def newest(self, namespace: str) -> SignedKeyset | None:
        request = key_service_pb2.GetKeysetRequest(namespace=namespace)
        try:
            answer = self._call(key_service_pb2_grpc.KeyServiceStub, "GetKeyset", request)
        except NotFoundError:
            return None
        return signed_keyset_of(answer.keyset)

    def publish(self, signed: SignedKeyset) -> None:
        request = key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(signed))
        self._call(key_service_pb2_grpc.KeyServiceStub, "PublishKeyset", request)

    def _call(self, stub: Callable[[grpc.Channel], Any], method: str, request: object) -> Any:  # noqa: ANN401
        return self._connection.call(
            lambda channel: getattr(stub(channel), method), request, timeout_seconds=_CALL_SECONDS
        )


@contextmanager
def _connected(deployment: Deployment, profile_name: str) -> Generator[_Gateway]:
    environment = {"ISTHMUS_CONFIG": str(deployment.profiles)}
    profile = load_profile(profile_name, environment=environment)
    connection = SyncConnection(channel_settings(profile), token_source(profile, environment))
    try:
        yield _Gateway(connection)
    finally:
        connection.close()


def _other(team: str) -> str:
    return next(other for other in TEAMS if other != team)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
