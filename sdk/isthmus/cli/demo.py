"""``isthmus demo``: two teams, a gateway and a crash, in front of one's eyes."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.invocation import invocation


def demo(
    ctx: typer.Context,
    input_: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="Your own .csv or .jsonl; default: airports."),
    ] = None,
    batch_rows: Annotated[int, typer.Option(min=1, max=5000, help="Rows of a batch at most.")] = 250,
    keep: Annotated[
        Path | None, typer.Option(help="Keep keys, logs, journals and database there.", file_okay=False)
    ] = None,
) -> None:
    """Two teams call each other through a gateway, a worker is killed on the way, and nothing is lost."""
    from isthmus.cli.demo_display import show_demo
    from isthmus.cli.gateway_config import require_gateway

    require_gateway()
    show_demo(input_=input_, batch_rows=batch_rows, keep=keep, output=invocation(ctx).output)
