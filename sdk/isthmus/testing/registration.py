"""What a local gateway is told about namespaces, endpoints and keys, over the wire like by anybody else."""

import time
from collections.abc import Sequence
from typing import Any

from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.record_publication import RECORD_LIFETIME_MS, sign_record
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.transport.connection import Connection
from isthmus.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
)
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.trust_statement import (
    signed_keyset_message,
    signed_statement_message,
    signed_statement_of,
)

_CALL_SECONDS = 10.0


async def create_namespace(platform: Connection, name: str) -> None:
    """Create a namespace, as the platform. Raises GatewayError."""
    stub: Any = namespace_service_pb2_grpc.NamespaceServiceStub(platform.channel)
    await platform.call(
        stub.CreateNamespace,
        namespace_service_pb2.CreateNamespaceRequest(name=name),
        timeout_seconds=_CALL_SECONDS,
    )


async def publish_keys(connection: Connection, keyring: FileKeyring) -> None:
    """Publish the keys of a fresh keyring, as its namespace. Raises GatewayError."""
    keyset = next_keyset(keyring.contents, now_ms=time.time_ns() // 1_000_000)
    signed = sign_keyset(keyset, keyring.contents, keyring.signer_key())
    stub: Any = key_service_pb2_grpc.KeyServiceStub(connection.channel)
    await connection.call(
        stub.PublishKeyset,
        key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(signed)),
        timeout_seconds=_CALL_SECONDS,
    )
    keyring.record_keyset(keyset.version, signed.hash)


async def publish_endpoint_record(
    connection: Connection,
    keyring: FileKeyring,
    name: str,
    *,
    task_queue: str | None = None,
    required_recipients: Sequence[str] | None = None,
    contract_hash: bytes | None = None,
) -> EndpointRecord:
    """Sign and publish what an endpoint's owner says about it; what is None stays as it was said before.

    Raises:
        GatewayError: it is not the namespace's.
    """
    stub: Any = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
    answer = await connection.call(
        stub.GetEndpointRecord,
        endpoint_service_pb2.GetEndpointRecordRequest(name=name),
        timeout_seconds=_CALL_SECONDS,
    )
    before, previous_hash = None, b""
    if answer.HasField("record"):
        signed = signed_statement_of(answer.record.record)
        before, previous_hash = EndpointRecord.decode(signed.statement), signed.hash
    now_ms = time.time_ns() // 1_000_000
    recipients = (before.required_recipients if before else ()) if required_recipients is None else ()
    record = EndpointRecord(
        trust_domain=keyring.trust_domain,
        namespace=keyring.namespace,
        endpoint=name,
        version=1 if before is None else before.version + 1,
        previous_hash=previous_hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + RECORD_LIFETIME_MS,
        task_queue=task_queue or (before.task_queue if before else name),
        required_recipients=tuple(sorted(required_recipients or recipients)),
        contract_hash=(before.contract_hash if before else b"") if contract_hash is None else contract_hash,
    )
    await connection.call(
        stub.PublishEndpointRecord,
        endpoint_service_pb2.PublishEndpointRecordRequest(
            record=signed_statement_message(sign_record(record, keyring.signer_key()))
        ),
        timeout_seconds=_CALL_SECONDS,
    )
    return record


async def create_endpoint(
    connection: Connection, name: str, *, task_queue: str, allow: Sequence[str], max_attempts: int
) -> None:
    """Create an endpoint, as its namespace; ``allow`` holds ``namespace[/service[/operation]]``.

    Raises:
        GatewayError: it exists, or a name is not valid.
    """
    endpoint = endpoint_service_pb2.Endpoint(name=name, task_queue=task_queue)
    endpoint.retry.max_attempts = max_attempts
    # Nobody redrives a parked operation in a test: what is exhausted has failed.
    endpoint.retry.on_exhausted = endpoint_service_pb2.ON_EXHAUSTED_FAIL
    endpoint.retry.initial_interval_ms = 50
    for rule in allow:
        namespace, _, route = rule.partition("/")
        service, _, operation = route.partition("/")
        endpoint.allow.add(namespace=namespace, service=service, operation=operation)
    stub: Any = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
    await connection.call(
        stub.CreateEndpoint,
        endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint),
        timeout_seconds=_CALL_SECONDS,
    )
