"""``isthmus gateway``: the relay that a platform team operates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.gateway.config.settings import GatewayConfig

app = typer.Typer(no_args_is_help=True, help="The gateway: run it, check its configuration.")
_TAKEN = frozenset({"STORE_IN_USE", "ADDRESS_IN_USE"})
_NO_FILE = "There is no isthmus.toml here; give --config."
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="ISTHMUS_GATEWAY_CONFIG",
        help="Its TOML file; default: isthmus.toml if it is there, and the environment.",
        dir_okay=False,
    ),
]


@app.command()
def run(config: Config = None) -> None:
    """Run a gateway until SIGTERM or Ctrl-C; then it drains and stops."""
    require_gateway()
    from isthmus.gateway.core.errors import UnavailableError
    from isthmus.gateway.process import run_process

    settings = load(config)
    try:
        run_process(settings)
    except UnavailableError as error:
        code = ExitCode.CONFLICT if error.reason in _TAKEN else ExitCode.UNAVAILABLE
        raise CliError(f"{error}. {error.fix}".rstrip(), code=code) from None


@app.command("check-config")
def check_config(ctx: typer.Context, config: Config = None) -> None:
    """Say everything that is wrong with a configuration, and start nothing."""
    import os

    require_gateway()
    from isthmus.gateway.authn.configured_issuers import issuer_key_problems
    from isthmus.gateway.config.loading import check_config as problems_of

    problems = problems_of(config or _default_file(), os.environ)
    if not problems:
        problems = tuple(issuer_key_problems(load(config)))
    output = invocation(ctx).output
    if output.is_json:
        output.json(
            [{"option": found.option, "message": found.message, "fix": found.fix} for found in problems]
        )
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not problems:
            typer.echo("The configuration is fine.")
    if problems:
        if config is None and _default_file() is None:
            output.note(_NO_FILE)
        raise typer.Exit(ExitCode.USAGE)


def load(config: Path | None) -> "GatewayConfig":
    """Return a checked configuration. Raises CliError, which lists every problem."""
    import os

    from isthmus.gateway.config.loading import load_config
    from isthmus.gateway.core.errors import ConfigurationError

    try:
        return load_config(config or _default_file(), os.environ)
    except ConfigurationError as error:
        missing = config is None and _default_file() is None
        raise CliError(f"{error}\n{_NO_FILE}" if missing else str(error)) from None


def require_gateway() -> None:
    """Raise CliError when what a gateway needs is not installed."""
    import importlib.util

    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("jwt") is None:
        raise CliError("running a gateway needs more: pip install 'isthmus[gateway]'")


def _default_file() -> Path | None:
    from isthmus.gateway.config.loading import DEFAULT_FILE

    return DEFAULT_FILE if DEFAULT_FILE.exists() else None
