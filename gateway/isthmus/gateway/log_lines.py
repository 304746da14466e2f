"""Log records as lines: JSON for machines, ``key=value`` for people.

What a record carries as ``extra`` becomes a field. Whatever looks like a credential is replaced, wherever it
stands: in the message, in a field or in a stack trace.
"""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(r"authorization|token|secret|password|cookie|private", re.IGNORECASE)
# Three base64url parts as of a JWT, anything after "bearer", PEM blocks.
_SECRETS = re.compile(
    r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*"
    r"|(?<=\bbearer )\S+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.IGNORECASE | re.DOTALL,
)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "message",
    "taskName",
    "color_message",
}
_PLAIN = re.compile(r"[^\s\"=]+")


def redact(text: str) -> str:
    """Return the text without what looks like a credential."""
    return _SECRETS.sub(REDACTED, text)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, without line breaks."""
        return json.dumps(dict(_fields(self, record)), ensure_ascii=True, default=str)


class TextLines(logging.Formatter):
    """Time, level and message, then ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record for people; only a stack trace takes more than one line."""
        fields = dict(_fields(self, record))
        time, level, message = fields.pop("time"), fields.pop("level"), fields.pop("message")
        trace = fields.pop("trace", "")
        line = " ".join([f"{time} {level:7} {_one_line(message)}", *map(_pair, fields.items())])
        return f"{line}\n{trace}" if trace else line


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    yield "time", datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    yield "level", record.levelname.lower()
    yield "message", redact(record.getMessage())
    yield "logger", record.name
    for name, value in record.__dict__.items():
        if name in _STANDARD or name in {"time", "level", "logger", "trace"} or value in ("", None):
            continue
        if _SECRET_NAMES.search(name):
            yield name, REDACTED
        else:
            yield name, value if isinstance(value, int | float) else redact(str(value))
    if record.exc_info:
        yield "trace", redact(formatter.formatException(record.exc_info))


def _pair(field: tuple[str, Any]) -> str:
    name, value = field
    text = str(value)
    # Everything that could end a line or begin another field is quoted and escaped.
    return f"{name}={text}" if _PLAIN.fullmatch(text) and text.isprintable() else f"{name}={json.dumps(text)}"


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
