"""``isthmus blobs``: the large payloads that this team keeps in its object store."""

from typing import Annotated

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

app = typer.Typer(no_args_is_help=True, help="Large payloads that this team keeps in its object store.")
COLUMNS = ("url", "kept_until")


@app.command()
def sweep(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, delete nothing.")] = False,
) -> None:
    """Delete blobs whose time is over.

    Inputs and results that are too large for an envelope lie, sealed, below blob_store of the profile. Each
    carries in its name until when it is kept: blob_retention_days (90 by default) after it was written, and
    longer than its operation may live. This command lists the store, deletes what is past that time, and
    touches nothing that is not named that way. Run it every day, as the team that writes: isthmus --profile
    data-team blobs sweep. It needs no gateway.
    """
    from datetime import UTC, datetime

    from isthmus.blobs.sweep import sweep as swept
    from isthmus.client.assembly import blob_settings

    chosen = invocation(ctx)
    root = blob_settings(chosen.load_profile()).store
    if root is None:
        raise CliError("which store? Set blob_store in the profile, or ISTHMUS_BLOB_STORE")
    gone = [
        {"url": blob.url, "kept_until": blob.kept_until}
        for blob in swept(root, now=datetime.now(UTC), dry_run=dry_run)
    ]
    chosen.output.rows(gone, COLUMNS, empty=f"Nothing below {root} is past its time.")
    if gone:
        chosen.output.note(f"{len(gone)} blobs {'would be deleted' if dry_run else 'deleted'}.")
