"""What the log says of a store that cannot commit."""

import logging

import pytest

from isthmus.gateway.store.commit_trouble import PAUSE_SECONDS, CommitTrouble


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def refuse() -> None:
    """Write to a full disk."""
    raise OSError("disk full")


def fail(trouble: CommitTrouble, commands: int = 1) -> None:
    """Let a commit fail as a full disk lets it fail."""
    try:
        refuse()
    except OSError as error:
        trouble.failed(error, commands)


def test_log_is_quiet_when_commits_keep_failing(caplog: pytest.LogCaptureFixture) -> None:
    """One trace, then one counted line a pause, then the end of it."""
    caplog.set_level(logging.INFO)
    seconds = Seconds()
    trouble = CommitTrouble(seconds)
    fail(trouble, 2)
    for _ in range(99):
        seconds.now += PAUSE_SECONDS / 100
        fail(trouble, 3)
    seconds.now += PAUSE_SECONDS / 50
    fail(trouble, 3)
    lasts = [trouble.lasts]
    trouble.succeeded()
    trouble.succeeded()
    assert [*lasts, trouble.lasts] == [True, False]
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("the store cannot commit (disk full); 1 commits failed, 2 commands are refused", True),
        ("the store cannot commit (disk full); 100 commits failed, 300 commands are refused", False),
        ("the store commits again", False),
    ]


def test_log_is_quiet_when_commits_fail_and_succeed_in_turn(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is nearly full takes small commits only."""
    caplog.set_level(logging.INFO)
    trouble = CommitTrouble(Seconds())
    for _ in range(100):
        fail(trouble)
        trouble.succeeded()
    assert len(caplog.records) == 2
