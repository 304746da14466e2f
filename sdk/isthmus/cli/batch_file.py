"""The requests of a batch: JSON Lines, an input a line, each with an id that makes it repeatable."""

from dataclasses import dataclass
from typing import Any

from isthmus.cli.exit_code import CliError
from isthmus.cli.operation_input import MAX_INPUT_BYTES, name_of, parse_json, read_source

MAX_BATCH_BYTES = 64 * 1024 * 1024
MOST_REQUESTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """One line: where it stands (from 1), its id, and the input of the operation."""

    line: int
    id: str
    value: Any


def read_batch(source: str, *, id_prefix: str | None, id_field: str | None) -> list[BatchRequest]:
    """Return the requests of a file or of stdin (``-``). Blank lines are none, and are counted.

    The id is the prefix, then what the field of the input holds, or the number of the line when no field is
    named.

    Raises:
        CliError: nothing says which ids, a line is no request, two lines have one id, or there is too much.
    """
    if id_prefix is None and id_field is None:
        raise CliError(
            "a batch needs ids, so that it can be repeated: --id-field NAME takes those of a field of each "
            "line, --id-prefix TEXT numbers the lines"
        )
    where = name_of(source)
    data = read_source(source, most_bytes=MAX_BATCH_BYTES)
    requests: list[BatchRequest] = []
    line_of: dict[str, int] = {}
    for number, text in enumerate(data.split(b"\n"), start=1):
        if not text.strip():
            continue
        place = f"line {number} of {where}"
        if len(text) > MAX_INPUT_BYTES:
            raise CliError(f"{place} is larger than {MAX_INPUT_BYTES} bytes; send a pointer instead")
        value = parse_json(text, place)
        own = str(number) if id_field is None else _field(value, id_field, place)
        request = BatchRequest(line=number, id=(id_prefix or "") + own, value=value)
        first = line_of.setdefault(request.id, number)
        if first != number:
            raise CliError(f"lines {first} and {number} of {where} have the same id, {request.id}")
        requests.append(request)
        if len(requests) > MOST_REQUESTS:
            raise CliError(f"{where} has more than {MOST_REQUESTS} requests; split it")
    if not requests:
        raise CliError(f"{where} has no requests: write the input of one a line, as JSON")
    return requests


def _field(value: Any, path: str, place: str) -> str:  # noqa: ANN401 - any JSON
    """Return what stands at a dotted path, if it is text or a whole number."""
    found = value
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise CliError(f"{place} has no id: its field {path} has to be text or a whole number")
    return str(found)
