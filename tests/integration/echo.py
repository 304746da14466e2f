"""The smallest service, for tests of what is around it."""

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation


@nexusrpc.service
class Echo:
    """Says things back."""

    say: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Says things back."""

    @sync_operation
    async def say(self, _ctx: StartOperationContext, text: str) -> str:
        """Say it back."""
        return text
