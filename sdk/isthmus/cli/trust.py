"""``isthmus trust``: whose keys this team believes, and which endpoint belongs to whom."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import moment_of, now_ms

if TYPE_CHECKING:
    from isthmus.keys.trust import TrustedNamespace, TrustStore

app = typer.Typer(no_args_is_help=True, help="Trust: pin other teams by the fingerprint of their root key.")
COLUMNS = ("namespace", "fingerprint", "endpoints", "pinned_by", "keyset_version")
_PREFIX = "SHA256:"
_DIGITS = 64
_VERIFIED = "verified"


@app.command()
def add(
    ctx: typer.Context,
    namespace: Annotated[str, typer.Argument(help="The other team.")],
    fingerprint: Annotated[
        str,
        typer.Option(
            help="SHA256:… as that team's `isthmus keys show` prints it; ask them, not the gateway.",
            metavar="SHA256:…",
        ),
    ],
    endpoint: Annotated[
        list[str] | None, typer.Option(help="An endpoint that belongs to it. Repeatable.")
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="The endpoint was handed over: forget whose it was before.")
    ] = False,
) -> None:
    """Pin a namespace's root key, and endpoints to the namespace."""
    trusted = _store(ctx).add(
        namespace, parse_fingerprint(fingerprint), endpoints=tuple(endpoint or ()), move_endpoints=move
    )
    invocation(ctx).output.document(_document(trusted))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List what is pinned."""
    found = [_document(trusted) for trusted in _store(ctx).namespaces()]
    invocation(ctx).output.rows(found, COLUMNS, empty="Nobody is trusted yet; see isthmus trust add --help.")


@app.command()
def remove(
    ctx: typer.Context,
    namespace: Annotated[str, typer.Argument(help="The other team.")],
) -> None:
    """Forget a namespace and its endpoints: nothing is sealed to it or believed of it any more."""
    store = _store(ctx)
    if store.trusted(namespace) is None:
        raise CliError(f"{namespace} is not pinned", code=ExitCode.NOT_FOUND)
    store.remove(namespace)
    invocation(ctx).output.note(f"{namespace} is no longer trusted.")


@app.command()
def verify(
    ctx: typer.Context,
    namespace: Annotated[
        list[str] | None, typer.Argument(help="Whose keysets; default: everybody's that is pinned.")
    ] = None,
) -> None:
    """Fetch the keysets of those who are pinned and hold them to every rule, as a client does.

    Exits with 1 when one of them is refused.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.directory import KeysetCache
    from isthmus.keys.errors import KeysetRejectedError

    store = _store(ctx)
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
            except KeysetRejectedError as error:
                verdict["verdict"] = str(error)
            else:
                verdict |= {"verdict": _VERIFIED, "keyset_version": verified.keyset.version}
                verdict["expires_at"] = moment_of(verified.expires_at_ms)
    invocation(ctx).output.rows(found, ("namespace", "verdict", "keyset_version", "expires_at"))
    if any(verdict["verdict"] != _VERIFIED for verdict in found):
        raise typer.Exit(ExitCode.FAILED)


def parse_fingerprint(text: str) -> bytes:
    """Read ``SHA256:`` and 64 hexadecimal digits. Raises CliError."""
    digits = text.strip().removeprefix(_PREFIX).replace(":", "")
    try:
        fingerprint = bytes.fromhex(digits)
    except ValueError:
        fingerprint = b""
    if len(digits) != _DIGITS or len(fingerprint) * 2 != _DIGITS:
        raise CliError(f"{text!r} is no fingerprint: it is {_PREFIX} and {_DIGITS} hexadecimal digits")
    return fingerprint


def _store(ctx: typer.Context) -> "TrustStore":
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys.trust import TrustStore

    profile = invocation(ctx).load_profile()
    if profile.trust_store is None:
        raise CliError("which trust store? Set trust_store in the profile, or ISTHMUS_TRUST_STORE")
    return TrustStore(profile.trust_store, trust_domain=open_keyring(ctx).trust_domain)


def _document(trusted: "TrustedNamespace") -> dict[str, Any]:
    from isthmus.wire.keyset import format_fingerprint

    return {
        "namespace": trusted.namespace,
        "fingerprint": format_fingerprint(trusted.fingerprint),
        "endpoints": list(trusted.endpoints),
        "pinned_by": "the gateway, on first use" if trusted.on_first_use else "a person",
        "keyset_version": None if trusted.seen is None else trusted.seen.keyset.version,
    }
