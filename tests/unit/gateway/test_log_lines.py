"""Lines of the log: one a record, and without secrets."""

import json
import logging
import sys
from typing import Any

import pytest
from tests.adversarial.token_forge import Forge

from isthmus.gateway.log_lines import REDACTED, JsonLines, TextLines


def record(message: str, **extra: Any) -> logging.LogRecord:
    """Return a log record."""
    made = logging.LogRecord("isthmus.test", logging.INFO, __file__, 1, message, None, None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_token_is_redacted_wherever_it_stands(formatter: logging.Formatter) -> None:
    """In the message, in a field, behind a scheme, in a stack trace: a credential is never written."""
    token = Forge().good()
    made = record(
        f"got authorization: Bearer {token}",
        detail=f"token {token}!",
        metadata=[("authorization", f"bearer {token[5:]}")],
        authorization="opaque",
        token_hash="abc",
    )
    try:
        int(token)
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    signature = token.rpartition(".")[2]
    assert signature not in line
    assert "opaque" not in line
    assert "abc" not in line
    assert REDACTED in line


def test_private_key_is_redacted_when_logged() -> None:
    """A PEM block of a private key disappears as a whole."""
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"
    assert "MC4CAQ" not in JsonLines().format(record("key %s", args=(pem,)))


def test_record_is_one_json_object_when_formatted() -> None:
    """Extra values are fields of their own."""
    line = JsonLines().format(record("a\nb", reason="TOKEN_EXPIRED", count=3, fix=""))
    fields = json.loads(line)
    assert "\n" not in line
    assert fields["message"] == "a\nb"
    assert (fields["level"], fields["reason"], fields["count"]) == ("info", "TOKEN_EXPIRED", 3)
    assert "fix" not in fields


def test_record_is_one_line_when_somebody_plants_a_line_break() -> None:
    """Nobody forges a second record through what they send."""
    line = TextLines().format(record("a\nlevel=error b", principal='x" level=error\n2026'))
    assert "\n" not in line
    assert 'principal="x\\" level=error\\n2026"' in line
