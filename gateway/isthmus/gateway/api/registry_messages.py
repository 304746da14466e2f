"""Namespaces and endpoints: wire ↔ domain."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from isthmus.endpoints.endpoint import (
    DEFAULT_RETENTION,
    AllowRule,
    CircuitSettings,
    Endpoint,
    FairWeight,
    RetrySettings,
)
from isthmus.endpoints.settings import EndpointSettings
from isthmus.endpoints.versions import VersionSettings, VersionShare
from isthmus.gateway.api.moments import timestamp
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.ports import Namespace
from isthmus.v1 import endpoint_service_pb2, namespace_service_pb2
from isthmus.wire.names import NamespaceName

_DEFAULT_RETRY = RetrySettings()
_DEFAULT_CIRCUIT = CircuitSettings()
_DEFAULT_LIFE = timedelta(hours=24)
_MILLISECOND = timedelta(milliseconds=1)
# What a client may ask for in a signed 64-bit field can exceed what a timedelta holds.
_MOST_MS = 10**15

UPDATABLE: Mapping[str, str] = {
    "task_queue": "task_queue",
    "description": "description",
    "allow": "allow",
    "retry": "retry",
    "max_payload_bytes": "max_payload_bytes",
    "max_schedule_to_close_ms": "max_schedule_to_close",
    "fair_weights": "fair_weights",
    "max_operations_per_second": "max_operations_per_second",
    "max_open_operations": "max_open_operations",
    "retention_ms": "retention",
    "circuit": "circuit",
    "versions": "versions",
}
"""Paths of an update mask, and the settings that they name."""


def namespace_message(namespace: Namespace) -> namespace_service_pb2.Namespace:
    """Return a namespace as a message."""
    return namespace_service_pb2.Namespace(
        name=namespace.name,
        description=namespace.description,
        created_at=timestamp(namespace.created_at),
    )


def endpoint_message(endpoint: Endpoint) -> endpoint_service_pb2.Endpoint:
    """Return an endpoint as its owner sees it."""
    retry = endpoint.retry
    exhausted = (
        endpoint_service_pb2.ON_EXHAUSTED_PARK
        if retry.park_when_exhausted
        else endpoint_service_pb2.ON_EXHAUSTED_FAIL
    )
    return endpoint_service_pb2.Endpoint(
        name=endpoint.name,
        namespace=endpoint.namespace,
        task_queue=endpoint.task_queue,
        description=endpoint.description,
        allow=[
            endpoint_service_pb2.AllowRule(
                namespace=rule.namespace, service=rule.service, operation=rule.operation
            )
            for rule in endpoint.allow
        ],
        retry=endpoint_service_pb2.RetryPolicy(
            initial_interval_ms=retry.initial_interval // _MILLISECOND,
            max_interval_ms=retry.max_interval // _MILLISECOND,
            max_attempts=retry.max_attempts,
            on_exhausted=exhausted,
        ),
        max_payload_bytes=endpoint.max_payload_bytes,
        max_schedule_to_close_ms=endpoint.max_schedule_to_close // _MILLISECOND,
        fair_weights=[
            endpoint_service_pb2.FairWeight(namespace=entry.namespace, weight=entry.weight)
            for entry in endpoint.fair_weights
        ],
        max_operations_per_second=endpoint.max_operations_per_second,
        max_open_operations=endpoint.max_open_operations,
        retention_ms=endpoint.retention // _MILLISECOND,
        circuit=endpoint_service_pb2.CircuitBreaker(
            failures=endpoint.circuit.failures,
            open_ms=endpoint.circuit.open_for // _MILLISECOND,
            off=not endpoint.circuit.failures,
        ),
        versions=endpoint_service_pb2.VersionRouting(
            ramp=[
                endpoint_service_pb2.VersionShare(version=share.version, percent=share.percent)
                for share in endpoint.versions.ramp
            ],
            pin=endpoint.versions.pin,
        ),
        etag=endpoint.etag,
        created_at=timestamp(endpoint.created_at),
        updated_at=timestamp(endpoint.updated_at),
        draining_since=None if endpoint.draining_since is None else timestamp(endpoint.draining_since),
        offered_to=endpoint.offered_to or "",
    )


def endpoint_message_for(endpoint: Endpoint, namespace: str) -> endpoint_service_pb2.Endpoint:
    """Return an endpoint as a namespace sees it: callers see nothing of other callers.

    Of the allow list and of the weights they see their own entries. Who is offered the endpoint sees all.
    """
    message = endpoint_message(endpoint)
    if namespace not in {endpoint.namespace, endpoint.offered_to}:
        message.offered_to = ""
        own = [rule for rule in message.allow if rule.namespace == namespace]
        del message.allow[:]
        message.allow.extend(own)
        own_weights = [entry for entry in message.fair_weights if entry.namespace == namespace]
        del message.fair_weights[:]
        message.fair_weights.extend(own_weights)
    return message


def endpoint_settings(message: endpoint_service_pb2.Endpoint) -> EndpointSettings:
    """Read what an owner decides; what makes no sense is left to the command.

    Raises:
        InvalidRequestError: a value is none that the field has a meaning for.
    """
    return EndpointSettings(
        task_queue=message.task_queue,
        description=message.description,
        allow=tuple(
            AllowRule(namespace=NamespaceName(rule.namespace), service=rule.service, operation=rule.operation)
            for rule in message.allow
        ),
        retry=_retry(message.retry),
        max_payload_bytes=message.max_payload_bytes,
        max_schedule_to_close=_duration(message, "max_schedule_to_close_ms", _DEFAULT_LIFE),
        fair_weights=tuple(
            FairWeight(namespace=NamespaceName(entry.namespace), weight=entry.weight)
            for entry in message.fair_weights
        ),
        max_operations_per_second=message.max_operations_per_second,
        max_open_operations=message.max_open_operations,
        retention=_duration(message, "retention_ms", DEFAULT_RETENTION),
        circuit=_circuit(message.circuit),
        versions=VersionSettings(
            ramp=tuple(
                VersionShare(version=share.version, percent=share.percent) for share in message.versions.ramp
            ),
            pin=message.versions.pin,
        ),
    )


def changed_settings(paths: Iterable[str]) -> frozenset[str]:
    """Return the settings that an update mask names.

    Raises:
        InvalidRequestError: it names none, or something that cannot change.
    """
    named = list(paths)
    unknown = sorted(set(named) - UPDATABLE.keys())
    if unknown or not named:
        raise InvalidRequestError(
            f"the update mask names {', '.join(unknown)}" if unknown else "the update mask names nothing",
            reason="UPDATE_MASK",
            fix=f"It may name: {', '.join(UPDATABLE)}.",
        )
    return frozenset(UPDATABLE[path] for path in named)


def _duration(message: endpoint_service_pb2.Endpoint, field: str, default: timedelta) -> timedelta:
    """Return a duration in milliseconds that may be absent."""
    milliseconds: int = getattr(message, field)
    if abs(milliseconds) > _MOST_MS:
        raise InvalidRequestError(
            f"{field} is out of range",
            reason="ENDPOINT_SETTINGS",
            fix="Give a time that a person would wait for.",
        )
    return timedelta(milliseconds=milliseconds) if milliseconds else default


def _circuit(message: endpoint_service_pb2.CircuitBreaker) -> CircuitSettings:
    failures = 0 if message.off else message.failures or _DEFAULT_CIRCUIT.failures
    open_for = message.open_ms * _MILLISECOND if message.open_ms else _DEFAULT_CIRCUIT.open_for
    return CircuitSettings(failures=failures, open_for=open_for)


def _retry(message: endpoint_service_pb2.RetryPolicy) -> RetrySettings:
    if message.on_exhausted not in endpoint_service_pb2.OnExhausted.values():
        raise InvalidRequestError(
            "on_exhausted has an unknown value",
            reason="ENDPOINT_SETTINGS",
            fix="Park or fail; or update the gateway.",
        )
    initial, longest = message.initial_interval_ms, message.max_interval_ms
    return RetrySettings(
        initial_interval=initial * _MILLISECOND if initial else _DEFAULT_RETRY.initial_interval,
        max_interval=longest * _MILLISECOND if longest else _DEFAULT_RETRY.max_interval,
        max_attempts=message.max_attempts,
        park_when_exhausted=message.on_exhausted != endpoint_service_pb2.ON_EXHAUSTED_FAIL,
    )
