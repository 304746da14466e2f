"""``isthmus root``: a root that several people hold, and what they sign together."""

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation
from isthmus.cli.keyset_life import KeysetLife, keyset_life_ms
from isthmus.cli.moment import format_duration, moment_of, now_ms

app = typer.Typer(
    no_args_is_help=True,
    help="""Root: what other teams pin. Several people can hold it together.

Each holder makes a key (new) and hands its public line to whoever has the keyring. That person drafts a root
of these keys (draft), each holder signs the draft (sign), and the keyring adopts it once enough have (adopt).
The same way leads to the next root, and to a delegation for another 90 days (draft without keys).""",
)
DraftFile = Annotated[Path, typer.Argument(help="The draft; public, pass it on as you like.", dir_okay=False)]


@app.command()
def new(  # noqa: PLR0917 - typer names them
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to put the private key.", dir_okay=False)],
    trust_domain: Annotated[str, typer.Option(help="The deployment, as `isthmus keys show` prints it.")],
    namespace: Annotated[str | None, typer.Option(help="Whose root it will be a key of.")] = None,
    organization: Annotated[
        str | None, typer.Option(help="Or of which organization: see isthmus trust bundle --help.")
    ] = None,
    signer: Annotated[
        bool, typer.Option("--signer", help="Make a signer key instead: the root delegates to it.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make a private key of a root, and print its public line. Needs no gateway and no keyring."""
    from isthmus.cli.passphrase import read_passphrase, require_passphrase
    from isthmus.keys.hybrid_key import HybridPrivateKey
    from isthmus.keys.key_file import require_no_file, write_key
    from isthmus.keys.keyring_format import KeyFile, KeyRole
    from isthmus.keys.root_draft import encode_public
    from isthmus.wire.names import check_namespace, check_trust_domain

    chosen = invocation(ctx)
    if (namespace is None) == (organization is None) or (signer and namespace is None):
        raise CliError("whose key? Give --namespace, or --organization for one that signs its bundles")
    role = KeyRole.ROOT if organization is None else KeyRole.ORGANIZATION
    about = KeyFile(
        role=KeyRole.SIGNER if signer else role,
        trust_domain=check_trust_domain(trust_domain),
        namespace=check_namespace(namespace or organization or ""),
    )
    require_no_file(file)
    if dry_run:
        require_passphrase(chosen.load_profile(), chosen.environment)
        chosen.output.note(f"Would write {file}, with a new {about.role.value} key of {about.namespace}.")
        return
    passphrase = read_passphrase(chosen.load_profile(), chosen.environment, confirm=True)
    key = HybridPrivateKey.generate()
    write_key(file, key, about, passphrase)
    chosen.output.note(f"Made {file}. Hand this line to whoever drafts the root:")
    chosen.output.document({"key_id": key.key_id.hex(), "public": encode_public(key.public)})


@app.command()
def draft(  # noqa: PLR0917 - typer names them
    ctx: typer.Context,
    file: DraftFile,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="File with the public line of a holder. Repeatable. None: only delegate anew."),
    ] = None,
    threshold: Annotated[int, typer.Option(help="How many of the keys have to sign.", min=1)] = 1,
    signer: Annotated[
        Path | None, typer.Option(help="File of the signer key; default: beside the keyring.", dir_okay=False)
    ] = None,
    keyset_life: KeysetLife = None,
    dry_run: DryRun = False,
) -> None:
    """Draft the first or the next root, or another delegation by the root that is."""
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys import root_draft
    from isthmus.keys.key_file import require_no_file
    from isthmus.keys.private_file import replace_file

    require_no_file(file)
    life_ms = keyset_life_ms(keyset_life)
    keyring = open_keyring(ctx)
    made = root_draft.draft(
        keyring.contents,
        keys=[root_draft.decode_public(one.read_text(encoding="utf-8")) for one in key or ()],
        threshold=threshold,
        signer=keyring.any_signer_key(signer).public,
        now_ms=now_ms(),
        keyset_life_ms=life_ms,
    )
    if dry_run:
        invocation(ctx).output.note(f"Would write {file}:")
    else:
        replace_file(file, root_draft.encode_draft(made))
    _show(ctx, made)


@app.command()
def sign(
    ctx: typer.Context,
    file: DraftFile,
    root: Annotated[Path, typer.Option(help="File of your private key.", dir_okay=False)],
    dry_run: DryRun = False,
) -> None:
    """Sign a draft with one's own key. Look at it first: isthmus root show."""
    from isthmus.cli.passphrase import read_passphrase
    from isthmus.keys import root_draft
    from isthmus.keys.key_file import read_key
    from isthmus.keys.private_file import replace_file

    chosen = invocation(ctx)
    passphrase = read_passphrase(chosen.load_profile(), chosen.environment)
    _, key = read_key(root, passphrase)
    signed = root_draft.sign_draft(root_draft.decode_draft(file.read_bytes()), key)
    if dry_run:
        chosen.output.note(f"Would sign {file} with the key {key.key_id.hex()}, which makes it:")
    else:
        replace_file(file, root_draft.encode_draft(signed))
    _show(ctx, signed)


@app.command()
def show(ctx: typer.Context, file: DraftFile) -> None:
    """Show what a draft says, and whose signatures are missing."""
    from isthmus.keys import root_draft

    _show(ctx, root_draft.decode_draft(file.read_bytes()))


@app.command()
def adopt(ctx: typer.Context, file: DraftFile, dry_run: DryRun = False) -> None:
    """Take a draft that enough have signed into the keyring. Then publish."""
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.keys import root_draft

    signed = root_draft.decode_draft(file.read_bytes())
    keyring = open_keyring(ctx)
    if dry_run:
        root_draft.adopt(keyring.contents, signed)
        invocation(ctx).output.note(f"Would write {keyring_path(ctx)}, with what the draft says:")
        _show(ctx, signed)
        return
    keyring.update(lambda contents: root_draft.adopt(contents, signed))
    invocation(ctx).output.note("Adopted. Next: isthmus keys publish.")


def _show(ctx: typer.Context, made: Any) -> None:  # noqa: ANN401 - a RootDraft, imported when it is needed
    from isthmus.wire.keyset import format_fingerprint
    from isthmus.wire.trust_statement import Delegation, Root

    root = Root.decode(made.authority.statement)
    delegation = Delegation.decode(made.delegation.statement)
    missing = made.missing()
    invocation(ctx).output.document(
        {
            "namespace": root.namespace,
            "trust_domain": root.trust_domain,
            "root_version": root.version,
            "new_root": made.root is not None,
            "fingerprint": format_fingerprint(made.authority.hash),
            "threshold": root.threshold,
            "keys": [key.key_id.hex() for key in root.keys],
            "delegation_version": delegation.version,
            "signer": delegation.signer.key_id.hex(),
            "renewer": None if delegation.renewer is None else delegation.renewer.key_id.hex(),
            "keyset_life": format_duration(delegation.max_renewal_ms),
            "delegation_expires_at": moment_of(delegation.expires_at_ms),
            "missing_signatures": [f"{count} of the {what}" for what, count in missing.items()],
        }
    )
