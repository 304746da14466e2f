"""Requests that a worker does not believe: rejected with a code, explained in its own log."""

import pytest
from tests.unit.worker.gateway import Gateway, start_task
from tests.unit.worker.parties import Caller, HandlerClient, MemoryDirectory, MemoryKeyring, handler_client
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler

from isthmus.keys.keyset import VerifiedKeyset
from isthmus.transport.errors import InvalidRequestError
from isthmus.wire.envelope import encode_envelope, parse_envelope


async def test_request_is_rejected_when_its_caller_is_not_pinned(
    gateway: Gateway, client: HandlerClient, stranger: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway learns a code; the log says which command would trust the caller."""
    handler = PaymentsHandler()
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(stranger.request("charge", Charge("o", 1)))])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"
    assert "isthmus trust add stranger" in caplog.text
    assert handler.runs == 0


async def test_request_is_rejected_when_it_was_changed(
    gateway: Gateway, client: HandlerClient, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """A bit of the body is enough; the log names the check, the gateway does not learn it."""
    task = start_task(caller.request("charge", Charge("o", 1)))
    envelope = parse_envelope(task.request)
    task.request = encode_envelope(
        envelope._replace(body=envelope.body[:-1] + bytes([envelope.body[-1] ^ 1]))
    )
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[task])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"
    assert "check signature failed" in caplog.text


async def test_request_is_rejected_when_it_is_delivered_for_another_operation(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The task names the operation; the request was signed for another one."""
    task = start_task(caller.request("charge", Charge("o", 1)))
    task.operation_id = bytes(16)
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[task])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"
    assert outcome.task.operation_id == bytes(16)


async def test_request_is_rejected_when_it_has_expired(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Stale requests are not run, however long the gateway held them back."""
    task = start_task(caller.request("charge", Charge("o", 1), expires_in_ms=-1))
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[task])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"


async def test_second_request_is_rejected_when_its_operation_id_was_used(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The same request may come again, another one under its id may not."""
    first = caller.request("charge", Charge("o", 1))
    second = caller.request("charge", Charge("o", 2), operation_id=first.header.operation_id)
    handler = PaymentsHandler()
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(first)])
        await stream.outcome()
        stream.send(tasks=[start_task(first, attempt=2)])
        assert (await stream.outcome()).WhichOneof("outcome") == "envelope"
        stream.send(tasks=[start_task(second, attempt=3)])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"
    assert handler.runs == 2


async def test_request_is_rejected_when_its_endpoint_is_not_served(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A worker that names its endpoints takes nothing from others, whatever the gateway routes to it."""
    async with running(client, PaymentsHandler(), endpoints=["refunds"]):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "E2E_REJECTED"


class RefusingDirectory(MemoryDirectory):
    """Asks a gateway that refuses to say whose keys are whose."""

    async def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """Raise what the gateway answers."""
        raise InvalidRequestError(f"{namespace} is no namespace")


async def test_key_is_reported_missing_when_the_gateway_refuses_the_keyset_of_a_caller(
    gateway: Gateway, client: HandlerClient, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """It may name a caller that cannot exist: that is a rejection, and no bug to report."""
    client.key_directory = RefusingDirectory()
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "KEY_UNAVAILABLE"
    assert "is no namespace" in caplog.text
    assert "Please report this" not in caplog.text


async def test_key_is_reported_missing_when_a_request_is_sealed_to_an_unknown_one(
    gateway: Gateway, caller: Caller
) -> None:
    """A worker whose keyring is older than the key says so, and another attempt is made later."""
    older = MemoryKeyring(caller.handler.namespace)
    client = handler_client(gateway.address, older, caller.keyring)
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        outcome = await stream.outcome()
    assert outcome.rejection.code == "KEY_UNAVAILABLE"
    await client.connection.close()
