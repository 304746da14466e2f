# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""KeyService: the directory of signed keysets. The gateway is no authority on keys."""

from functools import partial

from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.denial_log import DenialLog
from isthmus.gateway.api.key_holders import KeyHolders
from isthmus.gateway.api.keyset_message import read_signed_keyset
from isthmus.gateway.api.sealed_messages import SealedMessages
from isthmus.gateway.commands.publish_keyset import publish_keyset
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.core.errors import AccessDeniedError, NotFoundError
from isthmus.gateway.ports import Clock, Store
from isthmus.gateway.statement_key import StatementKey
from isthmus.v1 import key_service_pb2 as pb
from isthmus.v1 import key_service_pb2_grpc as pb_grpc
from isthmus.wire.names import check_namespace


class KeyService(pb_grpc.KeyServiceServicer):
    """Keysets of namespaces, and the gateway's own key."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        signer: StatementKey,
        denials: DenialLog,
        sealed: SealedMessages,
        holders: KeyHolders,
        trust_domain: str,
        version: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._denials = denials
        self._sealed = sealed
        self._holders = holders
        self._signer = signer
        self._trust_domain = trust_domain
        self._version = version

    async def PublishKeyset(
        self, request: pb.PublishKeysetRequest, context: object
    ) -> pb.PublishKeysetResponse:
        """Replace the keyset of the caller's namespace by a newer one, or renew it."""
        principal, now = current_principal(), self._clock.now()
        signed = read_signed_keyset(request.keyset, trust_domain=self._trust_domain, now=now)
        try:
            await self._store.transact(partial(publish_keyset, signed=signed, actor=principal.actor, now=now))
        except AccessDeniedError:
            denied = RequestDenied(action="administer", rule="not-the-namespace", handler=signed.namespace)
            await self._denials.record(principal, denied)
            raise
        return pb.PublishKeysetResponse()

    async def GetKeyset(self, request: pb.GetKeysetRequest, context: object) -> pb.GetKeysetResponse:
        """Fetch the newest keyset of a namespace."""
        namespace = check_namespace(request.namespace)
        stored = await self._store.read(lambda reader: reader.keyset(namespace))
        if stored is None:
            raise NotFoundError(
                f"{namespace} has published no keyset",
                reason="KEYSET_NOT_FOUND",
                fix=f"The team of {namespace} publishes one with: isthmus keys publish",
            )
        return pb.GetKeysetResponse(keyset=pb.SignedKeyset.FromString(stored.message))

    async def ListSealedMessages(
        self, request: pb.ListSealedMessagesRequest, context: object
    ) -> pb.ListSealedMessagesResponse:
        """Show a page of what is sealed to the caller's namespace."""
        return await self._sealed.page(current_principal(), request)

    async def GetSealedMessage(
        self, request: pb.GetSealedMessageRequest, context: object
    ) -> pb.GetSealedMessageResponse:
        """Show one message that is sealed to the caller's namespace."""
        return await self._sealed.get(current_principal(), request)

    async def RewrapMessages(
        self, request: pb.RewrapMessagesRequest, context: object
    ) -> pb.RewrapMessagesResponse:
        """Seal what is kept for the caller's namespace to another of its keys."""
        return await self._sealed.rewrap(current_principal(), request)

    async def ReportKeys(self, request: pb.ReportKeysRequest, context: object) -> pb.ReportKeysResponse:
        """Remember which keys a process of the caller's namespace has at hand."""
        return await self._holders.report(current_principal(), request)

    async def ListKeyHolders(
        self, request: pb.ListKeyHoldersRequest, context: object
    ) -> pb.ListKeyHoldersResponse:
        """Show a page of the processes of the caller's namespace."""
        return await self._holders.page(current_principal(), request)

    async def GetGatewayKey(
        self, request: pb.GetGatewayKeyRequest, context: object
    ) -> pb.GetGatewayKeyResponse:
        """Show the key with which the gateway signs statements."""
        del request
        return pb.GetGatewayKeyResponse(
            public_key=self._signer.public_key, trust_domain=self._trust_domain, version=self._version
        )
