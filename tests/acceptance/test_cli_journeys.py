"""What people do with the command line, as processes: register, call, rotate keys under traffic, audit."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.cli_process import CommandLine, development, wait_for_line
from tests.acceptance.deployment.deadline import await_that

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

HANDLERS = """
import time

import nexusrpc
from nexusrpc.handler import service_handler, sync_operation


@nexusrpc.service
class Payments:
    charge: nexusrpc.Operation[dict, dict]
    refuse: nexusrpc.Operation[dict, dict]


@service_handler(service=Payments)
class PaymentsHandler:
    @sync_operation
    async def charge(self, ctx, input: dict) -> dict:
        return {"charged": input["cents"]}

    @sync_operation
    async def refuse(self, ctx, input: dict) -> dict:
        raise nexusrpc.OperationError("no money", state=nexusrpc.OperationErrorState.FAILED)
"""


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway, two teams, and an endpoint that the application team serves."""
    directory = tmp_path_factory.mktemp("journeys") / "dev"
    with development(directory, demo_teams=False) as command_line:
        (directory / "payments_service.py").write_text(HANDLERS)
        created = command_line(
            "endpoint", "create", "payments", "--allow", "data-team/Payments", profile="app-team"
        )
        assert created.code == 0, created.err
        yield command_line


@pytest.fixture(scope="module")
def served(isthmus: CommandLine) -> Iterator[CommandLine]:
    """The same, with a worker that runs."""
    serving = ("worker", "run", "payments_service:PaymentsHandler", "--task-queue", "payments")
    with isthmus.background(*serving, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue payments")
        yield isthmus
    assert worker.returncode == 0


def test_endpoint_is_seen_by_both_when_it_is_registered(isthmus: CommandLine) -> None:
    """Its owner changes it; who may call it sees it; its owner alone deletes it."""
    assert isthmus("endpoint", "create", "refunds", "--allow", "data-team", profile="app-team").code == 0
    again = isthmus("endpoint", "create", "refunds", profile="app-team")
    assert (again.code, again.out) == (5, "")
    changed = isthmus(
        "endpoint",
        "update",
        "refunds",
        "--description",
        "money back",
        "--max-attempts",
        "3",
        profile="app-team",
    )
    assert changed.json["retry"]["max_attempts"] == 3
    assert changed.json["allow"] == ["data-team"]
    assert "refunds" in {endpoint["name"] for endpoint in isthmus("endpoint", "list").json}
    assert isthmus("endpoint", "describe", "refunds").json["description"] == "money back"
    assert isthmus("endpoint", "delete", "refunds", "--yes").code in {3, 4}
    assert isthmus("endpoint", "delete", "refunds", "--yes", profile="app-team").code == 0
    assert isthmus("endpoint", "describe", "refunds").code == 4


def test_call_is_answered_when_a_worker_serves_it(served: CommandLine, tmp_path: Path) -> None:
    """Input by --set, from stdin and from a file; the same id attaches, another input conflicts."""
    by_set = served("call", "payments", "Payments", "charge", "--set", "cents=300", "--id", "order-1")
    assert (by_set.code, by_set.json["result"]) == (0, {"charged": 300})
    by_stdin = served("call", "payments", "Payments", "charge", "--input", "-", stdin='{"cents": 5}')
    assert by_stdin.json["result"] == {"charged": 5}
    path = tmp_path / "input.json"
    path.write_text('{"cents": 7}')
    by_file = served("call", "payments", "Payments", "charge", "--input", str(path))
    assert by_file.json["result"] == {"charged": 7}
    again = served("call", "payments", "Payments", "charge", "--set", "cents=300", "--id", "order-1")
    assert again.json["operation_id"] == by_set.json["operation_id"]
    other = served("call", "payments", "Payments", "charge", "--set", "cents=999", "--id", "order-1")
    assert (other.code, other.out) == (5, "")


def test_call_exits_with_one_when_the_operation_fails(served: CommandLine) -> None:
    """The handler's own words on stderr, a document for programs on stdout."""
    refused = served("call", "payments", "Payments", "refuse", "--set", "cents=1")
    assert refused.code == 1
    assert "no money" in refused.err
    assert (refused.json["state"], refused.json["attested"]) == ("failed", True)


def test_call_exits_with_three_when_the_allow_list_does_not_name_it(served: CommandLine) -> None:
    """Denied, and the denial is in the audit log."""
    denied = served("call", "payments", "Secrets", "read")
    assert denied.code == 3
    events = served("audit", "query", "--since", "10m", "--type", "request_denied", profile="app-team").json
    assert any(event["service"] == "Secrets" and event["actor"] == "data-team/developer" for event in events)


def test_operation_is_awaited_and_canceled_when_nobody_serves_it(isthmus: CommandLine) -> None:
    """Detached, it names its waiting cause; a wait that is over exits with seven; a cancel ends it."""
    assert isthmus("endpoint", "create", "idle", "--allow", "data-team", profile="app-team").code == 0
    started = isthmus("call", "idle", "Payments", "charge", "--set", "cents=1", "--detach")
    operation_id = started.json["operation_id"]
    described = isthmus("operation", "describe", operation_id).json
    assert (described["state"], described["waiting"]) == ("scheduled", "no_poller")
    waited = isthmus("operation", "wait", operation_id, "--timeout", "1500ms")
    assert waited.code == 7
    assert "no poller" in waited.err
    assert f"isthmus operation wait {operation_id}" in waited.err
    handled = isthmus("operation", "list", "--role", "handler", "--endpoint", "idle", profile="app-team").json
    assert [operation["operation_id"] for operation in handled] == [operation_id]
    assert isthmus("operation", "cancel", operation_id).json["state"] == "canceled"
    ended = isthmus("operation", "wait", operation_id)
    assert (ended.code, ended.json["state"]) == (1, "canceled")
    assert isthmus("operation", "describe", "op-aaaaaaaaaaaaaaaaaaaaaaaaaa").code == 4


def test_no_call_fails_when_keys_rotate_during_traffic(served: CommandLine) -> None:
    """Both teams rotate while calls go on; neither worker nor callers are restarted."""
    stop = threading.Event()
    failed: list[str] = []
    done: list[int] = []

    def call_again_and_again(lane: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answer = served(
                "call", "payments", "Payments", "charge", "--set", f"cents={number}", "--timeout", "60s"
            )
            if answer.code != 0 or answer.json["result"] != {"charged": number}:
                failed.append(f"{lane}/{number}: {answer.code} {answer.err}")
            done.append(number)

    def await_another_call() -> None:
        """When one of them ends, others are under way, and stay so while keys change."""
        ended = len(done)
        await_that(lambda: len(done) > ended, "the end of a call", seconds=60)

    before = served("keys", "show", profile="app-team").json
    lanes = [threading.Thread(target=call_again_and_again, args=(lane,)) for lane in range(2)]
    for lane in lanes:
        lane.start()
    try:
        for team in ("app-team", "data-team"):
            await_another_call()
            rotated = served("keys", "rotate", "--wait", "1s", profile=team)
            assert rotated.code == 0, rotated.err
        await_another_call()
    finally:
        stop.set()
        for lane in lanes:
            lane.join()
    assert failed == []
    after = served("keys", "show", profile="app-team").json
    old = {key["key_id"] for key in before["keys"]}
    states = {key["key_id"]: key["state"] for key in after["keys"]}
    assert {states[key_id] for key_id in old} == {"decrypt-only", "verify-only"}
    assert {state for key_id, state in states.items() if key_id not in old} == {"active"}
    assert after["fingerprint"] == before["fingerprint"]


def test_audit_tells_who_called_what_when_it_is_queried(served: CommandLine) -> None:
    """Filters combine; the table has a line for people; tail follows."""
    called = served("call", "payments", "Payments", "charge", "--set", "cents=42")
    operation_id = called.json["operation_id"]
    events = served(
        "audit", "query", "--endpoint", "payments", "--operation", operation_id, "--since", "1h"
    ).json
    assert [event["event"] for event in events] == ["operation_started", "operation_ended"]
    assert events[0]["worker"]
    assert events[0]["actor"] == "data-team/developer"
    assert events[0]["rule"].startswith("allow:payments")
    assert events[0]["request_digest"] == events[1]["request_digest"]
    assert events[1]["state"] == "succeeded"
    assert served("audit", "query", "--until", "2020-01-01T00:00").json == []
    tailed = served("audit", "tail", "--operation", operation_id, "--last", "10", "--count", "2")
    assert len(tailed.out.splitlines()) == 2
    shown = served("--output", "table", "audit", "query", "--operation", operation_id)
    assert "payments/Payments/charge" in shown.out


def test_completions_are_printed_once_when_they_are_followed(served: CommandLine) -> None:
    """What was printed is acknowledged; cursors are listed and forgotten."""
    assert served("completions", "follow", "nightly", "--no-wait").out == ""
    called = [
        served("call", "payments", "Payments", operation, "--set", "cents=42").json
        for operation in ("charge", "refuse")
    ]
    first = served("completions", "follow", "nightly", "--count", "1").json
    assert first["operation_id"] == called[0]["operation_id"]
    assert (first["status"], first["endpoint"]) == ("succeeded", "payments")
    rest = served("--output", "table", "completions", "follow", "nightly", "--no-wait").out.splitlines()
    assert ["payments/Payments/refuse" in line and "failed" in line for line in rest] == [True]
    assert served("completions", "follow", "nightly", "--no-wait").out == ""
    listed = {cursor["name"]: cursor for cursor in served("completions", "list").json}
    assert listed["nightly"]["behind"] >= 0
    assert served("completions", "delete", "nightly").code == 0


def test_trust_is_explicit_when_a_pin_is_changed(isthmus: CommandLine) -> None:
    """A pin names a fingerprint; another one for the same team is refused until it is removed."""
    shown = isthmus("keys", "show", profile="app-team").json["fingerprint"]
    pinned = {entry["namespace"]: entry for entry in isthmus("trust", "list").json}
    assert pinned["app-team"]["fingerprint"] == shown
    wrong = "SHA256:" + "0" * 64
    refused = isthmus("trust", "add", "app-team", "--fingerprint", wrong)
    assert refused.code == 2
    assert isthmus("trust", "add", "ai-team", "--fingerprint", wrong, "--endpoint", "agents").code == 0
    assert isthmus("trust", "remove", "ai-team").code == 0
    assert isthmus("trust", "remove", "ai-team").code == 4
    assert isthmus("trust", "add", "ai-team", "--fingerprint", "SHA256:abc").code == 2


def test_credential_says_who_it_is_when_it_is_asked(isthmus: CommandLine) -> None:
    """The platform's profile administers; a team's does not."""
    assert isthmus("whoami").json["principal"] == "data-team/developer"
    assert isthmus("whoami", profile="platform").json["platform"] is True
    assert isthmus("namespace", "create", "ai-team").code == 3
    assert isthmus("namespace", "create", "ai-team", profile="platform").code == 0
    assert isthmus("namespace", "describe", "ai-team").json["name"] == "ai-team"
    assert {"app-team", "data-team"} <= {found["name"] for found in isthmus("namespace", "list").json}


def test_new_team_gets_going_when_it_makes_its_own_keys(isthmus: CommandLine, tmp_path: Path) -> None:
    """Keys init, keys publish: the passphrase from a file, root and signer in files of their own."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a long one\n")
    passphrase.chmod(0o600)
    isthmus.environment["ISTHMUS_PASSPHRASE_FILE"] = str(passphrase)
    isthmus.environment["ISTHMUS_KEYRING"] = str(tmp_path / "keys" / "keyring.json")
    root = str(tmp_path / "root.json")
    try:
        made = isthmus("keys", "init", "--root", root, "--namespace", "data-team")
        assert made.code == 0, made.err
        assert made.json["trust_domain"] == "dev.isthmus.internal"
        assert isthmus("keys", "init", "--root", root, "--namespace", "data-team").code == 5
        assert (tmp_path / "keys" / "keyring.json.signer").exists()
        assert isthmus("keys", "publish", "--signer", str(tmp_path / "nosuch")).code == 2
        # Another root vouches for the keyset that is published: nothing is published over it.
        assert isthmus("keys", "publish").code == 1
    finally:
        del isthmus.environment["ISTHMUS_PASSPHRASE_FILE"], isthmus.environment["ISTHMUS_KEYRING"]


def test_three_people_hold_the_root_when_they_signed_for_it(isthmus: CommandLine, tmp_path: Path) -> None:
    """From a root of one key to two of three; the old pin holds, because the old key signed, too."""
    about = isthmus("keys", "show").json
    for name in ("alice", "bob", "carol"):
        new = isthmus(
            *("root", "new", str(tmp_path / name), "--namespace", about["namespace"]),
            *("--trust-domain", about["trust_domain"]),
        )
        assert new.code == 0, new.err
        (tmp_path / f"{name}.pub").write_text(new.json["public"])
    draft = str(tmp_path / "draft.json")
    keys = [f"--key={tmp_path / name}.pub" for name in ("alice", "bob", "carol")]
    drafted = isthmus("root", "draft", draft, *keys, "--threshold", "2")
    assert drafted.json["missing_signatures"] == [
        "2 of the new root",
        "1 of the old root",
        "2 of the delegation",
    ]
    assert isthmus("root", "adopt", draft).code == 1
    old = isthmus.directory / "data-team" / "keyring.json.root"
    for root in (tmp_path / "alice", tmp_path / "carol"):
        assert isthmus("root", "sign", draft, "--root", str(root)).code == 0
    signed = isthmus("root", "sign", draft, "--root", str(old))
    assert signed.code == 0, signed.err
    assert signed.json["missing_signatures"] == []
    assert isthmus("root", "show", draft).json == signed.json
    assert isthmus("root", "adopt", draft).code == 0
    published = isthmus("keys", "publish")
    assert published.code == 0, published.err
    fingerprint = isthmus("keys", "show").json["fingerprint"]
    assert fingerprint == signed.json["fingerprint"] != about["fingerprint"]

    (verdict,) = isthmus("trust", "verify", profile="app-team").json
    assert (verdict["namespace"], verdict["verdict"]) == ("data-team", "verified")
    assert verdict["keyset_version"] == published.json["keyset_version"]
    moved = isthmus("trust", "add", "data-team", "--fingerprint", fingerprint, profile="app-team")
    assert moved.json["fingerprint"] == fingerprint
    assert isthmus("trust", "verify", profile="app-team").code == 0
    assert isthmus("keys", "delegate").code == 2, "one key alone has no say any more"


def test_keyset_stays_alive_when_cron_renews_it(isthmus: CommandLine) -> None:
    """Neither root nor signer is needed, and status says until when."""
    before = isthmus("keys", "status", profile="app-team").json
    assert before["keys_not_in_this_keyring"] == []
    renewed = isthmus("keys", "renew", profile="app-team")
    assert renewed.code == 0, renewed.err
    assert renewed.json["renewed"]
    assert renewed.json["expires_at"] > before["expires_at"]
    assert isthmus("trust", "verify", "app-team").code == 0
    assert isthmus("keys", "delegate", profile="app-team").code == 0
    published = isthmus("keys", "publish", profile="app-team")
    assert published.json["published"]
    after = isthmus("keys", "status", profile="app-team").json
    assert after["delegation_expires_at"] > before["delegation_expires_at"]
    assert isthmus("trust", "verify", "app-team", "nobody").code == 1


def test_demo_teams_answer_when_dev_runs_them(tmp_path: Path) -> None:
    """The commands that isthmus dev suggests work."""
    with development(tmp_path / "dev", demo_teams=True) as isthmus:
        hub = isthmus(
            "call",
            "routes",
            "RoutePlanning",
            "find_hub",
            "--set",
            "latitude=47.46",
            "--set",
            "longitude=8.55",
        )
        assert hub.json["result"]["code"] == "FRA"
        batch = isthmus(
            "call", "routes", "RoutePlanning", "place_batch", "--input", str(isthmus.directory / "batch.json")
        )
        assert batch.json["result"]["rows"] == 20
        described = isthmus(
            "call", "datasets", "Datasets", "describe", "--set", "dataset=airports", profile="app-team"
        )
        assert described.json["result"]["rows"] > 28_000
        assert [found["name"] for found in isthmus("profile", "list").json] == [
            "app-team",
            "data-team",
            "platform",
        ]
        port = isthmus("profile", "show").json["address"].rpartition(":")[2]
        second = isthmus("dev", "--dir", str(tmp_path / "other"), "--port", port)
        assert second.code == 1
        assert "choose another one with --port" in second.err


def test_teams_go_on_when_the_gateway_lost_its_database(tmp_path: Path) -> None:
    """They publish their keysets and endpoints again; keys and pins are those that they had."""
    hub = (
        "call",
        "routes",
        "RoutePlanning",
        "find_hub",
        "--set",
        "latitude=47.46",
        "--set",
        "longitude=8.55",
    )
    with development(tmp_path / "dev", demo_teams=True) as isthmus:
        assert isthmus(*hub).code == 0
    lost = list((tmp_path / "dev" / "gateway").rglob("*.db*"))
    assert lost
    for file in lost:
        file.unlink()
    with development(tmp_path / "dev", demo_teams=True) as isthmus:
        again = isthmus(*hub)
        assert again.code == 0, again.err
        assert isthmus("keys", "show").json["keyset_version"] == 2


def test_second_dev_is_refused_when_one_runs_on_the_directory(isthmus: CommandLine) -> None:
    """And leaves its profiles alone: they name the port of the one that runs."""
    profiles = (isthmus.directory / "profiles.toml").read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    refused = isthmus.run_apart(["dev", "--dir", str(isthmus.directory), "--port", port])
    assert refused.code != 0
    assert "another isthmus dev runs on" in refused.err
    assert (isthmus.directory / "profiles.toml").read_text() == profiles
    assert isthmus("whoami").code == 0


def test_worker_finishes_its_tasks_when_it_is_told_to_stop(isthmus: CommandLine) -> None:
    """SIGTERM drains: what was begun is answered."""
    (isthmus.directory / "slow_service.py").write_text(
        HANDLERS.replace(
            'return {"charged"', 'open("begun", "w").close(); time.sleep(1); return {"charged"'
        ).replace("async def charge", "def charge")
    )
    assert isthmus("endpoint", "create", "slow", "--allow", "data-team", profile="app-team").code == 0
    serving = ("worker", "run", "slow_service:PaymentsHandler", "--task-queue", "slow")
    with isthmus.background(*serving, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue slow")
        calling = ("call", "slow", "Payments", "charge", "--set", "cents=3", "--timeout", "20s")
        with isthmus.background(*calling) as caller:
            while not (isthmus.directory / "begun").exists():
                assert caller.poll() is None
            worker.terminate()
            out, errors = caller.communicate(timeout=30)
        assert caller.returncode == 0, errors
        assert '"charged": 3' in out
        assert worker.wait(timeout=30) == 0
