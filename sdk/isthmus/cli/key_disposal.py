"""Commands that end a key's life: ``isthmus keys revoke``, ``rewrap``, ``destroy``. Each can be repeated."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import now_ms

if TYPE_CHECKING:
    from isthmus.keys.contents import StoredKey
    from isthmus.keys.file_keyring import FileKeyring
    from isthmus.keys.publication import Published

KeyIdArgument = Annotated[
    str,
    typer.Argument(help="As `isthmus keys status` lists it; its beginning is enough.", metavar="KEY_ID"),
]
Signer = Annotated[
    Path | None, typer.Option(help="File of the signer key; default: beside the keyring.", dir_okay=False)
]


def revoke(ctx: typer.Context, key: KeyIdArgument, signer: Signer = None, dry_run: DryRun = False) -> None:
    """Tell everybody at once that nothing of a key may be believed any more; a key in use gets a successor.

    For keys that somebody else may have. Peers who can reach the gateway hear of it within five minutes, and
    refuse what a revoked signing key signed, whenever it was signed. A dry run says what that concerns.
    """
    from isthmus.cli import key_forecast
    from isthmus.cli.connection import open_connection
    from isthmus.cli.kept_messages import GatewayMessages
    from isthmus.cli.key_revocation import revoke_key
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.cli.keyset_directory import publication_at
    from isthmus.cli.open_calls import count_open_calls
    from isthmus.wire.public_key import KeyKind

    output = invocation(ctx).output
    keyring = open_keyring(ctx)
    found = find(keyring, key)
    with open_connection(ctx) as gateway:
        publication = publication_at(gateway, keyring, signer, dry_run=dry_run)
        if dry_run:
            publication.newest()
            output.note(f"Would revoke {_name(found)}, and publish that.")
            if found.record.kind is KeyKind.ENCRYPTION:
                concerned = key_forecast.of_revoked_encryption_key(
                    found, GatewayMessages(gateway).need(found.record.key_id)
                )
            else:
                concerned = key_forecast.of_revoked_signing_key(found, count_open_calls(gateway))
            for sentence in concerned:
                output.note(sentence)
            return
        keyset = revoke_key(keyring, publication, found.record.key_id, now_ms=now_ms)
    output.document(
        {
            "namespace": keyset.namespace,
            "revoked": _hex(found),
            "keyset_version": keyset.version,
        }
    )


def rewrap(ctx: typer.Context, key: KeyIdArgument, dry_run: DryRun = False) -> None:
    """Seal everything that the gateway keeps for an old encryption key to the active one.

    Senders are not asked, and nothing but this namespace's own part of each message changes.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.kept_messages import GatewayMessages
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys import needed
    from isthmus.wire.public_key import KeyKind, KeyState

    output = invocation(ctx).output
    keyring = open_keyring(ctx)
    found = find(keyring, key)
    if found.record.kind is not KeyKind.ENCRYPTION or found.record.state is KeyState.ACTIVE:
        raise CliError(
            f"{_name(found)} is no encryption key that was replaced: there is nothing to rewrap;"
            " isthmus keys show says which one is"
        )
    old = keyring.decryption_key(found.record.key_id)
    if old is None:
        raise CliError(
            f"the secret of {_name(found)} is gone: what is sealed to it opens only with a copy of the"
            " keyring from before; have callers start again what they still need"
        )
    with open_connection(ctx) as gateway:
        kept = GatewayMessages(gateway)
        if dry_run:
            count = kept.count(found.record.key_id)
            output.note(f"Would seal {count} messages to {keyring.sealing_key().key_id.hex()}.")
            return
        done = needed.rewrap(
            kept,
            namespace=keyring.namespace,
            old=old,
            new=keyring.sealing_key(),
            report=lambda replaced: output.note(f"{replaced} messages so far"),
        )
        left = kept.count(found.record.key_id)
    output.document({"rewrapped": done.replaced, "unreadable": done.unreadable, "left": left})


def destroy(
    ctx: typer.Context,
    key: KeyIdArgument,
    lose: Annotated[
        int,
        typer.Option(help="How many messages are to be lost: exactly as many as need the key.", min=0),
    ] = 0,
    signer: Signer = None,
    dry_run: DryRun = False,
) -> None:
    """Destroy the secret of an encryption key that was replaced. Refused while something needs it.

    Afterwards nobody opens what was sealed to it, neither this team nor whoever steals the keyring later.
    Copies of the keyring elsewhere, and in backups, are yours to destroy.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.kept_messages import GatewayMessages
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.cli.keyset_directory import publication_at
    from isthmus.keys.rotation import retire
    from isthmus.wire.public_key import KeyKind, KeyState

    output = invocation(ctx).output
    keyring = open_keyring(ctx)
    found = find(keyring, key)
    if found.record.kind is not KeyKind.ENCRYPTION:
        raise CliError(f"{_name(found)} signs: it is revoked when it must not be believed, never destroyed")
    with open_connection(ctx) as gateway:
        publication = publication_at(gateway, keyring, signer, dry_run=dry_run)
        if found.record.state is not KeyState.DESTROYED:
            _settle(
                found,
                publication.newest(),
                trust_domain=keyring.trust_domain,
                note=output.note,
                dry_run=dry_run,
            )
            needing = GatewayMessages(gateway).count(found.record.key_id)
            if needing != lose:
                raise CliError(
                    f"{needing} messages need {_name(found)}: rewrap them (isthmus keys rewrap),"
                    f" or say that they are to be lost, with: --lose {needing}",
                    code=ExitCode.CONFLICT,
                )
            if dry_run:
                output.note(f"Would destroy {_name(found)}, and lose {needing} messages.")
                return
            keyring.update(lambda contents: retire(contents, found.record.key_id))
        elif dry_run:
            output.note(f"{_name(found)} is gone already; would publish that, unless it is known.")
            return
        keyset, _ = publication.publish()
    output.document({"destroyed": _hex(found), "lost": lose, "keyset_version": keyset.version})


def find(keyring: "FileKeyring", beginning: str) -> "StoredKey":
    """Return the one key whose id begins so. Raises CliError."""
    found = [key for key in keyring.contents.keys if key.record.key_id.hex().startswith(beginning.lower())]
    if len(found) != 1 or not beginning:
        which = "several keys" if len(found) > 1 else "no key"
        raise CliError(
            f"the keyring has {which} {beginning!r}: see isthmus keys show", code=ExitCode.NOT_FOUND
        )
    return found[0]


def _settle(
    key: "StoredKey",
    newest: "Published | None",
    *,
    trust_domain: str,
    note: Callable[[str], None],
    dry_run: bool,
) -> None:
    """Wait until no gateway takes anything any more that is sealed to a key: what is counted then is all.

    A dry run says that it would wait.

    Raises:
        CliError: the newest keyset does not say that the key was replaced.
    """
    from isthmus.cli.key_settling import settled_at_ms

    keyset = None if newest is None else newest.keyset
    settled_ms = settled_at_ms(key.record.key_id, keyset, trust_domain=trust_domain)
    if settled_ms is None:
        raise CliError(f"{_name(key)} is in use: replace it first, with: isthmus keys rotate")
    left_ms = settled_ms - now_ms()
    if left_ms > 0 and dry_run:
        note(
            f"The keyset is new: would wait {left_ms / 1000:.0f} s until every gateway goes by it. What is"
            " counted now may grow until then."
        )
    elif left_ms > 0:
        note(f"The keyset is new: waiting {left_ms / 1000:.0f} s until every gateway goes by it.")
        time.sleep(left_ms / 1000)


def _hex(key: "StoredKey") -> str:
    return key.record.key_id.hex()


def _name(key: "StoredKey") -> str:
    record = key.record
    return f"the {record.kind.name.lower()} key {record.key_id.hex()} ({record.state.name.lower()})"
