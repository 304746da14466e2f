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
    the database none of ours; 5 a newer release wrote the database; 6 its server cannot be reached.
    """
    require_gateway()
    from isthmus.gateway.core.errors import GatewayError
    from isthmus.gateway.store.migrate import migrate_strictly, pending_migrations, schema_state
    from isthmus.gateway.store_choice import called, schema_database_of

    settings = load(config)
    try:
        name = called(settings)
        database = schema_database_of(settings, to_write=not dry_run)
        migrations = pending_migrations(database) if dry_run else migrate_strictly(database)
        state = schema_state(database)
    except GatewayError as error:
        raise explained(error) from None
    output = invocation(ctx).output
    if output.is_json:
        output.json(
            {
                "database": name,
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
        typer.echo(f"{name} has schema {schema}: nothing to do.")
    elif dry_run:
        typer.echo(f"{name} would go from {schema} to {state.newest}.")
    else:
        typer.echo(f"{name} has schema {schema} now.")
