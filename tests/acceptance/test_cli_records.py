"""Signed endpoint records and consent at the command line."""

from collections.abc import Iterator

import pytest
from tests.acceptance.cli_process import CommandLine, development

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(120)]
OWNER = "app-team"


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway, and an endpoint that nothing is signed about."""
    with development(tmp_path_factory.mktemp("records") / "dev", demo_teams=False) as command_line:
        created = command_line("endpoint", "create", "payments", "--allow", "data-team", profile=OWNER)
        assert created.code == 0, created.err
        yield command_line


def test_record_is_published_once_when_it_says_the_same(isthmus: CommandLine) -> None:
    """The first one says the queue; a dry run changes nothing; owner and caller see whether it verifies."""
    unsaid = isthmus("endpoint", "publish", "payments", profile=OWNER)
    assert (unsaid.code, "--task-queue" in unsaid.err) == (unsaid.code or 1, True)
    first = ("endpoint", "publish", "payments", "--task-queue", "payments")
    dry = isthmus(*first, "--dry-run", profile=OWNER)
    assert dry.code == 0, dry.err
    assert dry.json["published"] is False
    described = isthmus("endpoint", "describe", "payments", profile=OWNER).json
    assert (described["record"], described["record_verdict"]) == (None, "nothing is signed")
    made = isthmus(*first, profile=OWNER)
    assert made.code == 0, made.err
    assert (made.json["record_version"], made.json["published"]) == (1, True)
    assert isthmus("endpoint", "publish", "payments", profile=OWNER).json["published"] is False
    moved = isthmus("endpoint", "publish", "payments", "--task-queue", "green", profile=OWNER).json
    assert (moved["record_version"], moved["published"]) == (2, True)
    described = isthmus("endpoint", "describe", "payments", profile=OWNER).json
    assert (described["record_verdict"], described["task_queue"]) == ("verified", "green")
    logged = isthmus("audit", "query", "--type", "endpoint_record_published", profile=OWNER)
    assert logged.out.count("endpoint_record_published") == 2


def test_endpoint_is_signed_when_it_is_created_so(isthmus: CommandLine) -> None:
    """In one command; somebody reads along only where something is signed."""
    refused = isthmus("endpoint", "create", "invoices", "--required-recipient", "data-team", profile=OWNER)
    assert (refused.code, "--sign" in refused.err) == (2, True)
    made = isthmus(
        *("endpoint", "create", "invoices", "--sign", "--required-recipient", "data-team"), profile=OWNER
    )
    assert made.code == 0, made.err
    assert made.json["required_recipients"] == ["data-team"]
    assert "trust add data-team --as-recipient" in made.err


def test_escrow_checks_and_opens_what_it_reads_along(isthmus: CommandLine) -> None:
    """What it can lose counts as needing its key; what it opens is what was sealed, byte by byte."""
    made = isthmus(
        *("endpoint", "create", "books", "--sign", "--required-recipient", "data-team", "--allow", OWNER),
        profile=OWNER,
    )
    assert made.code == 0, made.err
    call = ("call", "books", "Books", "close", "--set", "month=11", "--detach")
    refused = isthmus(*call, profile=OWNER)
    assert (refused.code, "--as-recipient" in refused.err) == (refused.code or 1, True)
    consented = isthmus("trust", "add", "data-team", "--as-recipient", profile=OWNER)
    assert consented.code == 0, consented.err
    before = needing(isthmus)
    called = isthmus(*call, profile=OWNER)
    assert called.code == 0, called.err
    unpinned = isthmus("escrow", "check", "--endpoint", "books")
    assert (unpinned.code, unpinned.json["not_opened"]) == (1, 1)
    fingerprint = isthmus("keys", "show", profile=OWNER).json["fingerprint"]
    pinned = isthmus("trust", "add", OWNER, "--fingerprint", fingerprint, "--endpoint", "books")
    assert pinned.code == 0, pinned.err
    checked = isthmus("escrow", "check", "--endpoint", "books", "--all")
    assert checked.code == 0, checked.err
    assert (checked.json["opened"], checked.json["not_opened"]) == (1, 0)
    (message,) = checked.json["messages"]
    assert (message["direction"], message["from"]) == ("request", OWNER)
    opened = isthmus("escrow", "open", message["place"])
    assert (opened.code, opened.out) == (0, '{"month":11}')
    assert needing(isthmus) == before + 1
    assert isthmus("escrow", "open", message["place"], profile=OWNER).code == 0
    assert isthmus("escrow", "open", "app-team/nowhere").code == 2


def needing(isthmus: CommandLine) -> int:
    """Return how many messages need the keys of data-team."""
    keys = isthmus("keys", "status").json["keys"]
    return sum(key.get("messages", 0) for key in keys)
