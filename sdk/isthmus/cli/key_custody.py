"""``isthmus keys protect``, and what ``keys init`` asks: where the key of a keyring comes from."""

from enum import StrEnum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.keys.custody.provider import KeyEncryptionProvider
    from isthmus.keys.file_keyring import FileKeyring

NEW_VARIABLE = "ISTHMUS_NEW_PASSPHRASE"


@unique
class CustodyChoice(StrEnum):
    """A passphrase, or one of ``isthmus.keys.custody.opening.Custody``: a test compares them."""

    FILE = "file"
    OPENBAO = "openbao"
    PKCS11 = "pkcs11"
    AWS_KMS = "aws-kms"


Custody = Annotated[
    CustodyChoice | None,
    typer.Option(help="What protects the keyring: a passphrase (file), or whoever wraps its key."),
]
CustodyKey = Annotated[
    str | None,
    typer.Option(
        help="Which key wraps it: mount/name at OpenBao or Vault, TOKEN-LABEL/KEY-LABEL with PKCS #11,"
        " an ARN or alias/name at AWS KMS.",
        metavar="KEY",
    ),
]


def chosen_provider(
    ctx: typer.Context, custody: CustodyChoice | None, key: str | None
) -> "KeyEncryptionProvider | None":
    """Return the provider to use; None is a passphrase. Raises CliError, KeyringError."""
    from isthmus.client.custody import custody_settings
    from isthmus.keys.custody.opening import open_provider

    if custody is None or custody is CustodyChoice.FILE:
        if key is not None:
            raise CliError("--custody-key goes with a custody that has keys: give --custody, too")
        return None
    if key is None:
        raise CliError(
            f"which key of {custody}? Give --custody-key; docs/key-custody.md says how it is written"
        )
    chosen = invocation(ctx)
    return open_provider(custody, key, custody_settings(chosen.load_profile(), chosen.environment))


def protect(
    ctx: typer.Context,
    custody: Custody = None,
    custody_key: CustodyKey = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(help="With --custody file: the passphrase from now on.", dir_okay=False),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Move the keyring to another custody, change its passphrase, or have its key wrapped again.

    With --custody it is encrypted anew, under a key that was never used before; processes that have it open
    need to be restarted to see later changes. Without, whoever has it in custody wraps its key again, under
    the newest version of theirs, and nothing else changes.
    """
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.client.custody import provider_of
    from isthmus.keys.custody.provider import WrappedKey

    chosen = invocation(ctx)
    provider = chosen_provider(ctx, custody, custody_key)
    if new_passphrase_file is not None and custody is not CustodyChoice.FILE:
        raise CliError("--new-passphrase-file goes with --custody file")
    keyring = open_keyring(ctx)
    path = keyring_path(ctx)
    before = keyring.protection
    if custody is None and not isinstance(before, WrappedKey):
        raise CliError(f"a passphrase protects {path}: give --custody, and file for another passphrase")
    in_custody = isinstance(before, WrappedKey)
    if dry_run:
        if isinstance(before, WrappedKey) and custody is None:
            provider_of(chosen.load_profile(), chosen.environment)(before)
        elif provider is None:
            _given_passphrase(ctx, new_passphrase_file, in_custody=in_custody)
        how = "with its key wrapped again" if custody is None else f"encrypted anew, protected by {custody}"
        chosen.output.note(f"Would write {path}, {how}.")
        return
    if isinstance(before, WrappedKey) and custody is None:
        keyring.rewrap(provider_of(chosen.load_profile(), chosen.environment)(before))
    elif provider is not None:
        keyring.protect(provider)
    else:
        keyring.protect(_new_passphrase(ctx, new_passphrase_file, in_custody=in_custody))
    chosen.output.note(f"Wrote {path}. Copies of it from before open as they did: destroy those in reach.")
    chosen.output.document({"namespace": keyring.namespace, **describe(keyring)})


def describe(keyring: "FileKeyring") -> dict[str, str]:
    """Return what protects a keyring, for people. No secrets."""
    from isthmus.keys.custody.provider import WrappedKey

    protection = keyring.protection
    if isinstance(protection, WrappedKey):
        return {"custody": protection.provider, "custody_key": protection.key}
    return {"custody": CustodyChoice.FILE.value}


def _new_passphrase(ctx: typer.Context, file: Path | None, *, in_custody: bool) -> bytes:
    from isthmus.cli.passphrase import read_passphrase

    given = _given_passphrase(ctx, file, in_custody=in_custody)
    if given is not None:
        return given
    if in_custody:
        chosen = invocation(ctx)
        return read_passphrase(chosen.load_profile(), chosen.environment, confirm=True)
    typed: str = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed.encode()


def _given_passphrase(ctx: typer.Context, file: Path | None, *, in_custody: bool) -> bytes | None:
    """Return the new passphrase; None where somebody is there who would be asked for it. Raises CliError."""
    from isthmus.cli.passphrase import read_passphrase_file, require_passphrase

    chosen = invocation(ctx)
    if file is not None:
        return read_passphrase_file(file)
    if found := chosen.environment.get(NEW_VARIABLE):
        return found.encode()
    if in_custody:
        return require_passphrase(chosen.load_profile(), chosen.environment)
    import sys

    if not sys.stdin.isatty():
        raise CliError(f"the new passphrase? Give --new-passphrase-file, or set {NEW_VARIABLE}")
    return None
