"""A gateway that goes on showing the second keyset of a namespace, and says that it took the later ones."""

import os
import sys
from pathlib import Path

from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.key_service import KeyService
from isthmus.gateway.config.loading import load_config
from isthmus.gateway.process import run_process
from isthmus.v1 import key_service_pb2 as pb

_honest = KeyService.PublishKeyset


async def _publish(
    self: KeyService, request: pb.PublishKeysetRequest, context: object
) -> pb.PublishKeysetResponse:
    """Take two, and swallow all that follow, renewals too."""
    namespace = current_principal().namespace
    known = await self._store.read(lambda reader: reader.keyset(namespace))
    if known is not None and known.version > 1:
        return pb.PublishKeysetResponse()
    return await _honest(self, request, context)


if __name__ == "__main__":
    KeyService.PublishKeyset = _publish  # type: ignore[method-assign]
    run_process(load_config(Path(sys.argv[1]), os.environ))
