"""Statements as PostgreSQL takes them: with numbered parameters."""

import pytest

from isthmus.gateway.store.operations import SELECT_MANY_FOR_CHANGE
from isthmus.gateway.store.postgresql_connection import numbered


def test_parameters_are_numbered_in_their_order() -> None:
    """The first is $1."""
    assert numbered("SELECT %s::bigint, %s::text") == b"SELECT $1::bigint, $2::text"


def test_percent_sign_is_single_when_it_was_doubled() -> None:
    """Doubling it is how a statement with parameters says it."""
    assert numbered("SELECT 7 %% %s, '%%s'") == b"SELECT 7 % $1, '%s'"


@pytest.mark.parametrize("text", ["SELECT 7 % 2", "SELECT %(name)s", "SELECT 7 %"])
def test_statement_is_refused_when_a_percent_sign_is_no_parameter(text: str) -> None:
    """It would mean something else to psycopg."""
    with pytest.raises(ValueError, match="is no parameter"):
        numbered(text)


def test_every_row_has_its_parameters_when_there_are_many() -> None:
    """Two a row, of 64 rows."""
    query = SELECT_MANY_FOR_CHANGE.text(64)

    found = numbered(query.postgresql)

    assert b"%" not in found
    assert b"$128" in found
    assert b"$129" not in found
