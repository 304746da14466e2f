"""``isthmus trust``: whose keys this team believes, and which endpoint belongs to whom."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import completing, trust_bundle
from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.fingerprint import parse_fingerprint
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import moment_of, now_ms
from isthmus.cli.trust_store_file import open_trust_store

if TYPE_CHECKING:
    from isthmus.keys.trusted import TrustedNamespace

app = typer.Typer(no_args_is_help=True, help="Trust: pin other teams by the fingerprint of their root key.")
COLUMNS = (
    "namespace",
    "fingerprint",
    "endpoints",
    "reads_along",
    "pinned_by",
    "ends_at",
    "keyset_version",
    "conflicts",
)
_VERIFIED = "verified"


app.add_typer(trust_bundle.app, name="bundle")


@app.command()
def add(
    ctx: typer.Context,
    namespace: Annotated[str, typer.Argument(help="The other team.")],
    *,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            help="SHA256:… as that team's `isthmus keys show` prints it; ask them, not the gateway.",
            metavar="SHA256:…",
        ),
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="An endpoint that belongs to it. Repeatable.")
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="The endpoint was handed over: forget whose it was before.")
    ] = False,
    as_recipient: Annotated[
        bool,
        typer.Option(
            "--as-recipient",
            help="It may read along where the owner of an endpoint signed that it has to, such as an escrow.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Pin a namespace's root key, and endpoints to the namespace; or let one that is trusted read along."""
    store = open_trust_store(ctx, dry_run=dry_run)
    if fingerprint is not None:
        store.add(
            namespace, parse_fingerprint(fingerprint), endpoints=tuple(endpoint or ()), move_endpoints=move
        )
    elif not as_recipient or endpoint or move or store.trusted(namespace) is None:
        raise CliError(f"which fingerprint? Ask the team of {namespace}, and give --fingerprint SHA256:…")
    if as_recipient:
        store.set_recipient(namespace, consent=True)
    trusted = store.trusted(namespace)
    if trusted is None:
        raise AssertionError
    invocation(ctx).output.document(_document(trusted, store.recipients()))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List who is pinned, and by whom: you, or the bundle of an organization."""
    store = open_trust_store(ctx)
    everything, recipients = store.everything(), store.recipients()
    found = [_document(trusted, recipients) for _, trusted in sorted(everything.namespaces.items())]
    found += [
        {
            "namespace": namespace,
            "conflicts": [f"{' and '.join(names)} name different roots: pin it yourself"],
        }
        for namespace, names in sorted(everything.contested_namespaces.items())
    ]
    output = invocation(ctx).output
    output.rows(found, COLUMNS, empty="Nobody is trusted yet; see isthmus trust add --help.")
    for endpoint, names in sorted(everything.contested_endpoints.items()):
        output.note(
            f"{' and '.join(names)} give the endpoint {endpoint} to different namespaces: pin it yourself."
        )


@app.command()
def remove(
    ctx: typer.Context,
    namespace: Annotated[
        str, typer.Argument(help="The other team.", autocompletion=completing.pinned_namespaces)
    ],
    only_as_recipient: Annotated[
        bool, typer.Option("--as-recipient", help="It stays trusted, and does not read along any more.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Forget a namespace and its endpoints: nothing is sealed to it or believed of it any more."""
    store = open_trust_store(ctx, dry_run=dry_run)
    if only_as_recipient:
        store.set_recipient(namespace, consent=False)
        invocation(ctx).output.note(f"{namespace} does not read along any more.")
        return
    trusted = store.trusted(namespace)
    if trusted is None:
        raise CliError(f"{namespace} is not pinned; who is says: isthmus trust list", code=ExitCode.NOT_FOUND)
    if trusted.expires_at_ms is not None:
        raise CliError(
            f"{namespace} is not pinned here: the bundle of {' and '.join(trusted.organizations)} vouches for"
            " it, and goes on until the organization leaves it out (or: isthmus trust bundle remove)",
            code=ExitCode.CONFLICT,
        )
    store.remove(namespace)
    note = f"{namespace} is no longer trusted."
    if trusted.organizations or store.trusted(namespace) is not None:
        note = f"The pin of {namespace} is gone; a bundle still vouches for it: see isthmus trust list."
    invocation(ctx).output.note(note)


@app.command()
def verify(
    ctx: typer.Context,
    namespace: Annotated[
        list[str] | None,
        typer.Argument(
            help="Whose keysets; default: everybody's that is pinned.",
            autocompletion=completing.pinned_namespaces,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Fetch the keysets of those who are pinned and hold them to every rule, as a client does.

    The newest versions are remembered, as a client does, except in a dry run. Exits with 1 when one of them
    is refused.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.directory import KeysetCache
    from isthmus.keys.errors import KeysetRejectedError, TrustError

    store = open_trust_store(ctx, dry_run=dry_run)
    wanted = namespace or [trusted.namespace for trusted in store.namespaces()]
    found: list[dict[str, Any]] = []
    with open_connection(ctx) as gateway:
        directory = GatewayKeysets(gateway)
        cache = KeysetCache(store, clock_ms=now_ms)
        for name in wanted:
            verdict: dict[str, Any] = {"namespace": name, "verdict": "published nothing"}
            found.append(verdict)
            if (signed := directory.newest(name)) is None:
                continue
            try:
                verified = cache.accept(name, signed)
            except (KeysetRejectedError, TrustError) as error:
                verdict["verdict"] = str(error)
            else:
                verdict |= {"verdict": _VERIFIED, "keyset_version": verified.keyset.version}
                verdict["expires_at"] = moment_of(verified.expires_at_ms)
    invocation(ctx).output.rows(found, ("namespace", "verdict", "keyset_version", "expires_at"))
    if any(verdict["verdict"] != _VERIFIED for verdict in found):
        raise typer.Exit(ExitCode.FAILED)


def _document(trusted: "TrustedNamespace", recipients: frozenset[str]) -> dict[str, Any]:
    from isthmus.wire.keyset import format_fingerprint

    pinned_by = [f"bundle of {organization}" for organization in trusted.organizations]
    if trusted.expires_at_ms is None:
        pinned_by.insert(0, "the gateway, on first use" if trusted.on_first_use else "a person")
    return {
        "namespace": trusted.namespace,
        "fingerprint": format_fingerprint(trusted.fingerprint),
        "endpoints": list(trusted.endpoints),
        "reads_along": trusted.namespace in recipients,
        "pinned_by": ", ".join(pinned_by),
        "ends_at": None if trusted.expires_at_ms is None else moment_of(trusted.expires_at_ms),
        "keyset_version": None if trusted.seen is None else trusted.seen.keyset.version,
        "conflicts": list(trusted.conflicts),
    }
