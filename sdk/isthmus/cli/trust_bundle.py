"""``isthmus trust bundle``: pins of many teams in one file, signed by the organization."""

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.fingerprint import parse_fingerprint
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import moment_of, now_ms, parse_duration
from isthmus.cli.trust_store_file import open_trust_store

if TYPE_CHECKING:
    from isthmus.keys.trust import TrustStore
    from isthmus.keys.trusted import AcceptedBundle
    from isthmus.wire.bundle_statement import Bundle, SignedBundle

app = typer.Typer(
    no_args_is_help=True,
    help="""Bundles: pins of many teams in one file, signed by the organization.

Whoever signs for the organization makes a key (isthmus root new FILE --organization NAME) and hands its
public line to whoever drafts. That person drafts a bundle (draft), so many as the threshold says look at it
(show) and sign it (sign). Teams pin the organization's root once (add), and take in later versions (update).
The file needs no secrecy: keep it in version control, serve it, mail it.""",
)
COLUMNS = ("organization", "version", "ends_at", "namespaces", "signed_by", "fingerprint")
BundleFile = Annotated[
    Path, typer.Argument(help="The bundle; - reads it from stdin.", dir_okay=False, allow_dash=True)
]
DraftFile = Annotated[Path, typer.Argument(help="The draft; public, pass it on as you like.", dir_okay=False)]


@app.command()
def draft(  # noqa: PLR0917 - typer names them
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to put the draft.", dir_okay=False)],
    after: Annotated[
        Path | None, typer.Option(help="The newest bundle, which this one follows; none: a first one.")
    ] = None,
    pins: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON list of namespaces, or a trust store's file; none: as before."),
    ] = None,
    organization: Annotated[str | None, typer.Option(help="Of a first bundle: whose it is.")] = None,
    trust_domain: Annotated[
        str | None, typer.Option(help="Of a first bundle: the deployment, as `isthmus keys show` prints it.")
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="File with the public line of who signs from now on. Repeatable."),
    ] = None,
    threshold: Annotated[int, typer.Option(help="How many of these keys have to sign.", min=1)] = 1,
    life: Annotated[
        str, typer.Option(help="How long teams may go by it; at most 366d.", metavar="TIME")
    ] = "90d",
    dry_run: DryRun = False,
) -> None:
    """Draft the first or the next bundle of an organization. With --key, for other keys than before."""
    from isthmus.cli.bundle_pins import read_pins
    from isthmus.keys import bundle_draft
    from isthmus.keys.errors import KeysError
    from isthmus.keys.key_file import require_no_file
    from isthmus.keys.private_file import replace_file
    from isthmus.keys.root_draft import decode_public
    from isthmus.wire.chain import ChainError

    require_no_file(file)
    keys = [decode_public(one.read_text(encoding="utf-8")) for one in key or ()]
    read = None if pins is None else read_pins(pins)
    lifetime_ms = parse_duration(life) // timedelta(milliseconds=1)
    before = None if after is None else _read(after)
    try:
        if before is not None:
            if organization is not None or trust_domain is not None:
                raise CliError("--organization and --trust-domain go with a first bundle, without --after")
            made = bundle_draft.next_bundle(
                before, keys=keys, threshold=threshold, pins=read, now_ms=now_ms(), lifetime_ms=lifetime_ms
            )
        elif organization is None or trust_domain is None or not keys or read is None:
            raise CliError("a first bundle needs --organization, --trust-domain, --key and --pins")
        else:
            made = bundle_draft.first_bundle(
                organization=organization,
                trust_domain=trust_domain,
                keys=keys,
                threshold=threshold,
                pins=read,
                now_ms=now_ms(),
                lifetime_ms=lifetime_ms,
            )
    except ChainError as error:
        raise KeysError(f"this makes no bundle: {error}") from None
    if dry_run:
        invocation(ctx).output.note(f"Would write {file}:")
    else:
        replace_file(file, bundle_draft.encode_bundle_file(made))
    _show(ctx, made, before)


@app.command()
def sign(
    ctx: typer.Context,
    file: DraftFile,
    root: Annotated[Path, typer.Option(help="File of your private key.", dir_okay=False)],
    dry_run: DryRun = False,
) -> None:
    """Sign a draft with one's own key. Look at it first: isthmus trust bundle show."""
    from isthmus.cli.passphrase import read_passphrase
    from isthmus.keys import bundle_draft
    from isthmus.keys.errors import KeysError
    from isthmus.keys.key_file import read_key
    from isthmus.keys.keyring_format import KeyFile, KeyRole
    from isthmus.keys.private_file import replace_file
    from isthmus.wire.bundle import check_bundle_form, read_bundle
    from isthmus.wire.chain import ChainError

    chosen = invocation(ctx)
    unsigned = _read(file)
    bundle, _ = read_bundle(unsigned)
    try:
        check_bundle_form(bundle)
    except ChainError as error:
        raise KeysError(f"{file} is no bundle that anybody would believe: {error}") from None
    about, key = read_key(root, read_passphrase(chosen.load_profile(), chosen.environment))
    wanted = KeyFile(
        role=KeyRole.ORGANIZATION, trust_domain=bundle.trust_domain, namespace=bundle.organization
    )
    if about != wanted:
        raise KeysError(
            f"{root} holds a {about.role.value} key of {about.namespace} ({about.trust_domain}), not one of"
            f" the organization {bundle.organization} ({bundle.trust_domain})"
        )
    signed = bundle_draft.sign_bundle(unsigned, key)
    if dry_run:
        chosen.output.note(f"Would sign {file} with the key {key.key_id.hex()}, which makes it:")
    else:
        replace_file(file, bundle_draft.encode_bundle_file(signed))
    _show(ctx, signed)


@app.command()
def show(
    ctx: typer.Context,
    file: BundleFile,
    after: Annotated[
        Path | None, typer.Option(help="The bundle before: show what changes.", dir_okay=False)
    ] = None,
) -> None:
    """Show what a bundle says, and whose signatures are missing. Needs no gateway and no keyring."""
    _show(ctx, _read(file), None if after is None else _read(after))


@app.command()
def add(
    ctx: typer.Context,
    file: BundleFile,
    fingerprint: Annotated[
        str,
        typer.Option(
            help="SHA256:… of the organization's root; compare it with the people who hold it.",
            metavar="SHA256:…",
        ),
    ],
    dry_run: DryRun = False,
) -> None:
    """Pin the root of an organization, and trust from now on whom its bundle vouches for."""
    _take(ctx, _read(file), fingerprint=parse_fingerprint(fingerprint), dry_run=dry_run)


@app.command()
def update(ctx: typer.Context, file: BundleFile, dry_run: DryRun = False) -> None:
    """Take in a newer bundle of an organization whose root is pinned; whom it leaves out is trusted no more.

    By cron, from wherever the organization serves it: curl -fsS https://… | isthmus trust bundle update -
    """
    _take(ctx, _read(file), fingerprint=None, dry_run=dry_run)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the organizations whose bundles count here."""
    found = [_document(accepted) for accepted in open_trust_store(ctx).bundles()]
    invocation(ctx).output.rows(
        found, COLUMNS, empty="No bundle counts here; see isthmus trust bundle --help."
    )


@app.command()
def remove(
    ctx: typer.Context,
    organization: Annotated[str, typer.Argument(help="As `isthmus trust bundle list` names it.")],
    dry_run: DryRun = False,
) -> None:
    """Forget an organization and its root: whom only it vouches for is not trusted any more."""
    store = open_trust_store(ctx, dry_run=dry_run)
    if organization not in {accepted.bundle.organization for accepted in store.bundles()}:
        raise CliError(
            f"no bundle of {organization} is here; which there are says: isthmus trust bundle list",
            code=ExitCode.NOT_FOUND,
        )
    alone = [
        trusted.namespace
        for trusted in store.namespaces()
        if trusted.expires_at_ms is not None and trusted.organizations == (organization,)
    ]
    store.remove_bundle(organization)
    verb = "Would forget" if dry_run else "Forgot"
    invocation(ctx).output.note(
        f"{verb} {organization}; not trusted any more: {', '.join(alone) or 'nobody'}."
    )


def _take(ctx: typer.Context, signed: "SignedBundle", *, fingerprint: bytes | None, dry_run: bool) -> None:
    from isthmus.wire.bundle import read_bundle

    output = invocation(ctx).output
    store = open_trust_store(ctx, dry_run=dry_run)
    known = {accepted.bundle.organization: accepted.bundle for accepted in store.bundles()}
    before = known.get(read_bundle(signed)[0].organization)
    accepted = store.take_bundle(signed, fingerprint=fingerprint)
    output.document(_document(accepted) | {"changes": _changes(before, accepted.bundle)})
    _warn_of_conflicts(ctx, store)


def _warn_of_conflicts(ctx: typer.Context, store: "TrustStore") -> None:
    output, everything = invocation(ctx).output, store.everything()
    for trusted in everything.namespaces.values():
        for conflict in trusted.conflicts:
            output.note(f"{trusted.namespace}: {conflict}; your own pin counts.")
    for contested in (everything.contested_namespaces, everything.contested_endpoints):
        for what, names in contested.items():
            said = f"{what}: {' and '.join(names)} contradict each other; nobody's until you pin it yourself."
            output.note(said)


def _read(file: Path) -> "SignedBundle":
    from isthmus.keys.bundle_draft import decode_bundle_file

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None
    return decode_bundle_file(data)


def _show(ctx: typer.Context, signed: "SignedBundle", before: "SignedBundle | None" = None) -> None:
    from isthmus.keys.bundle_draft import missing_signatures
    from isthmus.wire.bundle import read_bundle
    from isthmus.wire.keyset import format_fingerprint
    from isthmus.wire.trust_statement import Root

    bundle, _ = read_bundle(signed)
    root = Root.decode(signed.roots[-1].statement)
    about: dict[str, Any] = {
        "organization": bundle.organization,
        "trust_domain": bundle.trust_domain,
        "version": bundle.version,
        "ends_at": moment_of(bundle.expires_at_ms),
        "fingerprint": format_fingerprint(signed.roots[-1].hash),
        "root_version": root.version,
        "threshold": root.threshold,
        "keys": [key.key_id.hex() for key in root.keys],
        "missing_signatures": [
            f"{count} of the {what}" for what, count in missing_signatures(signed).items()
        ],
    }
    if before is not None:
        about["changes"] = _changes(read_bundle(before)[0], bundle)
    pins = [
        {
            "namespace": pin.namespace,
            "fingerprint": format_fingerprint(pin.fingerprint),
            "endpoints": list(pin.endpoints),
        }
        for pin in bundle.pins
    ]
    output = invocation(ctx).output
    if output.is_json:
        output.json(about | {"pins": pins})
    else:
        output.document(about)
        output.rows(pins, ("namespace", "fingerprint", "endpoints"), empty="It vouches for nobody.")


def _document(accepted: "AcceptedBundle") -> dict[str, Any]:
    from isthmus.wire.keyset import format_fingerprint

    bundle = accepted.bundle
    return {
        "organization": bundle.organization,
        "version": bundle.version,
        "ends_at": moment_of(bundle.expires_at_ms),
        "namespaces": len(bundle.pins),
        "signed_by": [signature.key_id.hex() for signature in accepted.signed.bundle.signatures],
        "fingerprint": format_fingerprint(accepted.fingerprint),
    }


def _changes(before: "Bundle | None", after: "Bundle") -> list[str]:
    """Return in sentences what a bundle says differently from the one before."""
    old = {} if before is None else {pin.namespace: pin for pin in before.pins}
    new = {pin.namespace: pin for pin in after.pins}
    said = [f"{namespace}: new" for namespace in new if namespace not in old]
    said += [f"{namespace}: left out" for namespace in old if namespace not in new]
    for namespace in sorted(old.keys() & new.keys()):
        if old[namespace].fingerprint != new[namespace].fingerprint:
            said.append(f"{namespace}: another root")
        said += _moved(namespace, old[namespace].endpoints, new[namespace].endpoints)
    return said


def _moved(namespace: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    words: Mapping[str, set[str]] = {"new": set(new) - set(old), "left out": set(old) - set(new)}
    return [f"{namespace}: endpoint {name} {word}" for word, names in words.items() for name in sorted(names)]
