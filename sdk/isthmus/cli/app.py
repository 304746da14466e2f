"""The command tree: the root, and where each command and group of commands lives."""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli import completing
from isthmus.cli.exit_code import MEANINGS, ExitCode
from isthmus.cli.group import PREFIX, RootGroup, below, name_variables
from isthmus.cli.invocation import Invocation
from isthmus.cli.lazy import LazyCommands
from isthmus.cli.output import Output, OutputFormat

_EPILOG = (
    "Exit codes: "
    + " · ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())
    + ". --profile and --output work before and after a command; every option is also a variable, "
    "for example ISTHMUS_PROFILE or ISTHMUS_CALL_TIMEOUT. ISTHMUS_DEBUG=1 shows where an error came from."
)

_COMMANDS = {
    "dev": "isthmus.cli.dev:dev",
    "demo": "isthmus.cli.demo:demo",
    "call": "isthmus.cli.call:call",
    "whoami": "isthmus.cli.whoami:whoami",
    "version": "isthmus.cli.version:version",
    **{
        group: f"isthmus.cli.{group}:app"
        for group in (
            "gateway",
            "worker",
            "namespace",
            "endpoint",
            "operation",
            "completions",
            "event",
            "escrow",
            "keys",
            "root",
            "trust",
            "audit",
            "blobs",
            "profile",
        )
    },
}


class _Root(RootGroup):
    """Imports a command when it is asked for."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.commands = LazyCommands(
            _COMMANDS,
            finish=lambda name, command: name_variables(command, below(PREFIX, name)),
        )


app = typer.Typer(
    name="isthmus",
    cls=_Root,
    no_args_is_help=True,
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isthmus {installed_version('isthmus')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Which profile to use: which gateway, as whom, with which keys.",
            autocompletion=completing.profiles,
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The file with the profiles.", dir_okay=False)] = None,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How results are printed.")
    ] = OutputFormat.TABLE,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Durable, end-to-end encrypted calls between the workflows of different teams."""
    del version
    ctx.obj = Invocation(profile=profile, config=config, output=Output(output))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        typer.main.get_command(app).main(list(arguments), prog_name="isthmus", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.OK
    return ExitCode.OK
