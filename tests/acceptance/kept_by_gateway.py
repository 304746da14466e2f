"""A gateway's key directory and what it keeps for a namespace, in a file that outlives killed processes."""

import json
import os
from pathlib import Path
from typing import Any

from isthmus.transport.errors import ConflictError, NotFoundError
from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire.trust_statement import (
    Keyset,
    SignedKeyset,
    decode_signed_keyset,
    encode_signed_keyset,
    signed_keyset_message,
    signed_keyset_of,
)

NAMESPACE = "app-team"


class KeptByGateway:
    """Answers the RPCs of the key commands. Each answer is durable, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, method: str, request: Any) -> Any:  # noqa: ANN401 - the messages of the RPC
        """Answer one call."""
        answer = getattr(self, method)(request)
        assert answer is not None
        return answer

    def state(self) -> dict[str, Any]:
        """Return what is kept."""
        empty: dict[str, Any] = {"keysets": [], "messages": {}}
        found: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else empty
        return found

    def keep(self, **changes: Any) -> None:
        """Keep something else."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self.state() | changes))
        os.replace(beside, self._path)  # noqa: PTH105 - nothing of it is counted

    def keysets(self) -> list[SignedKeyset]:
        """Return all keysets that were published, oldest first."""
        return [decode_signed_keyset(bytes.fromhex(one)) for one in self.state()["keysets"]]

    def GetKeyset(self, request: pb.GetKeysetRequest) -> pb.GetKeysetResponse:  # noqa: N802
        """Return the newest keyset."""
        found = self.keysets()
        if request.namespace != NAMESPACE or not found:
            raise NotFoundError("no keyset")
        return pb.GetKeysetResponse(keyset=signed_keyset_message(found[-1]))

    def PublishKeyset(self, request: pb.PublishKeysetRequest) -> pb.PublishKeysetResponse:  # noqa: N802
        """Take the next version, or a renewal of this one."""
        kept, signed = self.keysets(), signed_keyset_of(request.keyset)
        if kept and kept[-1].hash == signed.hash:
            kept = kept[:-1]
        elif Keyset.decode(signed.keyset.statement).version != len(kept) + 1:
            raise ConflictError("another version is next")
        self.keep(keysets=[encode_signed_keyset(one).hex() for one in (*kept, signed)])
        return pb.PublishKeysetResponse()

    def ListKeyHolders(self, request: Any) -> Any:  # noqa: ANN401, N802
        """Nobody reports."""
        del request
        return pb.ListKeyHoldersResponse()

    def ListSealedMessages(  # noqa: N802
        self, request: pb.ListSealedMessagesRequest
    ) -> pb.ListSealedMessagesResponse:
        """Return everything that is sealed to a key, or to any."""
        messages = (
            pb.SealedMessage(
                place=place,
                key_id=bytes.fromhex(one["key_id"]),
                header_hash=bytes(32),
                wrap=bytes.fromhex(one["wrap"]) if request.with_wraps else b"",
            )
            for place, one in self.state()["messages"].items()
            if not request.key_id or request.key_id.hex() == one["key_id"]
        )
        return pb.ListSealedMessagesResponse(messages=messages)

    def RewrapMessages(self, request: pb.RewrapMessagesRequest) -> pb.RewrapMessagesResponse:  # noqa: N802
        """Replace wraps."""
        messages = self.state()["messages"]
        for one in request.rewraps:
            assert messages[one.place]["key_id"] == one.old_key_id.hex()
            messages[one.place] = {"key_id": one.new_key_id.hex(), "wrap": one.wrap.hex()}
        self.keep(messages=messages)
        return pb.RewrapMessagesResponse(replaced=len(request.rewraps))
