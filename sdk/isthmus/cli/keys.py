"""``isthmus keys``: the keyring of one's own namespace, and what others are told about it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.invocation import invocation
from isthmus.cli.key_custody import Custody, CustodyKey, protect
from isthmus.cli.moment import parse_duration

if TYPE_CHECKING:
    from isthmus.keys.file_keyring import FileKeyring

app = typer.Typer(
    no_args_is_help=True, help="Keys: your namespace's keyring, and what others are told of it."
)
COLUMNS = ("key_id", "kind", "state", "created_at")
Root = Annotated[
    Path | None,
    typer.Option(help="The root's own file, when it is kept apart from the keyring.", dir_okay=False),
]


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
    custody: Custody = None,
    custody_key: CustodyKey = None,
) -> None:
    """Make a keyring: a root, a signing key, an encryption key. Nothing is published yet."""
    from isthmus.cli.exit_code import CliError
    from isthmus.cli.key_custody import chosen_provider
    from isthmus.cli.keyring_file import keyring_path
    from isthmus.cli.passphrase import read_passphrase
    from isthmus.keys.file_keyring import FileKeyring

    chosen = invocation(ctx)
    profile = chosen.load_profile()
    name = namespace or profile.namespace
    if name is None:
        raise CliError("whose keys? Give --namespace, or set namespace in the profile")
    path = keyring_path(ctx, keyring)
    provider = chosen_provider(ctx, custody, custody_key)
    passphrase = None
    if provider is None or root is not None:
        # The root's own file always has one: it is kept where no provider is.
        passphrase = read_passphrase(profile, chosen.environment, confirm=True)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = FileKeyring.create(
        path,
        provider or passphrase or b"",
        namespace=name,
        trust_domain=trust_domain or _trust_domain_of_gateway(ctx),
        now_ms=_now_ms(),
        root_path=root,
        root_passphrase=passphrase if provider is not None else None,
    )
    chosen.output.note(f"Made {path}. Next: isthmus keys publish, and tell other teams the fingerprint.")
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
    root: Root = None,
) -> None:
    """Sign what the keyring says about its public keys and publish it, unless that is known already."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.publication import KeysetPublication

    keyring = open_keyring(ctx, root=root)
    with open_connection(ctx) as gateway:
        publication = KeysetPublication(
            keyring=keyring,
            root=keyring.root_key(),
            directory=GatewayKeysets(gateway),
            now_ms=_now_ms,
            after_restore=after_restore,
        )
        keyset, is_new = publication.publish()
    invocation(ctx).output.document(
        {"namespace": keyset.namespace, "keyset_version": keyset.version, "published": is_new}
    )


@app.command()
def rotate(
    ctx: typer.Context,
    wait: Annotated[
        str | None,
        typer.Option(
            help="How long others may keep a keyset before they look again; default 10m.", metavar="TIME"
        ),
    ] = None,
    root: Root = None,
) -> None:
    """Replace the signing key and the encryption key while traffic flows. Repeat it if it was interrupted."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.key_rotation import KeyRotation
    from isthmus.cli.keyring_file import keyring_path, open_keyring
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.publication import KeysetPublication

    output = invocation(ctx).output
    keyring = open_keyring(ctx, root=root)
    path = keyring_path(ctx)
    with open_connection(ctx) as gateway:
        publication = KeysetPublication(
            keyring=keyring, root=keyring.root_key(), directory=GatewayKeysets(gateway), now_ms=_now_ms
        )
        rotation = KeyRotation(
            keyring=keyring,
            note=path.with_name(f"{path.name}.rotation"),
            publication=publication,
            now_ms=_now_ms,
            sleep=time.sleep,
            report=output.note,
        )
        rotated = rotation.run(wait_seconds=_wait_seconds(wait, keyring.trust_domain))
    output.document(
        {
            "namespace": keyring.namespace,
            "activated": [key_id.hex() for key_id in rotated.activated],
            "replaced": [key_id.hex() for key_id in rotated.replaced],
            "keyset_version": rotated.keyset_version,
        }
    )


app.command()(protect)


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
    from datetime import UTC, datetime

    from isthmus.cli.key_custody import describe
    from isthmus.wire.keyset import format_fingerprint, root_fingerprint

    output = invocation(ctx).output
    contents = keyring.contents
    keys: list[dict[str, Any]] = [
        {
            "key_id": record.key_id.hex(),
            "kind": record.kind.name.lower(),
            "state": record.state.name.lower().replace("_", "-"),
            "created_at": datetime.fromtimestamp(record.created_at_ms / 1000, tz=UTC),
        }
        for record in sorted(keyring.public_keys(), key=lambda record: (record.kind, record.created_at_ms))
    ]
    about = {
        "namespace": keyring.namespace,
        "trust_domain": keyring.trust_domain,
        "fingerprint": format_fingerprint(root_fingerprint(contents.root_public_key)),
        "keyset_version": contents.keyset_version or None,
        **describe(keyring),
    }
    if output.is_json:
        output.json(about | {"keys": keys})
    else:
        output.document(about)
        output.rows(keys, COLUMNS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
