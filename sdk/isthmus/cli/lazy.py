"""Commands that are imported when somebody asks for them: one command should not wait for all the others."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer


class LazyCommands(MutableMapping[str, Any]):
    """The commands of a group by their names, each built at its first use.

    A place is ``module:attribute``: a typer application becomes a group, a function becomes a command.
    """

    def __init__(self, places: Mapping[str, str], *, finish: Callable[[str, Any], None]) -> None:
        """``finish`` gets each name and command once, after it was built."""
        self._places = dict(places)
        self._finish = finish
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the classes of typer's own click are private
        """Return a command. Raises KeyError."""
        if name not in self._built:
            self[name] = _build(name, self._places[name])
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:  # noqa: ANN401 - as above
        """Take a command that is built."""
        self._places.setdefault(name, "")
        self._finish(name, command)
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        """Forget a command. Raises KeyError."""
        del self._places[name]
        self._built.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; nothing is built."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)


def _build(name: str, place: str) -> Any:  # noqa: ANN401 - as above
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    # In another one: typer makes less of an application of one command, and more of the outermost one.
    around = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return typer.main.get_group(around).commands[name]
