"""The command tree."""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli import (
    audit,
    blobs,
    call,
    completions,
    demo,
    dev,
    endpoint,
    escrow,
    event,
    gateway,
    keys,
    namespace,
    operation,
    profile,
    trust,
    whoami,
    worker,
)
from isthmus.cli import (
    root as root_commands,
)
from isthmus.cli.exit_code import MEANINGS, ExitCode
from isthmus.cli.group import RootGroup
from isthmus.cli.invocation import Invocation
from isthmus.cli.output import Output, OutputFormat

_EPILOG = (
    "Exit codes: "
    + " · ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())
    + ". --profile and --output work before and after a command; every option is also a variable, "
    "for example ISTHMUS_PROFILE or ISTHMUS_CALL_TIMEOUT. ISTHMUS_DEBUG=1 shows where an error came from."
)

app = typer.Typer(
    name="isthmus",
    cls=RootGroup,
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
        str | None, typer.Option(help="Which profile to use: which gateway, as whom, with which keys.")
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


app.command()(dev.dev)
app.command()(demo.demo)
app.command()(call.call)
app.command()(whoami.whoami)
app.add_typer(gateway.app, name="gateway")
app.add_typer(worker.app, name="worker")
app.add_typer(namespace.app, name="namespace")
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(operation.app, name="operation")
app.add_typer(completions.app, name="completions")
app.add_typer(event.app, name="event")
app.add_typer(escrow.app, name="escrow")
app.add_typer(keys.app, name="keys")
app.add_typer(root_commands.app, name="root")
app.add_typer(trust.app, name="trust")
app.add_typer(audit.app, name="audit")
app.add_typer(blobs.app, name="blobs")
app.add_typer(profile.app, name="profile")


@app.command()
def version(ctx: typer.Context) -> None:
    """Show the versions of what runs here."""
    import platform

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


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        typer.main.get_command(app).main(list(arguments), prog_name="isthmus", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.OK
    return ExitCode.OK
