"""Why an operation is where it is, in one sentence: what it waits for, or how and when it ended."""

from datetime import datetime
from typing import Any

from isthmus.cli.output import printable, show

FIELDS = (
    "operation_id",
    "state",
    "waiting",
    "waiting_since",
    "waiting_until",
    "waiting_reason",
    "attempt",
    "attempts_spent",
    "last_attempt_end",
    "last_attempt_error",
    "worker",
    "lease_expires_at",
    "last_heartbeat_at",
    "pollers",
    "cancel_requested",
    "statement",
    "closed_at",
)
_TIMEOUTS = {
    "timed_out_schedule_to_start": "no worker took it within its schedule-to-start timeout",
    "timed_out_start_to_close": "it ran longer than its start-to-close timeout",
    "timed_out_schedule_to_close": "it lived longer than its schedule-to-close timeout",
}


def why(document: dict[str, Any]) -> str:
    """Return the sentence about an operation's document. The gateway's word, not a proof."""
    sentence = _waiting(document) if document["waiting"] else _ended(document)
    # Names that workers and errors gave themselves are in it.
    return printable(sentence).replace("\n", " ")


def why_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return the cause as data, and the sentence."""
    return {name: document[name] for name in FIELDS} | {"sentence": why(document)}


def _waiting(document: dict[str, Any]) -> str:
    cause = document["waiting"].replace("_", " ")
    since = _time(document["waiting_since"])
    return f"{document['operation_id']} waits since {since} ({cause}): {document['waiting_reason']}."


def _ended(document: dict[str, Any]) -> str:
    name, at = document["operation_id"], _time(document["closed_at"])
    state, statement = document["state"].replace("_", " "), document["statement"]
    caller, handler = document["caller_namespace"], document["handler_namespace"]
    verb = "was " if state in {"canceled", "denied"} else ""
    match statement:
        case None:
            how = f"on attempt {document['attempt']}, by an outcome that {handler} sealed"
        case "terminated":
            verb, state = "was ", "terminated"
            how = (
                f"by the owner of endpoint {document['endpoint']} or the platform "
                f"(isthmus audit query --operation {name} says by whom and why)"
            )
        case "canceled":
            how = f"because {caller} asked for it and no worker had an outcome"
        case "exhausted":
            how = (
                f"because its {document['attempts_spent']} attempts were used up without an outcome, "
                f"the last one by {document['last_attempt_error']}"
            )
        case "denied":
            how = "because it was not approved"
        case _:
            how = f"because {_TIMEOUTS.get(statement, statement)}"
    return f"{name} {verb}{state} at {at} {how}."


def _time(moment: datetime | None) -> str:
    return f"{show(moment)} UTC"
