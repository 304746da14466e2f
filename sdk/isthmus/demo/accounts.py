"""Three accounts of the same calls, joined: the caller's, the handler's and the gateway's.

Nothing is lost when each batch has one operation, all three know the same operations, every operation ended
once and well, the caller has the result of each, and the handler worked on the very rows that were sent.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.demo.audit_trail import AuditTrail
from isthmus.demo.journal import Entry
from isthmus.demo.preparation import digest_rows
from isthmus.demo.provisioning import DATASETS, ROUTES
from isthmus.demo.services import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What the three say together."""

    batches: int
    rows: int
    started: int
    """Operations that the caller started."""
    results: int
    """Operations whose result the caller has."""
    recorded: int
    """Operations that the gateway recorded as ended, exactly once and by success."""
    handler_runs: int
    """How often the handler began to work on a batch."""
    redeliveries: int
    """How often the gateway handed out a task again."""
    lost: int
    """Batches without a result."""
    repeated: int
    """Operations that ended more than once, or batches with more than one operation."""
    altered: int
    """Batches whose rows the handler saw differently than they were sent."""
    answered_back: int
    """Calls of the other direction: the application team asks the data team."""
    outcome_digest: str
    """SHA-256 over all reports in the order of their batches, hexadecimal."""
    totals: dict[str, Any]
    sample_operation_id: str
    audit_events: int

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, repeated or altered."""
        complete = self.batches == self.started == self.results == self.recorded
        return complete and self.lost == self.repeated == self.altered == 0 and self.answered_back == 1


def draw_up_accounts(
    calls: Sequence[Entry], work: Sequence[Entry], trail: AuditTrail, batches: Sequence[Batch]
) -> Accounts:
    """Join the journals of both teams with the gateway's audit log."""
    sent = {batch.number: digest_rows(batch.rows) for batch in batches}
    started = {entry["operation_id"]: entry for entry in calls if entry["event"] == "started"}
    results = {entry["operation_id"]: entry for entry in calls if entry["event"] == "result"}
    placed = {operation_id for operation_id, endpoint in trail.started.items() if endpoint == ROUTES}
    back = {operation_id for operation_id, endpoint in trail.started.items() if endpoint == DATASETS}
    reports = {entry["batch"]: entry["report"] for entry in results.values()}
    seen = {(entry["batch"], entry["digest"]) for entry in work if entry["event"] == "done"}
    succeeded = {operation_id for operation_id in placed if trail.endings.get(operation_id) == ("succeeded",)}
    ended_twice = sum(1 for operation_id in placed if len(trail.endings.get(operation_id, ())) > 1)
    return Accounts(
        batches=len(sent),
        rows=sum(len(batch.rows) for batch in batches),
        started=len(started),
        results=len(results),
        recorded=len(succeeded & set(results)),
        handler_runs=sum(1 for entry in work if entry["event"] == "begun"),
        redeliveries=sum(trail.deliveries.get(operation_id, 0) - 1 for operation_id in succeeded),
        lost=len(set(sent) - set(reports)),
        repeated=ended_twice + len(placed) - len({entry["batch"] for entry in started.values()}),
        altered=sum(
            1
            for number, digest in sent.items()
            if number in reports and (reports[number]["digest"] != digest or (number, digest) not in seen)
        ),
        answered_back=sum(1 for operation_id in back if trail.endings.get(operation_id) == ("succeeded",)),
        outcome_digest=_digest([reports[number] for number in sorted(reports)]),
        totals=_totals(list(reports.values())),
        sample_operation_id=next(
            (operation_id for operation_id, entry in started.items() if entry["batch"] == 1), ""
        ),
        audit_events=trail.events,
    )


def _digest(reports: Sequence[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for report in reports:
        digest.update(json.dumps(report, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _totals(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    groups: dict[str, int] = {}
    hubs: dict[str, int] = {}
    for report in reports:
        for total, counts in ((groups, report["groups"]), (hubs, report["hubs"])):
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
    with_hub = sum(hubs.values())
    distance_km = sum(report["distance_km"] for report in reports)
    return {
        "groups": len(groups),
        "largest_groups": dict(sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:3]),
        "busiest_hubs": dict(sorted(hubs.items(), key=lambda item: (-item[1], item[0]))[:3]),
        "mean_km_to_hub": round(distance_km / with_hub, 1) if with_hub else None,
        "unknown_timezones": sum(report["unknown_timezones"] for report in reports),
    }
