"""``isthmus gateway migrate``: bring the schema of the database to this release's."""

from typing import Annotated

import typer

from isthmus.cli.gateway_config import Config, explained, load, require_gateway
from isthmus.cli.invocation import invocation


def migrate(
    ctx: typer.Context,
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, statement by statement; change nothing.")
    ] = False,
) -> None:
    """Bring the schema of the database to this release's; gateways of the release before go on serving.

    All of it is one transaction. `gateway run` does the same by itself at its start.

    Exit codes: 0 the schema is this release's, or would be; 2 the configuration is wrong, or
    the database none of ours; 5 a newer release wrote the database.
    """
    require_gateway()
    from isthmus.gateway.core.errors import ConfigurationError
    from isthmus.gateway.store.database_file import prepare_file
    from isthmus.gateway.store.migrate import migrate_strictly, pending_migrations, schema_state

    settings = load(config)
    url = f"sqlite:///{settings.database_file}"
    try:
        if dry_run:
            migrations = pending_migrations(url)
        else:
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            prepare_file(settings.database_file)
            migrations = migrate_strictly(url)
        state = schema_state(url)
    except ConfigurationError as error:
        raise explained(error) from None
    output = invocation(ctx).output
    if output.is_json:
        output.json(
            {
                "database": str(settings.database_file),
                "schema": state.current,
                "release_schema": state.newest,
                "dry_run": dry_run,
                "migrations": migrations,
            }
        )
        return
    for migration in migrations:
        typer.echo(f"{migration.revision}  {migration.purpose}")
        if dry_run:
            for statement in migration.statements:
                typer.echo("".join(f"    {line}\n" for line in statement.splitlines()), nl=False)
    schema = state.current or "nothing"
    if not migrations:
        typer.echo(f"{settings.database_file} has schema {schema}: nothing to do.")
    elif dry_run:
        typer.echo(f"{settings.database_file} would go from {schema} to {state.newest}.")
    else:
        typer.echo(f"{settings.database_file} has schema {schema} now.")
