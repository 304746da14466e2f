"""The input of a call, from a file, from stdin, or from ``--set name=value``."""

import json
import sys
from pathlib import Path
from typing import Any

from isthmus.cli.exit_code import CliError

MAX_INPUT_BYTES = 4 * 1024 * 1024


def read_input(source: str | None, settings: list[str]) -> Any:  # noqa: ANN401 - any JSON
    """Return the input of a call: JSON of a file or stdin (``-``), with the settings over it; else None.

    Raises:
        CliError: the source cannot be read, is no JSON, is larger than 4 MiB, or the settings contradict it.
    """
    document = (
        None
        if source is None
        else parse_json(read_source(source, most_bytes=MAX_INPUT_BYTES), name_of(source))
    )
    for setting in settings:
        document = _set(document, setting)
    return document


def read_source(source: str, *, most_bytes: int) -> bytes:
    """Return what a file or stdin (``-``) holds. Raises CliError: it cannot be read, or holds more."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with Path(source).open("rb") as stream:
                data = stream.read(most_bytes + 1)
    except OSError as error:
        raise CliError(
            f"cannot read the input {source}: {error.strerror}; name a file, or pass - and pipe the input in"
        ) from error
    if len(data) > most_bytes:
        raise CliError(f"the input {source} is larger than {most_bytes} bytes; send a pointer to it instead")
    return data


def name_of(source: str) -> str:
    """Return what people call a source."""
    return "stdin" if source == "-" else source


def parse_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON that the bytes are. Raises CliError, which says where they come from."""
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        raise CliError(f"the input of {where} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise CliError(f"the input of {where} is no JSON: {error}") from None


def _set(document: Any, setting: str) -> Any:  # noqa: ANN401 - any JSON
    """Put a value at a dotted path: ``amount=3``, ``customer.name=Ada``. What is no JSON is text."""
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise CliError(f"--set {setting!r}: write name=value")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if document is None:
        document = {}
    *parents, last = path.split(".")
    target = document
    for parent in parents:
        if isinstance(target, dict):
            target = target.setdefault(parent, {})
    if not isinstance(target, dict):
        raise CliError(f"--set {setting!r}: the input has no fields there")
    target[last] = value
    return document
