"""Namespaces, endpoints and keysets: rows and statements."""

import json
from datetime import timedelta

from sqlalchemy import bindparam, func, literal_column, select

from isthmus.endpoints.endpoint import (
    AllowRule,
    CircuitSettings,
    Endpoint,
    FairWeight,
    RecordTerms,
    RetrySettings,
)
from isthmus.endpoints.versions import VersionSettings, VersionShare
from isthmus.gateway.ports import Namespace, StoredEndpointRecord, StoredKeyset
from isthmus.gateway.store.moments import (
    duration_to_microseconds,
    from_microseconds,
    optional_from_microseconds,
    optional_to_microseconds,
    to_microseconds,
)
from isthmus.gateway.store.schema import (
    endpoint_records,
    endpoints,
    is_current,
    is_draining,
    is_routed,
    keysets,
    namespaces,
)
from isthmus.gateway.store.statements import FROM_THE_FIRST, Row, compile_query, insert_many
from isthmus.wire.names import EndpointName, NamespaceName

INSERT_NAMESPACE = insert_many(namespaces)
SELECT_NAMESPACE = compile_query(select(namespaces).where(namespaces.c.name == bindparam("name")), "name")
LIST_NAMESPACES = compile_query(
    select(namespaces)
    .where(namespaces.c.name > bindparam("after"))
    .order_by(namespaces.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "after",
    "most",
)

PUT_ENDPOINT = insert_many(endpoints, replace_by=("name",))
SELECT_ENDPOINT = compile_query(select(endpoints).where(endpoints.c.name == bindparam("name")), "name")
_CURRENT = (
    select(endpoints)
    .where(is_current, endpoints.c.name > bindparam("after"))
    .order_by(endpoints.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
)
LIST_ENDPOINTS = compile_query(_CURRENT, "after", "most")
LIST_ROUTED = compile_query(
    select(endpoints)
    .where(is_routed, is_current, endpoints.c.name > bindparam("after"))
    .order_by(endpoints.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "after",
    "most",
)
LIST_DRAINING = compile_query(
    select(endpoints)
    .where(is_draining, endpoints.c.name > bindparam("after"))
    .order_by(endpoints.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "after",
    "most",
)
# Deleted ones too: what was started there is kept for its time.
LIST_EVERY_ENDPOINT = compile_query(
    select(endpoints)
    .where(endpoints.c.name > bindparam("after"))
    .order_by(endpoints.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "after",
    "most",
)
LIST_ENDPOINTS_OF_NAMESPACE = compile_query(
    _CURRENT.where(endpoints.c.namespace == bindparam("namespace")), "after", "namespace", "most"
)

PUT_KEYSET = insert_many(keysets, replace_by=("namespace", "version"))
SELECT_KEYSET = compile_query(
    select(keysets)
    .where(keysets.c.namespace == bindparam("namespace"))
    # Peers believe nothing of the time before there was more than one signature.
    .where(func.length(keysets.c.message) > literal_column("0"))
    .order_by(keysets.c.version.desc())
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "namespace",
    "most",
)


PUT_ENDPOINT_RECORD = insert_many(endpoint_records, replace_by=("endpoint", "namespace", "version"))
# The newest first.
SELECT_ENDPOINT_RECORDS = compile_query(
    select(endpoint_records)
    .where(
        endpoint_records.c.endpoint == bindparam("endpoint"),
        endpoint_records.c.namespace == bindparam("namespace"),
    )
    .order_by(endpoint_records.c.version.desc())
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "endpoint",
    "namespace",
    "most",
)


def namespace_row(namespace: Namespace) -> Row:
    """Return the row of a namespace, in the order of the columns."""
    return namespace.name, namespace.description, to_microseconds(namespace.created_at)


def namespace_from_row(row: Row) -> Namespace:
    """Return the namespace of a row of all columns."""
    name, description, created_at = row
    return Namespace(
        name=NamespaceName(name), description=description, created_at=from_microseconds(created_at)
    )


def endpoint_row(endpoint: Endpoint) -> Row:
    """Return the row of an endpoint, in the order of the columns."""
    allow = [[rule.namespace, rule.service, rule.operation] for rule in endpoint.allow]
    weights = [[entry.namespace, entry.weight] for entry in endpoint.fair_weights]
    return (
        endpoint.name,
        endpoint.namespace,
        endpoint.task_queue,
        endpoint.description,
        json.dumps(allow, separators=(",", ":")),
        duration_to_microseconds(endpoint.retry.initial_interval),
        duration_to_microseconds(endpoint.retry.max_interval),
        endpoint.retry.max_attempts,
        int(endpoint.retry.park_when_exhausted),
        endpoint.max_payload_bytes,
        duration_to_microseconds(endpoint.max_schedule_to_close),
        endpoint.etag,
        to_microseconds(endpoint.created_at),
        to_microseconds(endpoint.updated_at),
        optional_to_microseconds(endpoint.deleted_at),
        json.dumps(weights, separators=(",", ":")),
        endpoint.max_operations_per_second,
        endpoint.max_open_operations,
        duration_to_microseconds(endpoint.retention),
        optional_to_microseconds(endpoint.draining_since),
        endpoint.offered_to or "",
        endpoint.circuit.failures,
        duration_to_microseconds(endpoint.circuit.open_for),
        _versions_text(endpoint.versions),
        _terms_text(endpoint.record),
    )


def endpoint_from_row(row: Row) -> Endpoint:
    """Return the endpoint of a row of all columns."""
    (
        name,
        namespace,
        task_queue,
        description,
        allow_rules,
        initial_interval,
        max_interval,
        max_attempts,
        park_when_exhausted,
        max_payload_bytes,
        max_schedule_to_close,
        etag,
        created_at,
        updated_at,
        deleted_at,
        fair_weights,
        max_operations_per_second,
        max_open_operations,
        retention,
        draining_since,
        offered_to,
        circuit_failures,
        circuit_open_for,
        versions,
        record,
    ) = row
    return Endpoint(
        name=EndpointName(name),
        namespace=NamespaceName(namespace),
        task_queue=task_queue,
        description=description,
        allow=tuple(
            AllowRule(namespace=NamespaceName(caller), service=service, operation=operation)
            for caller, service, operation in json.loads(allow_rules)
        ),
        retry=RetrySettings(
            initial_interval=timedelta(microseconds=initial_interval),
            max_interval=timedelta(microseconds=max_interval),
            max_attempts=max_attempts,
            park_when_exhausted=bool(park_when_exhausted),
        ),
        max_payload_bytes=max_payload_bytes,
        max_schedule_to_close=timedelta(microseconds=max_schedule_to_close),
        etag=etag,
        created_at=from_microseconds(created_at),
        updated_at=from_microseconds(updated_at),
        deleted_at=optional_from_microseconds(deleted_at),
        fair_weights=tuple(
            FairWeight(namespace=NamespaceName(caller), weight=weight)
            for caller, weight in json.loads(fair_weights)
        ),
        max_operations_per_second=max_operations_per_second,
        max_open_operations=max_open_operations,
        retention=timedelta(microseconds=retention),
        draining_since=optional_from_microseconds(draining_since),
        offered_to=NamespaceName(offered_to) if offered_to else None,
        circuit=CircuitSettings(failures=circuit_failures, open_for=timedelta(microseconds=circuit_open_for)),
        versions=_versions(versions),
        record=_terms(record),
    )


def _versions_text(versions: VersionSettings) -> str:
    if not versions:
        return ""
    ramp = [[share.version, share.percent] for share in versions.ramp]
    return json.dumps({"ramp": ramp, "pin": versions.pin}, separators=(",", ":"))


def _versions(text: str) -> VersionSettings:
    if not text:
        return VersionSettings()
    said = json.loads(text)
    ramp = tuple(VersionShare(version=version, percent=percent) for version, percent in said["ramp"])
    return VersionSettings(ramp=ramp, pin=said["pin"])


def _terms_text(terms: RecordTerms | None) -> str:
    if terms is None:
        return ""
    said = {
        "version": terms.version,
        "recipients": terms.recipients,
        "contract_hash": terms.contract_hash.hex(),
    }
    return json.dumps(said, separators=(",", ":"))


def _terms(text: str) -> RecordTerms | None:
    if not text:
        return None
    said = json.loads(text)
    return RecordTerms(
        version=said["version"],
        recipients=tuple(said["recipients"]),
        contract_hash=bytes.fromhex(said["contract_hash"]),
    )


def endpoint_record_row(record: StoredEndpointRecord) -> Row:
    """Return the row of a record, in the order of the columns."""
    return (
        record.endpoint,
        record.namespace,
        record.version,
        record.record,
        record.message,
        to_microseconds(record.published_at),
    )


def endpoint_record_from_row(row: Row) -> StoredEndpointRecord:
    """Return the record of a row of all columns."""
    endpoint, namespace, version, record, message, published_at = row
    return StoredEndpointRecord(
        endpoint=EndpointName(endpoint),
        namespace=NamespaceName(namespace),
        version=version,
        record=record,
        message=message,
        published_at=from_microseconds(published_at),
    )


def keyset_row(keyset: StoredKeyset) -> Row:
    """Return the row of a keyset, in the order of the columns."""
    return (
        keyset.namespace,
        keyset.version,
        keyset.keyset,
        b"",
        b"",
        to_microseconds(keyset.published_at),
        keyset.message,
    )


def keyset_from_row(row: Row) -> StoredKeyset:
    """Return the keyset of a row of all columns."""
    namespace, version, keyset, _, _, published_at, message = row
    return StoredKeyset(
        namespace=NamespaceName(namespace),
        version=version,
        keyset=keyset,
        message=message,
        published_at=from_microseconds(published_at),
    )
