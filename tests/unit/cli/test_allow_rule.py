"""Allow rules as people write them."""

import pytest

from isthmus.cli.allow_rule import parse_allow_rule, show_allow_rule
from isthmus.cli.exit_code import CliError


@pytest.mark.parametrize(
    "text", ["data-team", "data-team/Payments", "data-team/Payments/charge", "data-team/*/charge"]
)
def test_rule_reads_back_when_it_is_shown(text: str) -> None:
    """What describe prints can be given to update."""
    assert show_allow_rule(parse_allow_rule(text)) == text


def test_operation_keeps_its_slashes_when_it_has_some() -> None:
    """Contracts of other worlds use slashes in operation names."""
    assert parse_allow_rule("data-team/Payments/v1/charge").operation == "v1/charge"


@pytest.mark.parametrize(
    "text", ["", "Data-Team", "data-team/", "data-team/Payments/", "data-team/Payments/charge/", "data team"]
)
def test_rule_is_refused_when_a_name_is_not_valid(text: str) -> None:
    """An empty part is a mistake, not a wildcard."""
    with pytest.raises(CliError, match=r"namespace\[/service\[/operation\]\]"):
        parse_allow_rule(text)
