"""What an on-call engineer does: ask why an operation waits, redrive it, end it. Real faults of processes."""

from collections.abc import Iterator

import pytest
from tests.acceptance.cli_process import CommandLine
from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.on_call import on_call, start, why, worker

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with its endpoints."""
    with on_call(tmp_path_factory.mktemp("on-call") / "dev") as command_line:
        yield command_line


def test_cause_is_told_to_both_sides_when_nobody_serves_and_then_somebody_runs_it(
    isthmus: CommandLine,
) -> None:
    """No worker: who has to start one. Then the name of the one that runs it, and its lease."""
    operation_id = start(isthmus, "patient", "slow")
    assert "app-team has to start one" in why(isthmus, operation_id, "no_poller")["sentence"]
    assert ": start one, or" in why(isthmus, operation_id, "no_poller", profile="app-team")["sentence"]
    table = isthmus("--output", "table", "operation", "why", operation_id)
    assert table.out.count("\n") == 1
    assert table.out.startswith(f"{operation_id} waits since ")
    with worker(isthmus, "patient"):
        running = why(isthmus, operation_id, "running")
        assert running["worker"]
        assert f"worker {running['worker']} runs attempt 1" in running["sentence"]
        assert running["lease_expires_at"]
        # It counts as running as soon as a worker has it; only that knows when its handler begins.
        await_that((isthmus.directory / "begun").exists, "the handler begins", seconds=30)
        ended = isthmus(
            "operation", "terminate", operation_id, "--reason", "too slow", "--yes", profile="app-team"
        )
        assert ended.json["terminated"] is True
        await_that((isthmus.directory / "interrupted").exists, "the handler is interrupted", seconds=30)
    sentence = isthmus("operation", "why", operation_id).json["sentence"]
    assert "was terminated at " in sentence
    waited = isthmus("operation", "wait", operation_id)
    assert (waited.code, waited.json["state"], waited.json["error"]["kind"]) == (8, "unproven", "terminated")
    assert "terminated by force" in waited.err
    (event,) = isthmus("audit", "query", "--operation", operation_id, "--type", "operation_ended").json
    assert (event["actor"], event["reason"]) == ("app-team/developer", "too slow")


def test_cause_is_the_last_failure_when_the_handler_fails_retryably(isthmus: CommandLine) -> None:
    """Until when it waits, and what the handler said."""
    operation_id = start(isthmus, "patient", "flaky")
    with worker(isthmus, "patient"):
        found = why(isthmus, operation_id, "backoff")
    assert (found["last_attempt_end"], found["last_attempt_error"]) == ("failed", "UNAVAILABLE")
    assert found["waiting_until"] > found["waiting_since"]
    assert (
        isthmus("operation", "terminate", operation_id, "--reason", "x", "--yes", profile="platform").code
        == 4
    )
    by_platform = isthmus(
        "operation",
        "terminate",
        operation_id,
        "--caller",
        "data-team",
        "--reason",
        "x",
        "--yes",
        profile="platform",
    )
    assert by_platform.code == 0, by_platform.err


def test_cause_is_a_rejection_when_the_worker_refuses_the_request(isthmus: CommandLine) -> None:
    """A worker that serves another endpoint only turns it away; both are told what to compare."""
    operation_id = start(isthmus, "strict", "flaky")
    with worker(isthmus, "strict", "--endpoint", "another"):
        found = why(isthmus, operation_id, "rejected")
    assert found["last_attempt_end"] == "rejected"
    assert "was rejected by a worker of app-team" in found["sentence"]
    assert "isthmus trust list" in found["sentence"]


def test_cause_is_a_circuit_when_attempts_failed_in_a_row(isthmus: CommandLine) -> None:
    """Whose attempts wait, and why; the owner sees it at the endpoint, and both sides in the log."""
    (isthmus.directory / "mended").unlink(missing_ok=True)
    operation_id = start(isthmus, "brittle", "flaky")
    with worker(isthmus, "brittle"):
        found = why(isthmus, operation_id, "circuit_open")
        described = isthmus("endpoint", "describe", "brittle", profile="app-team").json
        (circuit,) = described["open_circuits"]
        assert (circuit["caller_namespace"], circuit["error_type"]) == ("data-team", "UNAVAILABLE")
        assert described["circuit"] == {"failures": 1, "open_ms": 3_600_000, "off": False}
        off = isthmus("endpoint", "update", "brittle", "--circuit-failures", "0", profile="app-team")
        assert off.json["circuit"]["off"] is True
        (isthmus.directory / "mended").touch()
        assert isthmus("operation", "wait", operation_id).json["result"] == {"done": True}
        on = isthmus("endpoint", "update", "brittle", "--circuit-failures", "1", profile="app-team")
        assert on.json["circuit"] == described["circuit"]
    assert "attempts of data-team at endpoint brittle failed in a row" in found["sentence"]
    assert found["waiting_until"] == circuit["until"]
    log = ("audit", "query", "--endpoint", "brittle", "--type", "circuit_opened", "--type", "circuit_closed")
    events = isthmus(*log, profile="app-team").json
    assert [event["event"] for event in events] == ["circuit_opened", "circuit_closed"]
    assert [event["event"] for event in isthmus(*log).json] == ["circuit_opened", "circuit_closed"]


def test_cause_is_the_handler_when_it_finishes_later(isthmus: CommandLine) -> None:
    """It holds a token; nothing of ours is waited for."""
    operation_id = start(isthmus, "patient", "later")
    with worker(isthmus, "patient"):
        found = why(isthmus, operation_id, "handler_async", profile="app-team")
    assert ": complete it, or" in found["sentence"]


def test_operation_ends_when_somebody_completes_it_from_the_command_line(isthmus: CommandLine) -> None:
    """By its token, which no command line shows, or by its id; with a result, or as failed."""
    with worker(isthmus, "patient"):
        first = start(isthmus, "patient", "later")
        why(isthmus, first, "handler_async")
        # Its handler's token is the id that it sees.
        complete = ("operation", "complete", "--token", "-", "--set", "done=true")
        completed = isthmus(*complete, profile="app-team", stdin=f"{first}\n")
        assert completed.code == 0, completed.err
        assert isthmus("operation", "wait", first).json["result"] == {"done": True}
        second = start(isthmus, "patient", "later")
        why(isthmus, second, "handler_async")
        assert isthmus("operation", "fail", second, "-m", "no", profile="app-team").code == 2
        failed = isthmus("operation", "fail", second, "--caller", "data-team", "-m", "no", profile="app-team")
        assert failed.json == {"operation_id": second, "state": "failed"}
        waited = isthmus("operation", "wait", second)
        assert (waited.code, waited.json["state"]) == (1, "failed")
        again = isthmus("operation", "fail", second, "--caller", "data-team", "-m", "no", profile="app-team")
    assert again.code == 1
    assert "ended already" in again.err


def test_parked_operations_run_again_when_the_owner_redrives_them(isthmus: CommandLine) -> None:
    """One by its id, the rest by their endpoint; the caller may do neither."""
    (isthmus.directory / "mended").unlink(missing_ok=True)
    ids = [start(isthmus, "batches", "flaky") for _ in range(3)]
    with worker(isthmus, "batches"):
        for operation_id in ids:
            assert "ask app-team to redrive it" in why(isthmus, operation_id, "parked")["sentence"]
        described = isthmus("endpoint", "describe", "batches", profile="app-team").json
        assert (described["open_operations"], described["waiting"]) == (3, {"parked": 3})
        assert described["oldest_operation"]["operation_id"] == ids[0]
        assert "open_operations" not in isthmus("endpoint", "describe", "batches").json
        assert isthmus("operation", "redrive", ids[0]).code == 3
        assert isthmus("operation", "redrive", "--endpoint", "batches").code == 3
        assert isthmus("operation", "redrive", ids[0], "--endpoint", "batches").code == 2
        (isthmus.directory / "mended").touch()
        one = isthmus("operation", "redrive", ids[0], profile="app-team")
        assert one.json == {"redriven": 1, "operations": [ids[0]]}
        rest = isthmus("operation", "redrive", "--endpoint", "batches", profile="app-team")
        assert rest.json == {"redriven": 2, "operations": ids[1:]}
        for operation_id in ids:
            assert isthmus("operation", "wait", operation_id).json["result"] == {"done": True}
    assert "succeeded at " in isthmus("operation", "why", ids[0]).json["sentence"]
    assert isthmus("operation", "redrive", ids[0], profile="app-team").code == 5
    events = isthmus("audit", "query", "--operation", ids[1], "--type", "operation_redriven").json
    assert [event["actor"] for event in events] == ["app-team/developer"]


def test_endpoint_goes_and_changes_hands_when_its_owner_says_so(isthmus: CommandLine) -> None:
    """Drained and kept; offered, accepted, and trusted by its caller."""
    settings = ("--retention", "90d", "--first-wait", "2s", "--longest-wait", "1m")
    created = isthmus("endpoint", "create", "leaving", "--allow", "data-team", *settings, profile="app-team")
    assert created.code == 0, created.err
    assert created.json["retention_ms"] == 90 * 86_400_000
    assert (created.json["retry"]["initial_interval_ms"], created.json["retry"]["max_interval_ms"]) == (
        2_000,
        60_000,
    )
    operation_id = start(isthmus, "leaving", "slow")
    assert isthmus("endpoint", "delete", "leaving", "--yes", profile="app-team").code == 5
    assert isthmus("endpoint", "delete", "leaving", "--drain", "--yes", profile="app-team").code == 0
    assert isthmus("endpoint", "describe", "leaving", profile="app-team").json["draining_since"]
    assert isthmus("call", "leaving", "Batches", "slow", "--set", "n=1", "--detach").code == 5
    assert isthmus("endpoint", "keep", "leaving", profile="app-team").code == 0
    reason = ("--reason", "x", "--yes")
    assert isthmus("operation", "terminate", operation_id, *reason, profile="app-team").code == 0
    offered = isthmus("endpoint", "offer", "leaving", "data-team", "--drain", profile="app-team")
    assert offered.code == 0, offered.err
    accepted = isthmus("endpoint", "accept", "leaving", "--task-queue", "ours")
    assert accepted.code == 0, accepted.err
    assert isthmus("endpoint", "describe", "leaving").json["namespace"] == "data-team"
    refused = isthmus("call", "leaving", "Batches", "slow", "--set", "n=1", "--detach")
    assert refused.code == 5
    assert "belongs to data-team" in refused.err
    own = isthmus("keys", "show").json["fingerprint"]
    pin = ("trust", "add", "data-team", "--fingerprint", own, "--endpoint", "leaving")
    assert isthmus(*pin).code == 2
    assert isthmus(*pin, "--move").code == 0
    assert isthmus("endpoint", "delete", "leaving", "--yes").code == 0


def test_call_is_refused_or_given_up_when_it_is_too_large_or_waits_too_long(isthmus: CommandLine) -> None:
    """The owner says how large an input may be, the caller how long it waits for a worker."""
    narrowed = isthmus("endpoint", "update", "strict", "--max-payload-bytes", "4000", profile="app-team")
    assert narrowed.json["max_payload_bytes"] == 4000
    call = ("call", "strict", "Batches", "flaky")
    refused = isthmus(*call, "--set", f"text={'x' * 4000}")
    assert refused.code != 0
    assert "PAYLOAD_TOO_LARGE" in refused.err
    widened = isthmus("endpoint", "update", "strict", "--max-payload-bytes", "0", profile="app-team")
    assert widened.json["max_payload_bytes"] == 0
    given_up = isthmus(*call, "--schedule-to-start", "1s", "--start-to-close", "1h")
    assert given_up.code == 1, given_up.err
    assert "schedule_to_start" in given_up.out + given_up.err, given_up


def test_nothing_ends_when_it_is_not_confirmed(isthmus: CommandLine) -> None:
    """By force is for good: the command asks, and takes no answer for no."""
    operation_id = start(isthmus, "strict", "slow")
    asked = isthmus("operation", "terminate", operation_id, "--reason", "x", profile="app-team", stdin="n\n")
    assert asked.code == 1
    assert "by force, for good?" in asked.err
    assert isthmus("operation", "describe", operation_id).json["closed_at"] is None
    confirmed = isthmus(
        "operation", "terminate", operation_id, "--reason", "x", profile="app-team", stdin="y\n"
    )
    assert confirmed.json["operation"]["statement"] == "terminated"
    assert (
        isthmus("operation", "terminate", operation_id, "--reason", "", "--yes", profile="app-team").code == 2
    )
