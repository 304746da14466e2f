"""Options from environment variables: ``ISTHMUS_GATEWAY_LISTEN_ADDRESS`` is ``listen.address``.

They win over the file. Lists, the issuers among them, are written as JSON.
"""

import difflib
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import GatewayConfig

PREFIX = "ISTHMUS_GATEWAY_"
CONFIG_VARIABLE = "ISTHMUS_GATEWAY_CONFIG"
"""Names the configuration file itself."""

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def variables() -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return every variable with the path and the type of its option."""
    return {PREFIX + "_".join(path).upper(): (path, wanted) for path, wanted in _options(GatewayConfig, ())}


def overlay(values: Mapping[str, Any], environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """Return the values of the file with those of the environment over them."""
    merged: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }
    known = variables()
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in known:
            # Without the prefix, which alone would make everything look alike.
            options = [variable.removeprefix(PREFIX) for variable in known]
            close = difflib.get_close_matches(name.removeprefix(PREFIX), options, n=1)
            fix = f"Did you mean {PREFIX}{close[0]}?" if close else "Remove the variable."
            problems.append(Problem(option=name, message="there is no such option", fix=fix))
            continue
        path, wanted = known[name]
        try:
            value = _read(wanted, environ[name])
        except ValueError:
            problems.append(Problem(option=name, message="it cannot be read", fix=_written(wanted)))
            continue
        table = merged
        for section in path[:-1]:
            inner = table.setdefault(section, {})
            if not isinstance(inner, dict):
                break  # the file has something else there, which is reported as such
            table = inner
        else:
            table[path[-1]] = value
    return merged


def _options(settings: type, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    hints = get_type_hints(settings)
    for field in fields(settings):
        wanted = hints[field.name]
        here = (*path, field.name)
        if is_dataclass(wanted) and isinstance(wanted, type):
            yield from _options(wanted, here)
        else:
            yield here, wanted


def _written(wanted: Any) -> str:  # noqa: ANN401 - whatever the option takes
    if wanted is int:
        return "It is a whole number."
    return "It is true or false." if wanted is bool else "It is JSON."


def _read(wanted: Any, text: str) -> Any:  # noqa: ANN401 - whatever the option takes
    if get_origin(wanted) is types.UnionType:
        wanted = next(option for option in get_args(wanted) if option is not type(None))
    if wanted in {str, Path}:
        return text
    if wanted is int:
        return int(text)
    if wanted is bool:
        value = _BOOLEANS.get(text.strip().lower())
        if value is None:
            raise ValueError(text)
        return value
    return json.loads(text)
