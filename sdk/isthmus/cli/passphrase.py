"""The passphrase of a keyring: from a file, from the environment, or typed in. Never an argument."""

from collections.abc import Mapping
from pathlib import Path

import typer

from isthmus.cli.exit_code import CliError
from isthmus.client.profile import Profile

VARIABLE = "ISTHMUS_PASSPHRASE"
KEY_VARIABLE = "ISTHMUS_KEY_PASSPHRASE"
_OF_KEY = "root's or signer's file"


def read_passphrase(
    profile: Profile, environment: Mapping[str, str], *, confirm: bool = False, of: str = "keyring"
) -> bytes:
    """Return the passphrase: passphrase_file, else ISTHMUS_PASSPHRASE, else what is typed at a prompt.

    Raises:
        CliError: there is none, the file cannot be read, or nobody is there to type.
    """
    found = require_passphrase(profile, environment, of=of)
    if found is None:
        typed: str = typer.prompt(
            f"Passphrase of the {of}", hide_input=True, confirmation_prompt=confirm, err=True
        )
        found = typed.encode()
    if not found:
        raise CliError(
            "an empty passphrase protects nothing: type one, or set passphrase_file in the profile"
        )
    return found


def require_passphrase(
    profile: Profile, environment: Mapping[str, str], *, of: str = "keyring"
) -> bytes | None:
    """Return the passphrase that nobody has to type; None where somebody is there who would be asked for it.

    Raises:
        CliError: as ``read_passphrase``.
    """
    if profile.passphrase_file is not None:
        return read_passphrase_file(profile.passphrase_file)
    if found := environment.get(VARIABLE, ""):
        return found.encode()
    import sys

    if not sys.stdin.isatty():
        raise CliError(
            f"the {of} needs a passphrase: set passphrase_file in the profile, "
            f"ISTHMUS_PASSPHRASE_FILE, or {VARIABLE}"
        )
    return None


def read_key_passphrase(profile: Profile, environment: Mapping[str, str], *, confirm: bool = False) -> bytes:
    """Return the passphrase of a root's or signer's file: ISTHMUS_KEY_PASSPHRASE, else as of a keyring.

    Raises:
        CliError: as ``read_passphrase``.
    """
    found = environment.get(KEY_VARIABLE, "")
    return found.encode() if found else read_passphrase(profile, environment, confirm=confirm, of=_OF_KEY)


def require_key_passphrase(profile: Profile, environment: Mapping[str, str]) -> None:
    """Require the passphrase of a root's or signer's file, or somebody to type it.

    Raises:
        CliError: as ``read_passphrase``.
    """
    if not environment.get(KEY_VARIABLE, ""):
        require_passphrase(profile, environment, of=_OF_KEY)


def read_passphrase_file(path: Path) -> bytes:
    """Return the first line's worth of a file, without its line end.

    Raises:
        CliError: it cannot be read, or is empty. ConfigurationError: everybody can read it.
    """
    from isthmus.transport.credentials import refuse_public_file

    try:
        refuse_public_file(path)
        passphrase = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise CliError(f"cannot read the passphrase file {path}: {error.strerror}") from error
    if not passphrase:
        raise CliError(f"the passphrase file {path} is empty: write a passphrase into it")
    return passphrase
