"""``--dry-run``: a command says what it would write and publish, and touches nothing."""

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
