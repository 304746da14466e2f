"""The client of the SDK is what a worker needs: the types say so, and so does its class."""

from isthmus.client import Client
from isthmus.worker import WorkerClient


def as_worker_client(client: Client) -> WorkerClient:
    """Checked by the type checkers."""
    return client


def test_client_serves_workers_when_its_attributes_are_compared() -> None:
    """Every attribute that workers use exists on the client."""
    needed = {name for name in vars(WorkerClient) if not name.startswith("_")}
    assert needed <= set(dir(Client))
