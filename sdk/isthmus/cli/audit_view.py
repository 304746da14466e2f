"""Audit events as rows: when, who, what, on which route, which digest, by which rule, how it ended."""

from typing import Any

from isthmus.cli.moment import moment_of
from isthmus.cli.resource import document_of
from isthmus.v1 import audit_pb2, audit_service_pb2

COLUMNS = ("time", "who", "what", "route", "operation_id", "digest", "rule", "ended")
_DIGEST_CHARS = 12


def describe_record(record: audit_service_pb2.AuditRecord) -> dict[str, Any]:
    """Return all that a record says, flat. Raises DecodeError when the event does not parse."""
    event = audit_pb2.AuditEvent.FromString(record.event)
    kind = event.WhichOneof("event") or "unknown"
    document: dict[str, Any] = {
        "position": record.position,
        "time": moment_of(event.occurred_at_ms),
        "actor": event.actor,
        "actor_namespace": event.actor_namespace,
        "event": kind,
    }
    if kind != "unknown":
        details = document_of(getattr(event, kind))
        reference = details.pop("operation", None)
        document |= reference if isinstance(reference, dict) else {"operation": reference}
        document |= details
    return document


def audit_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the table for a described record."""
    digest = document.get("outcome_digest") or document.get("request_digest") or document.get("digest")
    route = "/".join(
        str(document[name]) for name in ("endpoint", "service", "operation") if document.get(name)
    )
    return {
        "time": document["time"],
        "who": document["actor"] or document["actor_namespace"],
        "what": _what(document),
        "route": route or document.get("namespace"),
        "operation_id": document.get("operation_id"),
        "digest": (digest or document.get("keyset_hash") or "")[:_DIGEST_CHARS],
        "rule": document.get("rule"),
        "ended": _ended(document),
    }


def _what(document: dict[str, Any]) -> str:
    event = str(document["event"])
    match event:
        case "operation_started" if document["session_id"]:
            return f"started, dispatched to {document['worker'] or 'a worker'}"
        case "request_denied":
            return f"denied: {document['action']}"
        case "task_dispatched":
            return f"dispatched to {document['worker'] or 'a worker'}, attempt {document['attempt']}"
        case "attempt_ended":
            cause = " ".join(str(part) for part in (document["cause"], document["error_type"]) if part)
            return f"attempt {document['attempt']} ended: {cause}"
        case "operation_redriven":
            return f"redriven after {document['attempts']} attempts ({document['error_type']})"
        case "endpoint_changed":
            return f"endpoint {document['change']}"
        case "keyset_published" | "endpoint_record_published":
            what = event.removesuffix("_published").replace("_", " ")
            return f"{what} {document['version']} published"
        case "store_restored":
            taken_at = moment_of(int(document["backup_taken_at_ms"]))
            return f"store restored from a backup of {taken_at:%Y-%m-%d %H:%M:%S}"
        case "authentication_failed":
            return f"not authenticated: {document['reason']} ({document['count']} times)"
        case _:
            return _circuit(document) if event.startswith("circuit_") else event.replace("_", " ")


def _circuit(document: dict[str, Any]) -> str:
    whose = f"circuit of {document['caller_namespace'] or 'every caller'}"
    if document["event"] == "circuit_closed":
        return f"{whose} closed: {document['cause'].replace('_', ' ')}"
    return f"{whose} opened after {document['failures']} failures in a row ({document['error_type']})"


def _ended(document: dict[str, Any]) -> str | None:
    if document["event"] != "operation_ended":
        return None
    state, statement = str(document["state"]), str(document["statement"])
    if statement == "unspecified":
        return state
    return f"{state} (gateway: {' because: '.join(filter(None, (statement, document.get('reason'))))})"
