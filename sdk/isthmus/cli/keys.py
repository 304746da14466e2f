"""``isthmus keys``: the keyring of one's own namespace, and what others are told about it."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import key_disposal
from isthmus.cli.dry_run import DryRun
from isthmus.cli.invocation import invocation
from isthmus.cli.key_custody import Custody, CustodyKey, protect
from isthmus.cli.key_disposal import Signer
from isthmus.cli.keyset_life import KeysetLife, keyset_life_ms
from isthmus.cli.moment import format_duration, moment_of, now_ms, parse_duration

if TYPE_CHECKING:
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.file_keyring import FileKeyring
    from isthmus.keys.renewal import OwnKeyset

app = typer.Typer(
    no_args_is_help=True, help="Keys: your namespace's keyring, and what others are told of it."
)
COLUMNS = ("key_id", "kind", "state", "created_at")
Root = Annotated[
    Path | None, typer.Option(help="File of the root key; default: beside the keyring.", dir_okay=False)
]


app.command()(key_disposal.revoke)
app.command()(key_disposal.rewrap)
app.command()(key_disposal.destroy)


@app.command()
def init(  # noqa: PLR0917 - typer names them
    ctx: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="Whose keys; default: the profile's.")] = None,
    trust_domain: Annotated[
        str | None, typer.Option(help="The deployment; default: what the gateway says it serves.")
    ] = None,
    keyring: Annotated[
        Path | None, typer.Option(help="Where to put the keyring; default: the profile's.", dir_okay=False)
    ] = None,
    root: Root = None,
    signer: Signer = None,
    shared_root: Annotated[
        bool, typer.Option("--shared-root", help="Several people hold the root: see isthmus root --help.")
    ] = False,
    keyset_life: KeysetLife = None,
    custody: Custody = None,
    custody_key: CustodyKey = None,
    dry_run: DryRun = False,
) -> None:
    """Make the keys of a namespace. Nothing is published yet.

    The keyring is what workers and clients need. The signer signs its keysets, for whoever publishes and
    rotates; the root lets the signer do so, and belongs offline.
    """
    from isthmus.cli import key_forecast
    from isthmus.cli.exit_code import CliError
    from isthmus.cli.key_custody import chosen_provider
    from isthmus.cli.keyring_file import keyring_path
    from isthmus.cli.passphrase import (
        read_key_passphrase,
        read_passphrase,
        require_key_passphrase,
        require_passphrase,
    )
    from isthmus.keys.file_keyring import FileKeyring, beside
    from isthmus.keys.founding import new_contents
    from isthmus.keys.hybrid_key import HybridPrivateKey
    from isthmus.keys.keyring_format import KeyRole
    from isthmus.wire.names import check_namespace, check_trust_domain

    chosen = invocation(ctx)
    profile = chosen.load_profile()
    name = namespace or profile.namespace
    if name is None:
        raise CliError("whose keys? Give --namespace, or set namespace in the profile")
    life_ms = keyset_life_ms(keyset_life)
    if shared_root and life_ms is not None:
        raise CliError("--keyset-life goes into the first delegation: give it to isthmus root draft")
    path = keyring_path(ctx, keyring)
    signer_path, root_path = signer or beside(path, KeyRole.SIGNER), root or beside(path, KeyRole.ROOT)
    key_paths = [signer_path, *([] if shared_root else [root_path])]
    FileKeyring.require_new(path, key_paths, dry_run=dry_run)
    provider, key_passphrase = chosen_provider(ctx, custody, custody_key), None
    if dry_run:
        if provider is None:
            require_passphrase(profile, chosen.environment)
        else:
            require_key_passphrase(profile, chosen.environment)
        domain = check_trust_domain(trust_domain or _trust_domain_of_gateway(ctx))
        whose = (
            f"They would hold new keys of {check_namespace(name)} in {domain}. Nothing would be published."
        )
        _say(ctx, key_forecast.of_new_files([*key_paths, path], whose))
        return
    if provider is not None:
        # The files of root and signer always have one: they are kept where no provider is.
        key_passphrase = read_key_passphrase(profile, chosen.environment, confirm=True)
    opening = provider or read_passphrase(profile, chosen.environment, confirm=True)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    domain = trust_domain or _trust_domain_of_gateway(ctx)
    if shared_root:
        contents = new_contents(namespace=name, trust_domain=domain, now_ms=now_ms())
        keys = {signer_path: (KeyRole.SIGNER, HybridPrivateKey.generate())}
        made = FileKeyring.store(path, opening, contents, keys=keys, key_passphrase=key_passphrase)
        chosen.output.note(f"Made {path} and {signer_path}. Next: isthmus root draft --help.")
    else:
        made = FileKeyring.create(
            path,
            opening,
            namespace=name,
            trust_domain=domain,
            now_ms=now_ms(),
            keyset_life_ms=life_ms,
            root_path=root_path,
            signer_path=signer_path,
            key_passphrase=key_passphrase,
        )
        chosen.output.note(
            f"Made {path}, {signer_path} and {root_path}; take the last one offline."
            " Next: isthmus keys publish, and tell other teams the fingerprint."
        )
    _show(ctx, made)


@app.command()
def show(ctx: typer.Context) -> None:
    """Show the keys and the fingerprint of the root, which other teams pin. No secrets."""
    from isthmus.cli.keyring_file import open_keyring

    _show(ctx, open_keyring(ctx))


@app.command()
def publish(
    ctx: typer.Context,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore",
            help="The gateway has an older keyset, and its operators say that they restored a backup.",
        ),
    ] = False,
    signer: Signer = None,
    dry_run: DryRun = False,
) -> None:
    """Sign what the keyring says about its public keys and publish it, unless that is known already."""
    from isthmus.cli import key_forecast
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.cli.keyset_directory import publication_at

    keyring = open_keyring(ctx)
    with open_connection(ctx) as gateway:
        publication = publication_at(gateway, keyring, signer, after_restore=after_restore, dry_run=dry_run)
        keyset, is_new = publication.publish()
    if dry_run:
        _say(ctx, key_forecast.of_publication(keyset, keyring_path(ctx), is_new=is_new))
        return
    invocation(ctx).output.document(
        {"namespace": keyset.namespace, "keyset_version": keyset.version, "published": is_new}
    )


@app.command()
def rotate(  # noqa: PLR0917 - typer names them
    ctx: typer.Context,
    wait: Annotated[
        str | None,
        typer.Option(
            help="How long those get who may be there and cannot be asked; default 10m.", metavar="TIME"
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option(help="How long to wait for those who live and lack the keys.", metavar="TIME")
    ] = "1h",
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Do not wait for this one: identity, host or principal; repeatable.", metavar="NAME"
        ),
    ] = None,
    if_due: Annotated[
        bool,
        typer.Option(
            "--if-due", help="Only when the keys are as old as key_rotation_days of the profile says (30)."
        ),
    ] = False,
    signer: Signer = None,
    dry_run: DryRun = False,
) -> None:
    """Replace the signing key and the encryption key while traffic flows. Repeat it if it was interrupted.

    The new keys are used when all processes of the namespace that live have them in their keyrings. Signing
    keys that were replaced so long ago that nothing they signed can still be in use retire: they are believed
    no more, and the keyring forgets them. With --if-due, for cron: does nothing before the time, and goes on
    with a rotation that was interrupted.
    """
    from isthmus.cli import key_forecast
    from isthmus.cli.connection import open_connection
    from isthmus.cli.key_rotation import KeyRotation
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.cli.keyset_directory import publication_at
    from isthmus.cli.propagation import Propagation
    from isthmus.cli.reported_holders import GatewayKeyHolders
    from isthmus.cli.rotation_schedule import days_of, note_beside, schedule_of
    from isthmus.keys.rotation import require_room_to_rotate

    output = invocation(ctx).output
    timeout_seconds = parse_duration(timeout).total_seconds()
    days = days_of(invocation(ctx).load_profile())
    keyring = open_keyring(ctx)
    path = keyring_path(ctx)
    note = note_beside(path)
    schedule = schedule_of(keyring.contents, note, days=days)
    if if_due and not schedule.is_due(now_ms()):
        output.document(
            {"namespace": keyring.namespace, "rotated": False, "due_at": moment_of(schedule.due_at_ms)}
        )
        return
    with open_connection(ctx) as gateway:
        publication = publication_at(gateway, keyring, signer, dry_run=dry_run)
        if dry_run:
            newest, under_way = publication.newest(), note.exists()
            if not under_way:
                require_room_to_rotate(keyring.contents)
            _say(
                ctx,
                key_forecast.of_rotation(
                    keyring.contents, newest, path, under_way=under_way, now_ms=now_ms()
                ),
            )
            return
        rotation = KeyRotation(
            keyring=keyring,
            note=note,
            publication=publication,
            propagation=Propagation(
                holders=GatewayKeyHolders(gateway),
                wait_seconds=_wait_seconds(wait, keyring.trust_domain),
                timeout_seconds=timeout_seconds,
                without=frozenset(without or ()),
                now_ms=now_ms,
                sleep=time.sleep,
                report=output.note,
            ),
            now_ms=now_ms,
            report=output.note,
        )
        rotated = rotation.run()
    output.document(
        {
            "namespace": keyring.namespace,
            "activated": [key_id.hex() for key_id in rotated.activated],
            "replaced": [key_id.hex() for key_id in rotated.replaced],
            "retired": [key_id.hex() for key_id in rotated.retired],
            "keyset_version": rotated.keyset_version,
        }
    )


app.command()(protect)


@app.command()
def renew(ctx: typer.Context, dry_run: DryRun = False) -> None:
    """Keep the published keyset alive; for cron, where no worker or client of the namespace runs for days.

    Needs the keyring only, neither root nor signer. Long-lived workers and clients do it by themselves.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.cli.keyset_directory import GatewayKeysets

    keyring = open_keyring(ctx)
    with open_connection(ctx) as gateway:
        directory = GatewayKeysets(gateway)
        own = _look_at_own(directory, keyring, at_once=True)
        if dry_run:
            what = f"that keyset {own.version} lives on" if own.renewed is not None else "nothing"
            invocation(ctx).output.note(f"Would publish {what}.")
            return
        if own.renewed is not None:
            directory.publish(own.renewed)
        after = _look_at_own(directory, keyring)
    invocation(ctx).output.document(_about_own(keyring, after) | {"renewed": own.renewed is not None})


@app.command()
def status(ctx: typer.Context) -> None:
    """Show until when the published keyset is good, and for each key what would be lost without it.

    Goes through everything that the gateway keeps for the namespace. The count of a key that was replaced is
    exact, once a minute is over after the last keyset: nothing that is sealed to it is taken any more. Until
    then it is still settling, and says until when. The count of an active key grows.

    Exits with 1 when the published keyset is not this team's: its root does not vouch for it, or it uses keys
    that the keyring does not have or put out of use.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.exit_code import ExitCode
    from isthmus.cli.kept_messages import GatewayMessages
    from isthmus.cli.key_settling import outlook
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.cli.rotation_schedule import days_of, note_beside, schedule_of
    from isthmus.keys.needed import Need, needs

    output = invocation(ctx).output
    keyring = open_keyring(ctx)
    with open_connection(ctx) as gateway:
        own = _look_at_own(GatewayKeysets(gateway), keyring)
        counted_from_ms = now_ms()
        needed = needs(GatewayMessages(gateway))
    keys = _keys(keyring)
    for key in keys:
        need = needed.pop(bytes.fromhex(key["key_id"]), Need())
        if key["kind"] != "encryption":
            continue
        key.update(messages=need.messages, open=need.open)
        if key["state"] in {"decrypt-only", "revoked"}:
            key.update(
                outlook(
                    bytes.fromhex(key["key_id"]),
                    need,
                    own.keyset,
                    trust_domain=keyring.trust_domain,
                    now_ms=counted_from_ms,
                )
            )
    keys += [
        {"key_id": key_id.hex(), "kind": "encryption", "state": "unknown", "messages": need.messages}
        for key_id, need in needed.items()
    ]
    schedule = schedule_of(
        keyring.contents, note_beside(keyring_path(ctx)), days=days_of(invocation(ctx).load_profile())
    )
    about = _about_own(keyring, own) | {
        "rotation_due_at": moment_of(schedule.due_at_ms),
        "rotation_under_way": schedule.is_under_way,
    }
    if output.is_json:
        output.json(about | {"keys": keys})
    else:
        output.document(about)
        output.rows(keys, (*COLUMNS, "messages", "open", "can_be_destroyed"))
    for key in keys:
        if until := key.get("settling_until"):
            output.note(
                f"Still settling until {until:%H:%M:%S} UTC: the gateway may yet take what is sealed to"
                f" {key['key_id']}, and its count grow."
            )
    if own.is_in_use:
        output.note(
            f"ALARM: keyset {own.version} uses keys that this keyring does not have or put out of use: it is"
            " an old copy, or somebody else published; docs/keys.md says what to do."
        )
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def delegate(
    ctx: typer.Context,
    root: Root = None,
    signer: Signer = None,
    keyset_life: KeysetLife = None,
    dry_run: DryRun = False,
) -> None:
    """Let the root delegate for another 90 days, to the signer in the given file. Then publish.

    For a root of one key; several people sign a draft instead: see isthmus root --help.
    """
    from isthmus.cli import key_forecast
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.keys.root_draft import adopt, draft, sign_draft

    life_ms = keyset_life_ms(keyset_life)
    keyring = open_keyring(ctx)
    root_key = keyring.root_key(root)
    delegated = draft(
        keyring.contents,
        signer=keyring.any_signer_key(signer).public,
        now_ms=now_ms(),
        keyset_life_ms=life_ms,
    )
    if dry_run:
        adopt(keyring.contents, sign_draft(delegated, root_key))
        _say(ctx, key_forecast.of_delegation(delegated.delegation, keyring_path(ctx)))
        return
    keyring.update(lambda contents: adopt(contents, sign_draft(delegated, root_key)))
    invocation(ctx).output.note("The root delegated anew. Next: isthmus keys publish.")


def _say(ctx: typer.Context, sentences: Iterable[str]) -> None:
    for sentence in list(sentences):
        invocation(ctx).output.note(sentence)


def _look_at_own(
    directory: "GatewayKeysets", keyring: "FileKeyring", *, at_once: bool = False
) -> "OwnKeyset":
    from isthmus.cli.exit_code import CliError, ExitCode
    from isthmus.keys.renewal import look_at_own

    signed = directory.newest(keyring.namespace)
    if signed is None:
        raise CliError(
            f"{keyring.namespace} has published no keyset; publish one with: isthmus keys publish",
            code=ExitCode.NOT_FOUND,
        )
    return look_at_own(signed, keyring.contents, now_ms=now_ms(), at_once=at_once)


def _about_own(keyring: "FileKeyring", own: "OwnKeyset") -> dict[str, Any]:
    return {
        "namespace": keyring.namespace,
        "keyset_version": own.version,
        "keyring_knows_version": keyring.contents.keyset_version or None,
        "expires_at": moment_of(own.expires_at_ms),
        "delegation_expires_at": moment_of(own.delegation_expires_at_ms),
        "keyset_life": format_duration(own.keyset_life_ms),
        "keys_not_in_this_keyring": [key_id.hex() for key_id in own.unknown],
        "keys_that_came_back": [key_id.hex() for key_id in own.came_back],
    }


def _wait_seconds(given: str | None, trust_domain: str) -> float:
    from isthmus.demo.deployment import TRUST_DOMAIN
    from isthmus.keys.directory import DEFAULT_CACHE_SECONDS

    if given is not None:
        return parse_duration(given).total_seconds()
    # Two cache lifetimes: a keyset fetched just before the new one was published, and one late refresh.
    return 1.0 if trust_domain == TRUST_DOMAIN else 2 * DEFAULT_CACHE_SECONDS


def _trust_domain_of_gateway(ctx: typer.Context) -> str:
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import key_service_pb2, key_service_pb2_grpc

    with open_connection(ctx) as gateway:
        answer = gateway.call(
            key_service_pb2_grpc.KeyServiceStub, "GetGatewayKey", key_service_pb2.GetGatewayKeyRequest()
        )
    return str(answer.trust_domain)


def _show(ctx: typer.Context, keyring: "FileKeyring") -> None:
    from isthmus.cli.key_custody import describe
    from isthmus.wire.keyset import format_fingerprint

    output = invocation(ctx).output
    contents = keyring.contents
    keys = _keys(keyring)
    about = {
        "namespace": keyring.namespace,
        "trust_domain": keyring.trust_domain,
        "fingerprint": format_fingerprint(contents.fingerprint) if contents.roots else None,
        "keyset_version": contents.keyset_version or None,
        **describe(keyring),
    }
    if output.is_json:
        output.json(about | {"keys": keys})
    else:
        output.document(about)
        output.rows(keys, COLUMNS)


def _keys(keyring: "FileKeyring") -> list[dict[str, Any]]:
    return [
        {
            "key_id": record.key_id.hex(),
            "kind": record.kind.name.lower(),
            "state": record.state.name.lower().replace("_", "-"),
            "created_at": moment_of(record.created_at_ms),
        }
        for record in sorted(keyring.public_keys(), key=lambda record: (record.kind, record.created_at_ms))
    ]
