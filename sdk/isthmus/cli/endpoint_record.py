"""``isthmus endpoint publish``: what the owner of an endpoint signs about it; and whether that verifies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.dry_run import DryRun
from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation
from isthmus.cli.key_disposal import Signer
from isthmus.cli.moment import moment_of, now_ms

if TYPE_CHECKING:
    from isthmus.cli.connection import GatewayConnection
    from isthmus.keys.contents import KeyringContents
    from isthmus.keys.record_publication import NextRecord, RecordWishes
    from isthmus.keys.trust import TrustStore
    from isthmus.wire.chain import Mark
    from isthmus.wire.endpoint_record import EndpointRecord, SignedEndpointRecord
    from isthmus.wire.hybrid import HybridPublicKey
    from isthmus.wire.trust_statement import SignedKeyset, SignedStatement

_DIGITS = 64

RequiredRecipients = Annotated[
    list[str] | None,
    typer.Option(
        "--required-recipient",
        help="A namespace that everything between caller and handler is sealed to as well, such as an escrow;"
        " callers have to consent. Repeatable; replaces the whole list.",
        metavar="NAMESPACE",
    ),
]


def publish(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    *,
    task_queue: Annotated[
        str | None, typer.Option(help="The queue that its workers poll; the first record has to say it.")
    ] = None,
    required_recipient: RequiredRecipients = None,
    no_required_recipients: Annotated[
        bool, typer.Option("--no-required-recipients", help="Nobody reads along any more.")
    ] = False,
    contract_hash: Annotated[
        str | None,
        typer.Option(help="SHA-256 of the contract, 64 hexadecimal digits; empty: none.", metavar="HEX"),
    ] = None,
    signer: Signer = None,
    dry_run: DryRun = False,
) -> None:
    """Sign how an endpoint of yours is served, and who reads along, and publish it.

    What is not given stays as the newest record says it. From the first record on, callers and workers go by
    it and not by what the gateway says. What is said already, and not old, is not signed again. The endpoint
    takes over the task queue that the record names.
    """
    from isthmus.keys.record_publication import RecordWishes

    if required_recipient and no_required_recipients:
        raise CliError("--required-recipient and --no-required-recipients contradict each other")
    recipients = () if no_required_recipients else required_recipient
    wishes = RecordWishes(
        task_queue=task_queue,
        required_recipients=None if recipients is None else tuple(recipients),
        contract_hash=None if contract_hash is None else _parse_hash(contract_hash),
    )
    publish_record(ctx, name, wishes, signer=signer, dry_run=dry_run)


def publish_record(
    ctx: typer.Context,
    name: str,
    wishes: "RecordWishes",
    *,
    signer: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Publish the next record of an endpoint, or only say what it would be."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys.record_publication import RecordPublication
    from isthmus.wire.chain import ChainError

    output = invocation(ctx).output
    keyring = open_keyring(ctx)
    store = _trust_store(ctx, keyring.trust_domain)

    def seen(namespace: str, endpoint: str) -> "Mark | None":
        return None if store is None else store.seen_record(namespace, endpoint)

    with open_connection(ctx) as gateway:
        publication = RecordPublication(
            contents=keyring.contents,
            signer=keyring.signer_key(signer),
            place=GatewayRecords(gateway),
            seen=seen,
            now_ms=now_ms,
        )
        try:
            following = (publication.next if dry_run else publication.publish)(name, wishes)
        except ChainError as error:
            raise CliError(f"this makes no record: {error}") from None
    said = following.record if following.is_new or following.before is None else following.before
    output.document(document_of_record(said) | {"published": following.is_new and not dry_run})
    if dry_run and following.is_new:
        output.note("Would sign and publish this.")
    _advise(ctx, following, store)


def _advise(ctx: typer.Context, following: "NextRecord", store: "TrustStore | None") -> None:
    """Name the recipients that workers with this trust store would not seal to."""
    consented = frozenset[str]() if store is None else store.recipients()
    for recipient in following.record.required_recipients:
        if recipient not in consented:
            invocation(ctx).output.note(
                f"Your workers do not seal to {recipient} yet: isthmus trust add {recipient} --as-recipient"
                " with their trust store. Callers have to do the same."
            )


class GatewayRecords:
    """The gateway as the place where records are published. A ``RecordPlace``."""

    def __init__(self, gateway: "GatewayConnection") -> None:
        self._gateway = gateway

    def record(self, endpoint: str) -> "SignedEndpointRecord | None":
        """Return the newest record of an endpoint, None when there is none. Raises GatewayError."""
        from isthmus.client.record_fetching import record_in, record_request
        from isthmus.v1 import endpoint_service_pb2_grpc

        stub = endpoint_service_pb2_grpc.EndpointServiceStub
        return record_in(self._gateway.call(stub, "GetEndpointRecord", record_request(endpoint)))

    def keyset(self, namespace: str) -> "SignedKeyset | None":
        """Return the newest keyset of a namespace, None when there is none. Raises GatewayError."""
        from isthmus.cli.keyset_directory import GatewayKeysets

        return GatewayKeysets(self._gateway).newest(namespace)

    def publish(self, signed: "SignedStatement") -> None:
        """Publish a record. Raises GatewayError."""
        from isthmus.v1 import endpoint_service_pb2, endpoint_service_pb2_grpc
        from isthmus.wire.trust_statement import signed_statement_message

        request = endpoint_service_pb2.PublishEndpointRecordRequest(record=signed_statement_message(signed))
        self._gateway.call(endpoint_service_pb2_grpc.EndpointServiceStub, "PublishEndpointRecord", request)


def document_of_record(record: "EndpointRecord") -> dict[str, Any]:
    """Return a record for people and programs."""
    return {
        "endpoint": record.endpoint,
        "namespace": record.namespace,
        "record_version": record.version,
        "task_queue": record.task_queue,
        "required_recipients": list(record.required_recipients),
        "contract_hash": record.contract_hash.hex() or None,
        "issued_at": moment_of(record.issued_at_ms),
        "expires_at": moment_of(record.expires_at_ms),
    }


def described_record(
    ctx: typer.Context, gateway: "GatewayConnection", name: str, namespace: str
) -> dict[str, Any]:
    """Return what is signed about an endpoint, and whether it verifies by the pins and keys that are here.

    ``namespace`` is whom the gateway names as the owner; of others' endpoints the pin decides.
    """
    from isthmus.wire.endpoint_record import EndpointRecord
    from isthmus.wire.errors import WireFormatError

    signed = GatewayRecords(gateway).record(name)
    shown: dict[str, Any] | None = None
    if signed is not None:
        try:
            shown = document_of_record(EndpointRecord.decode(signed.record.statement))
        except WireFormatError:
            shown = {}
    return {"record": shown, "record_verdict": _verdict(ctx, gateway, name, namespace, signed)}


def _verdict(
    ctx: typer.Context,
    gateway: "GatewayConnection",
    name: str,
    namespace: str,
    signed: "SignedEndpointRecord | None",
) -> str:
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys.endpoint_records import RecordCache
    from isthmus.keys.errors import KeysError

    profile = invocation(ctx).load_profile()
    if profile.trust_store is None or profile.keyring is None:
        return "not verified: the profile has no keyring, or no trust store"
    try:
        keyring = open_keyring(ctx)
        store = _trust_store(ctx, keyring.trust_domain)
        if store is None:
            raise AssertionError
        owner = namespace if namespace == keyring.namespace else store.namespace_of_endpoint(name)
        signer = None if signed is None else _signer(gateway, owner, keyring.contents, store)
        RecordCache(store, clock_ms=now_ms).accept(owner, name, signed, signer)
    except KeysError as error:
        return str(error)
    except CliError as error:
        return f"not verified: {error}"
    return "nothing is signed" if signed is None else "verified"


def _signer(
    gateway: "GatewayConnection", owner: str, contents: "KeyringContents", store: "TrustStore"
) -> "HybridPublicKey | None":
    from isthmus.cli.keyset_directory import GatewayKeysets
    from isthmus.keys.directory import KeysetCache
    from isthmus.keys.endpoint_records import own_signer

    signed = GatewayKeysets(gateway).newest(owner)
    if signed is None:
        return None
    if owner == contents.namespace:
        return own_signer(signed, contents, now_ms=now_ms())
    return KeysetCache(store, clock_ms=now_ms).accept(owner, signed).signer


def _trust_store(ctx: typer.Context, trust_domain: str) -> "TrustStore | None":
    from isthmus.keys.trust import TrustStore

    path = invocation(ctx).load_profile().trust_store
    return None if path is None else TrustStore(path, trust_domain=trust_domain)


def _parse_hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b"?"
    if len(text) not in {0, _DIGITS} or len(value) * 2 != len(text):
        raise CliError(f"a contract hash is {_DIGITS} hexadecimal digits, or empty, not {text!r}")
    return value
