"""A real gateway inside your tests: ``isthmus.testing.LocalGateway``.

::

    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        handlers = [PaymentsHandler()]
        async with gateway.worker("app-team", task_queue="payments", nexus_service_handlers=handlers):
            client = await gateway.client("data-team")
            payments = client.create_nexus_client(endpoint="payments", service=Payments)
            assert await payments.execute_operation(Payments.charge, Charge(amount=3)) == Receipt(amount=3)

It needs what a gateway needs: ``pip install 'isthmus[gateway]'``.
"""

from isthmus.testing.local_gateway import LocalGateway, LocalNamespace

__all__ = ["LocalGateway", "LocalNamespace"]
