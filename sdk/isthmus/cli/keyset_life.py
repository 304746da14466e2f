"""``--keyset-life``: for how long a gateway that lies could go on showing an old keyset."""

from datetime import timedelta
from typing import Annotated

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.moment import format_duration, parse_duration

KeysetLife = Annotated[
    str | None,
    typer.Option(
        help="How long a keyset lives unless it is renewed, 1h to 7d: for so long a gateway that lies can"
        " hide a newer one. Default: as until now, 7d at first.",
        metavar="TIME",
    ),
]


def keyset_life_ms(given: str | None) -> int | None:
    """Return what was given in milliseconds, None where nothing was. Raises CliError."""
    from isthmus.keys.statements import KEYSET_LIFETIME_MS, SHORTEST_KEYSET_LIFETIME_MS

    if given is None:
        return None
    life_ms = parse_duration(given) // timedelta(milliseconds=1)
    if not SHORTEST_KEYSET_LIFETIME_MS <= life_ms <= KEYSET_LIFETIME_MS:
        shortest, longest = map(format_duration, (SHORTEST_KEYSET_LIFETIME_MS, KEYSET_LIFETIME_MS))
        raise CliError(f"--keyset-life is {shortest} to {longest}")
    return life_ms
