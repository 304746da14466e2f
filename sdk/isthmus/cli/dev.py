"""``isthmus dev``: a gateway and two demo teams on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.invocation import invocation

DEFAULT_PORT = 7243
DEFAULT_DIRECTORY = Path(".isthmus-dev")


def dev(
    ctx: typer.Context,
    directory: Annotated[
        Path, typer.Option("--dir", help="Where keys, profiles and the database go.", file_okay=False)
    ] = DEFAULT_DIRECTORY,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the gateway, on loopback.")
    ] = DEFAULT_PORT,
    demo_teams: Annotated[bool, typer.Option(help="Run the two demo teams' workers.")] = True,
) -> None:
    """Run a gateway with SQLite and two demo teams, for development on this machine, until Ctrl-C."""
    from isthmus.cli.gateway_config import require_gateway
    from isthmus.demo.development import run

    require_gateway()
    run(directory, port=port, with_teams=demo_teams, say=invocation(ctx).output.note)
