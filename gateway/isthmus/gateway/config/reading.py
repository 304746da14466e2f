"""Plain values (of TOML, JSON or the environment) → typed settings, strictly, with every problem at once."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from isthmus.gateway.config.problem import Problem

S = TypeVar("S")
Plain = Any
"""What TOML and JSON can say."""


class _UnreadableError(Exception):
    """A value that is not what its option takes."""


def read_settings(
    settings: type[S], values: Mapping[str, Plain], problems: list[Problem], *, folder: Path
) -> S | None:
    """Build settings from plain values; None, with the problems added, when they are not what is wanted.

    Paths are relative to the folder.
    """
    before = len(problems)
    read = _Reader(problems, folder).table(settings, values, "")
    return read if len(problems) == before else None


class _Reader:
    def __init__(self, problems: list[Problem], folder: Path) -> None:
        self._problems = problems
        self._folder = folder

    def table(self, settings: type[S], values: Mapping[str, Plain], path: str) -> S | None:
        hints = get_type_hints(settings)
        known = {field.name: field for field in fields(settings)}  # type: ignore[arg-type]
        for name in values.keys() - known.keys():
            close = difflib.get_close_matches(name, known, n=1)
            fix = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(sorted(known))}."
            self._problem(path + name, "there is no such option", fix)
        read: dict[str, Plain] = {}
        complete = True
        for name, field in known.items():
            if name not in values:
                if field.default is MISSING and field.default_factory is MISSING:
                    self._problem(path + name, "it is missing", "Add it: it has no default.")
                    complete = False
                continue
            try:
                read[name] = self._value(hints[name], values[name], path + name)
            except _UnreadableError as error:
                self._problem(path + name, str(error), "Write it as that.")
                complete = False
        return settings(**read) if complete else None

    def _value(self, wanted: Plain, value: Plain, path: str) -> Plain:
        origin: Plain = get_origin(wanted)
        if origin is types.UnionType:
            wanted = next(option for option in get_args(wanted) if option is not type(None))
        if is_dataclass(wanted) and isinstance(wanted, type):
            if not isinstance(value, Mapping):
                raise _UnreadableError("it is a table of options")
            return self._nested(wanted, value, path)
        if origin is tuple:
            if not isinstance(value, list):
                raise _UnreadableError("it is a list")
            item = get_args(wanted)[0]
            return tuple(self._value(item, entry, f"{path}[{index}]") for index, entry in enumerate(value))
        if wanted is Path and isinstance(value, str) and value:
            return self._folder / Path(value).expanduser()
        return _scalar(wanted, value)

    def _nested(self, wanted: type[S], value: Mapping[str, Plain], path: str) -> S | None:
        # What is wrong inside is reported there; the whole is refused, so a hole in it does no harm.
        return self.table(wanted, value, f"{path}.")

    def _problem(self, option: str, message: str, fix: str) -> None:
        self._problems.append(Problem(option=option, message=message, fix=fix))


def _scalar(wanted: Plain, value: Plain) -> Plain:
    # A bool is an int to Python, not to people.
    if wanted in {str, int, bool} and type(value) is wanted:
        return value
    names = {str: "a text", int: "a whole number", bool: "true or false", Path: "a path"}
    raise _UnreadableError(f"it is {names[wanted]}")
