"""``isthmus gateway backup`` and ``restore``."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.gateway_config import Config, explained, load, require_gateway
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.gateway.backups.manifest import Manifest

_LOST = """\
This takes the gateway back to {taken_at:%Y-%m-%d %H:%M:%S} UTC, {age} ago.
What was committed since then is gone:
  - operations that were started: nobody knows them any more, whatever their callers were told.
    A START THAT IS REPEATED WITH THE SAME ID RUNS AGAIN;
  - outcomes: operations that ended are open again. THEIR HANDLERS RUN AGAIN, and may end
    differently from what the callers have heard;
  - cancels, endpoints, namespaces, published keysets."""
_AFTERWARDS = """\
Each team finds the restore in its audit log (isthmus audit query --type store_restored).
What to tell them, and how to find what was lost: docs/gateway.md, "After a restore"."""


def backup(
    ctx: typer.Context,
    destination: Annotated[Path, typer.Argument(help="The folder to make; it must not exist.")],
    config: Config = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Leave out the key that signs the gateway's statements.")
    ] = False,
) -> None:
    """Back up a gateway into a new folder, while it serves or not.

    The folder holds the database as it was at one moment (a file, whatever the store is), the key that signs
    the gateway's statements, and a manifest. It gets its name when all of it is verified and on disk. Guard
    it like the gateway itself.

    Exit codes: 0 there is a whole backup; 1 the copy is damaged, or the disk refuses; 2 the configuration
    is wrong; 4 there is no database; 5 there is such a folder, a newer release wrote the database, or it is
    being migrated; 6 the database server cannot be reached.
    """
    require_gateway()
    from isthmus.gateway.assembly import own_version
    from isthmus.gateway.backups.take import take_backup
    from isthmus.gateway.core.errors import GatewayError

    settings = load(config)
    try:
        with _progress() as progress:
            manifest = take_backup(
                settings,
                destination,
                now=datetime.now(UTC),
                software_version=own_version(),
                with_key=not without_key,
                progress=progress,
            )
    except GatewayError as error:
        raise explained(error) from None
    invocation(ctx).output.document({"backup": str(destination)} | _document(manifest))


def restore(
    ctx: typer.Context,
    backup: Annotated[Path, typer.Argument(help="The folder that `isthmus gateway backup` made.")],
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Restore a backup where no gateway is, and no database. What was committed after the backup is gone.

    The database gets its name when it is verified, of this release's schema, and on disk. Nothing is
    overwritten. The restore is on record in the audit log of every namespace.

    Exit codes: 0 it is restored; 1 the backup is damaged, or the disk refuses; 2 the configuration is wrong,
    or not the backup's; 4 there is no backup; 5 a database or another key is there, a gateway has it, or the
    backup is of a newer release; 6 the database server cannot be reached.
    """
    require_gateway()
    from isthmus.gateway.backups.restore import check_restore, restore_backup
    from isthmus.gateway.core.errors import GatewayError
    from isthmus.gateway.store_choice import called

    settings = load(config)
    output = invocation(ctx).output
    try:
        name = called(settings)
        manifest = check_restore(settings, backup)
        now = datetime.now(UTC)
        age = str(now - manifest.taken_at).partition(".")[0]
        output.note(_LOST.format(taken_at=manifest.taken_at.astimezone(UTC), age=age))
        if not yes:
            typer.confirm(f"Restore it to {name}?", abort=True, err=True)
        restore_backup(settings, backup, now=now)
    except GatewayError as error:
        raise explained(error) from None
    output.document({"database": name} | _document(manifest))
    output.note(_AFTERWARDS)


def _document(manifest: "Manifest") -> dict[str, Any]:
    return {
        "taken_at": manifest.taken_at,
        "trust_domain": manifest.trust_domain,
        "schema": manifest.schema,
        "last_audit_position": manifest.last_audit_position,
        "open_operations": manifest.open_operations,
        "size_bytes": sum(entry.size_bytes for entry in manifest.files.values()),
        "files": sorted(manifest.files),
    }


@contextmanager
def _progress() -> Generator[Callable[[int, int], None]]:
    """Show how far the copy is, to a person who watches."""
    if not sys.stderr.isatty():
        yield lambda _copied, _all: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda copied, total: bar.update(task, completed=copied, total=total)
