"""Options of ``isthmus call``, before anything is sent."""

import pytest

from isthmus.cli.call import _reuse_policy
from isthmus.cli.exit_code import CliError


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("attach", "attach"),
        ("reject", "reject"),
        ("restart-if-failed", "restart_if_failed"),
        ("restart_if_failed", "restart_if_failed"),
    ],
)
def test_policy_is_read_when_it_is_spelled_either_way(text: str, policy: str) -> None:
    """As the command line writes words, and as the SDK does."""
    assert _reuse_policy(text, has_id=True) == policy


def test_unknown_policy_is_refused_when_it_is_named() -> None:
    """The message lists those that there are."""
    with pytest.raises(CliError, match="attach, reject, restart-if-failed"):
        _reuse_policy("retry", has_id=True)


def test_policy_needs_an_id_when_it_is_not_attach() -> None:
    """Without one there is nothing that could exist already."""
    assert _reuse_policy("attach", has_id=False) == "attach"
    with pytest.raises(CliError, match="--id"):
        _reuse_policy("restart-if-failed", has_id=False)
