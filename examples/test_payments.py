"""How to test a service and its callers against a real gateway, in one process: ``pytest examples``."""

from dataclasses import dataclass

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client.errors import PermissionDeniedError
from isthmus.testing import LocalGateway


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What to charge."""

    customer: str
    cents: int


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was charged."""

    customer: str
    cents: int


@nexusrpc.service
class Payments:
    """The contract of the two teams."""

    charge: nexusrpc.Operation[Charge, Receipt]


@service_handler(service=Payments)
class PaymentsHandler:
    """What the application team serves."""

    @sync_operation
    async def charge(self, _ctx: StartOperationContext, charge: Charge) -> Receipt:
        """Charge a customer."""
        if charge.cents <= 0:
            raise nexusrpc.OperationError(
                "there is nothing to charge", state=nexusrpc.OperationErrorState.FAILED
            )
        return Receipt(customer=charge.customer, cents=charge.cents)


async def test_charge_returns_a_receipt_when_the_amount_is_positive() -> None:
    """The data team calls the application team, and gets a typed result."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        async with gateway.worker(
            "app-team", task_queue="payments", nexus_service_handlers=[PaymentsHandler()]
        ):
            client = await gateway.client("data-team")
            payments = client.create_nexus_client(endpoint="payments", service=Payments)
            receipt = await payments.execute_operation(
                Payments.charge, Charge(customer="Ada", cents=300), id="order-42"
            )
    assert receipt == Receipt(customer="Ada", cents=300)


async def test_charge_fails_when_there_is_nothing_to_charge() -> None:
    """The handler's own error arrives at the caller."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        async with gateway.worker(
            "app-team", task_queue="payments", nexus_service_handlers=[PaymentsHandler()]
        ):
            client = await gateway.client("data-team")
            payments = client.create_nexus_client(endpoint="payments", service=Payments)
            with pytest.raises(nexusrpc.OperationError, match="nothing to charge"):
                await payments.execute_operation(Payments.charge, Charge(customer="Ada", cents=0))


async def test_charge_is_denied_when_the_endpoint_does_not_allow_the_caller() -> None:
    """Nobody calls an endpoint that does not say so."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team/Payments/refund"])
        client = await gateway.client("data-team")
        payments = client.create_nexus_client(endpoint="payments", service=Payments)
        with pytest.raises(PermissionDeniedError):
            await payments.execute_operation(Payments.charge, Charge(customer="Ada", cents=300))
