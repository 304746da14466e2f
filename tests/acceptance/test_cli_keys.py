"""The end of keys: what needs them, sealing it to another one, destroying, revoking; as processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.cli_process import CommandLine, development, wait_for_line
from tests.acceptance.test_cli_journeys import HANDLERS

from isthmus.cli import key_settling

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]
SERVING = ("worker", "run", "payments_service:PaymentsHandler", "--task-queue", "payments")


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway, and an endpoint that nobody serves."""
    directory = tmp_path_factory.mktemp("keys") / "dev"
    with development(directory, demo_teams=False) as command_line:
        (directory / "payments_service.py").write_text(HANDLERS)
        created = command_line(
            "endpoint", "create", "payments", "--allow", "data-team/Payments", profile="app-team"
        )
        assert created.code == 0, created.err
        yield command_line


def start(isthmus: CommandLine, name: str) -> None:
    """Start an operation that stays open until somebody serves it."""
    started = isthmus(
        *("call", "payments", "Payments", "charge", "--set", "cents=5", "--id", name, "--detach")
    )
    assert started.code == 0, started.err


def status(isthmus: CommandLine, team: str, kind: str = "encryption") -> dict[str, dict[str, Any]]:
    """Return what the status of a team's keys says, by state."""
    answer = isthmus("keys", "status", profile=team)
    assert answer.code == 0, answer.err
    return {key["state"]: key for key in answer.json["keys"] if key["kind"] == kind}


def test_key_is_destroyed_when_nothing_needs_it_any_more(isthmus: CommandLine) -> None:
    """Status foretells what would be lost; after rewrapping, the new key alone opens all of it."""
    for name in ("a", "b", "c"):
        start(isthmus, name)
    old = status(isthmus, "app-team")["active"]
    assert (old["messages"], old["open"]) == (3, 3)
    in_use = isthmus("keys", "destroy", old["key_id"], profile="app-team")
    assert (in_use.code, "rotate" in in_use.err) == (2, True)
    assert isthmus("keys", "rotate", profile="app-team").code == 0
    not_yet = isthmus("keys", "rotate", "--if-due", profile="app-team").json
    assert not_yet["rotated"] is False
    assert not_yet["due_at"] == isthmus("keys", "status", profile="app-team").json["rotation_due_at"]
    needed = isthmus("keys", "destroy", old["key_id"], profile="app-team")
    assert needed.code == 5
    assert "--lose 3" in needed.err
    assert isthmus("keys", "rewrap", old["key_id"], "--dry-run", profile="app-team").code == 0
    assert status(isthmus, "app-team")["decrypt-only"]["messages"] == 3
    rewrapped = isthmus("keys", "rewrap", old["key_id"][:8], profile="app-team")
    assert rewrapped.json == {"rewrapped": 3, "unreadable": 0, "left": 0}
    assert isthmus("keys", "destroy", old["key_id"], "--lose", "1", profile="app-team").code == 5
    dry = isthmus("keys", "destroy", old["key_id"], "--dry-run", profile="app-team")
    assert dry.code == 0
    assert "decrypt-only" in status(isthmus, "app-team")
    destroyed = isthmus("keys", "destroy", old["key_id"], profile="app-team")
    assert destroyed.code == 0, destroyed.err
    assert destroyed.json["lost"] == 0
    again = isthmus("keys", "destroy", old["key_id"], "--dry-run", profile="app-team")
    assert (again.code, again.out) == (0, "")
    assert isthmus("keys", "destroy", old["key_id"], profile="app-team").json["destroyed"] == old["key_id"]
    assert set(status(isthmus, "app-team")) == {"active", "destroyed"}
    with isthmus.background(*SERVING, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue payments")
        for name in ("a", "b", "c"):
            ended = isthmus(
                *(
                    "call",
                    "payments",
                    "Payments",
                    "charge",
                    "--set",
                    "cents=5",
                    "--id",
                    name,
                    "--timeout",
                    "30s",
                )
            )
            assert ended.json["result"] == {"charged": 5}, ended.err
    events = isthmus("audit", "query", "--type", "messages_rewrapped", profile="app-team").json
    assert [event["messages"] for event in events] == [3]


def test_status_says_until_when_a_count_may_grow_when_a_key_was_just_replaced(
    isthmus: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from when on the key can be destroyed; a key in use is neither."""
    monkeypatch.setattr(key_settling, "DEVELOPMENT_SETTLE_MS", 600_000)
    # The key that the second one replaces was never sealed to.
    for _ in range(2):
        assert isthmus("keys", "rotate").code == 0
    shown = isthmus("keys", "status")
    old = [key for key in shown.json["keys"] if key["state"] == "decrypt-only"][-1]
    assert f"Still settling until {old['settling_until'][11:19]} UTC" in shown.err
    assert old["key_id"] in shown.err
    assert old["can_be_destroyed"] == "when settled"
    # It does not wait: the time would be over for the test.
    tried = isthmus("keys", "destroy", old["key_id"], "--dry-run")
    assert (tried.code, "would wait" in tried.err, "Would destroy" in tried.err) == (0, True, True)
    assert "can_be_destroyed" not in status(isthmus, "data-team")["active"]
    monkeypatch.setattr(key_settling, "DEVELOPMENT_SETTLE_MS", 0)
    settled = isthmus("keys", "status")
    old = [key for key in settled.json["keys"] if key["state"] == "decrypt-only"][-1]
    assert (old["settling_until"], old["can_be_destroyed"], settled.err) == (None, "now", "")


def test_status_says_that_a_key_is_needed_when_messages_are_sealed_to_it(isthmus: CommandLine) -> None:
    """Its messages have to be rewrapped before it can be destroyed."""
    start(isthmus, "needing")
    assert isthmus("keys", "rotate", profile="app-team").code == 0
    old = status(isthmus, "app-team")["decrypt-only"]
    assert (old["messages"] > 0, old["can_be_destroyed"]) == (True, "when rewrapped")


def test_dry_run_says_what_is_concerned_when_a_key_is_to_be_revoked(isthmus: CommandLine) -> None:
    """Messages that are sealed to an encryption key; operations that a signing key may have started."""
    start(isthmus, "concerned")
    kept = status(isthmus, "app-team")["active"]
    tried = isthmus("keys", "revoke", kept["key_id"], "--dry-run", profile="app-team")
    assert tried.code == 0, tried.err
    assert f"keeps {kept['messages']} messages that are sealed to it, {kept['open']} of them" in tried.err
    assert kept["open"] > 0
    signing = status(isthmus, "data-team", "signing")["active"]["key_id"]
    tried = isthmus("keys", "revoke", signing, "--dry-run")
    still_open = [name for state in ("scheduled", "started") for name in ("--state", state)]
    listed = isthmus("operation", "list", *still_open, "--limit", "1000").json
    assert f"{len(listed)} operations that this team started have not ended" in tried.err
    assert listed


def test_exactly_what_was_foretold_is_lost_when_a_key_is_destroyed_on_purpose(isthmus: CommandLine) -> None:
    """The result that waits for the caller is gone, and the one that is sealed to the new key is not."""
    with isthmus.background(*SERVING, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue payments")
        for name in ("old", "new"):
            if name == "new":
                assert isthmus("keys", "rotate").code == 0
            start(isthmus, name)
            waited = isthmus("call", "payments", "Payments", "charge", "--set", "cents=5", "--id", name)
            assert waited.code == 0, waited.err
    old = status(isthmus, "data-team")["decrypt-only"]
    assert old["messages"] > 0
    lost = isthmus("keys", "destroy", old["key_id"], "--lose", str(old["messages"]))
    assert lost.code == 0, lost.err
    for name, code in (("old", 1), ("new", 0)):
        again = isthmus(
            *("call", "payments", "Payments", "charge", "--set", "cents=5", "--id", name, "--timeout", "5s")
        )
        assert again.code == code, (name, again.out, again.err)
        assert ("is lost" in again.err) == (name == "old")
    after = isthmus("keys", "status").json["keys"]
    assert {key["key_id"]: key["messages"] for key in after if key["kind"] == "encryption"}[
        old["key_id"]
    ] == old["messages"]


def test_nothing_changes_when_commands_are_only_tried(isthmus: CommandLine) -> None:
    """No file of the team, and nothing at the gateway, whatever the command."""
    folder = isthmus.directory / "data-team"
    fingerprint = isthmus("keys", "show").json["fingerprint"]
    old = next(iter(isthmus("keys", "show").json["keys"]))["key_id"]
    dev = ("--namespace", "new-team", "--keyring", "new.json")
    assert isthmus("root", "draft", "next.json").code == 0
    (isthmus.directory / "new").write_text("another horse")
    (isthmus.directory / "new").chmod(0o600)

    def everything() -> tuple[object, object]:
        files = {path: path.read_bytes() for path in isthmus.directory.glob("*.json")}
        files |= {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        # What is published is audited.
        return files, isthmus("audit", "query").json

    before = everything()
    for words, said in (
        (("keys", "init", *dev), "new.json.root"),
        (("keys", "publish"), "Would publish nothing"),
        (("keys", "rotate"), "successor of the signing key"),
        (("keys", "delegate"), "delegation 2 to the signer"),
        (("keys", "renew"), "Would publish"),
        (("keys", "protect", "--custody", "file", "--new-passphrase-file", "new"), "encrypted anew"),
        (("keys", "revoke", old), "Would revoke"),
        (("root", "new", "x.root", "--namespace", "data-team", "--trust-domain", "dev"), "x.root"),
        (("root", "draft", "other.json"), "other.json"),
        (("root", "sign", "next.json", "--root", str(folder / "keyring.json.root")), "Would sign"),
        (("trust", "add", "new-team", "--fingerprint", fingerprint), "stays as it is"),
        (("trust", "remove", "app-team"), "no longer trusted"),
        (("trust", "verify"), "stays as it is"),
    ):
        tried = isthmus(*words, "--dry-run")
        assert tried.code == 0, tried.err
        assert said in tried.err, tried.err
        assert everything() == before, words
    assert isthmus("root", "sign", "next.json", "--root", str(folder / "keyring.json.root")).code == 0
    before = everything()
    assert "with what the draft says" in isthmus("root", "adopt", "next.json", "--dry-run").err
    assert everything() == before


def test_revoked_key_is_replaced_at_once_when_it_was_stolen(isthmus: CommandLine, tmp_path: Path) -> None:
    """Both kinds; calls go on with the successors, and the command can be repeated."""
    del tmp_path
    with isthmus.background(*SERVING, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue payments")
        for kind in ("signing", "encryption"):
            stolen = status(isthmus, "data-team", kind)["active"]["key_id"]
            unsigned = isthmus("keys", "revoke", stolen, "--signer", "nosuch", "--dry-run")
            assert (unsigned.code, "nosuch" in unsigned.err) == (2, True)
            assert isthmus("keys", "revoke", stolen, "--dry-run").code == 0
            assert status(isthmus, "data-team", kind)["active"]["key_id"] == stolen
            revoked = isthmus("keys", "revoke", stolen)
            assert revoked.code == 0, revoked.err
            after = status(isthmus, "data-team", kind)
            assert after["revoked"]["key_id"] == stolen
            assert after["active"]["key_id"] != stolen
            assert isthmus("keys", "revoke", stolen).json["keyset_version"] == revoked.json["keyset_version"]
            called = isthmus("call", "payments", "Payments", "charge", "--set", "cents=7")
            assert called.json["result"] == {"charged": 7}, called.err
    assert isthmus("keys", "revoke", "nosuch").code == 4
    assert isthmus("trust", "verify", "data-team", profile="app-team").code == 0
