"""``isthmus gateway``: the relay that a platform team operates."""

from typing import Annotated

import typer

from isthmus.cli import gateway_backup, gateway_migrate
from isthmus.cli.exit_code import ExitCode
from isthmus.cli.gateway_config import NO_FILE, Config, default_file, explained, load, require_gateway
from isthmus.cli.invocation import invocation

app = typer.Typer(
    no_args_is_help=True,
    help="The gateway: check its configuration, run it, migrate, back up and restore its database.",
)

app.command()(gateway_migrate.migrate)
app.command()(gateway_backup.backup)
app.command()(gateway_backup.restore)


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
        raise explained(error) from None


@app.command("check-config")
def check_config(
    ctx: typer.Context,
    config: Config = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the database server, if the store is PostgreSQL.")
    ] = False,
) -> None:
    """Say everything that is wrong with a configuration, each with what mends it; start and write nothing.

    It is read as `gateway run` reads it, with the variables of the environment over the file.
    Keys, certificates and the place of the database are looked at, too; a database server is asked.

    Exit codes: 0 `gateway run` would accept it, 2 it has problems.
    """
    import os
    from datetime import UTC, datetime

    require_gateway()
    from isthmus.gateway.config.loading import check_config as problems_of
    from isthmus.gateway.named_files import file_problems
    from isthmus.gateway.server_problems import server_problems

    problems = problems_of(config or default_file(), os.environ)
    if not problems:
        problems = tuple(file_problems(load(config), datetime.now(UTC)))
    if not problems and not offline:
        problems = tuple(server_problems(load(config)))
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
        if config is None and default_file() is None:
            output.note(NO_FILE)
        raise typer.Exit(ExitCode.USAGE)
