"""``isthmus version``."""

import platform
from importlib.metadata import version as installed_version

import typer

from isthmus.cli.invocation import Invocation


def version(ctx: typer.Context) -> None:
    """Show the versions of what runs here."""
    found = ctx.find_object(Invocation)
    if found is None:
        raise AssertionError("the root's callback runs before every command")
    found.output.document(
        {
            "isthmus": installed_version("isthmus"),
            "python": platform.python_version(),
            "system": platform.system(),
        }
    )
