"""The keyring of the chosen profile, for commands that change it."""

from pathlib import Path

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation
from isthmus.cli.passphrase import read_key_passphrase, read_passphrase
from isthmus.client.custody import provider_of
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_access import KeyringAccess


def keyring_path(ctx: typer.Context, given: Path | None = None) -> Path:
    """Return where the keyring is. Raises CliError when nothing says so."""
    path = given or invocation(ctx).load_profile().keyring
    if path is None:
        raise CliError(
            "which keyring? Set keyring in the profile that is in use (ISTHMUS_CONFIG and ISTHMUS_PROFILE say"
            " which), or ISTHMUS_KEYRING"
        )
    return path


def open_keyring(ctx: typer.Context) -> FileKeyring:
    """Open it.

    Raises:
        CliError: no keyring or no passphrase. KeyringError: it does not open.
        CustodyUnavailableError: whoever has it in custody cannot be asked.
    """
    chosen = invocation(ctx)
    path = keyring_path(ctx)
    if not path.exists():
        raise CliError(f"there is no keyring at {path}; make one with: isthmus keys init")
    profile, environment = chosen.load_profile(), chosen.environment
    access = KeyringAccess(
        passphrase=lambda: read_passphrase(profile, environment),
        provider=provider_of(profile, environment),
        key_passphrase=lambda: read_key_passphrase(profile, environment),
    )
    return FileKeyring(path, access)
