"""``isthmus profile``: which gateways this machine knows, and as whom."""

from typing import Annotated

import typer

from isthmus.cli import completing
from isthmus.cli.invocation import invocation

app = typer.Typer(no_args_is_help=True, help="Profiles: which gateway, as whom, with which keys.")
COLUMNS = ("name", "current", "address", "namespace")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the profiles of this machine."""
    import os

    from isthmus.client.profile import config_path, current_profile, load_profile, profile_names

    chosen = invocation(ctx)
    environment = chosen.environment
    # Each as its own file says: without what the environment puts on top of the one that is used.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    if "ISTHMUS_CONFIG" in environment:
        plain["ISTHMUS_CONFIG"] = environment["ISTHMUS_CONFIG"]
    current = environment.get("ISTHMUS_PROFILE") or current_profile(plain)
    found = []
    for name in profile_names(plain):
        profile = load_profile(name, environment=plain)
        found.append(
            {
                "name": name,
                "current": name == current,
                "address": profile.address,
                "namespace": profile.namespace,
            }
        )
    chosen.output.rows(found, COLUMNS, empty=f"There are no profiles in {config_path(plain)}.")


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Which; default: the current.", autocompletion=completing.profiles)
    ] = None,
) -> None:
    """Show the settings in use, after the environment had its say. There are no secrets in them."""
    import dataclasses

    from isthmus.client.profile import config_path, load_profile

    chosen = invocation(ctx)
    profile = load_profile(name, environment=chosen.environment)
    settings = {field.name: getattr(profile, field.name) for field in dataclasses.fields(profile)}
    chosen.output.document(
        {"file": str(config_path(chosen.environment))}
        | {name: str(value) for name, value in settings.items() if value not in (None, False)}
    )
