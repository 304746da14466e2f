"""A service for tests that need one of their own and do not care which."""

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation


@nexusrpc.service
class Reports:
    """Makes reports."""

    make: nexusrpc.Operation[str, str]


@service_handler(service=Reports)
class ReportsHandler:
    """Makes reports."""

    @sync_operation
    async def make(self, _ctx: StartOperationContext, name: str) -> str:
        """Make one."""
        return name.upper()
