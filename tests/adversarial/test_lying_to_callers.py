"""A gateway that lies to callers gets them to wait or to raise, never to return a wrong value."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from tests.adversarial.deceived import MALLORY, Deceived, Payments, deceived

from isthmus.client import flows
from isthmus.client.errors import UnprovenOutcomeError, UnverifiedAnswerError
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.v1 import envelope_pb2, operation_pb2

Lie = Callable[[Deceived, operation_pb2.OperationStatus], None]


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar, still honest."""
    async with deceived() as made:
        assert await made.payments.execute_operation(Payments.double, 1000) == 2000
        yield made


def other_ending(world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Serve the ending of another operation."""
    others = [ending for number, ending in world.liar.endings.items() if number != status.operation_id]
    status.ending.CopyFrom(others[0])


def whole_other_answer(world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Serve another operation's answer, its id included."""
    number = next(number for number in world.liar.endings if number != status.operation_id)
    status.ending.CopyFrom(world.liar.endings[number])
    status.operation_id = number


def changed_envelope(
    change: Callable[[Deceived, envelope_pb2.Envelope], None],
) -> Lie:
    """Return a lie that changes the sealed outcome."""

    def lie(world: Deceived, status: operation_pb2.OperationStatus) -> None:
        envelope = envelope_pb2.Envelope.FromString(status.ending.attested)
        change(world, envelope)
        status.ending.attested = envelope.SerializeToString()

    return lie


def resigned(_world: Deceived, envelope: envelope_pb2.Envelope) -> None:
    """Sign it again with a key of one's own."""
    envelope.signature = SigningPrivateKey.generate().sign(envelope.header + envelope.body)


def flipped_body(_world: Deceived, envelope: envelope_pb2.Envelope) -> None:
    """Change a bit of the ciphertext."""
    body = bytearray(envelope.body)
    body[len(body) // 2] ^= 1
    envelope.body = bytes(body)


def other_wraps(world: Deceived, envelope: envelope_pb2.Envelope) -> None:
    """Take the wrapped key of another message."""
    first = next(iter(world.liar.endings.values()))
    envelope.wraps[0].CopyFrom(envelope_pb2.Envelope.FromString(first.attested).wraps[0])


def own_request(world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Reflect the caller's own request as its result."""
    status.ending.attested = world.liar.requests[status.operation_id][0]


def plaintext(_world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Hand out plaintext."""
    status.ending.attested = b'{"ok": 4}'


def nothing(_world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Say that it ended, and not how."""
    status.ending.SetInParent()
    status.ending.ClearField("attested")


def unrelated_statement(name: str, value: object) -> Lie:
    """Return a statement that is about something else."""

    def lie(world: Deceived, status: operation_pb2.OperationStatus) -> None:
        world.liar.state(status, operation_pb2.STATEMENT_KIND_CANCELED, **{name: value})

    return lie


def unsigned_statement(world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """State without a signature that holds."""
    world.liar.state(status, operation_pb2.STATEMENT_KIND_TERMINATED)
    status.ending.statement.signature = bytes(64)


UNVERIFIED: dict[str, Lie] = {
    "other_ending": other_ending,
    "whole_other_answer": whole_other_answer,
    "resigned": changed_envelope(resigned),
    "flipped_body": changed_envelope(flipped_body),
    "other_wraps": changed_envelope(other_wraps),
    "no_wraps": changed_envelope(lambda _, envelope: envelope.ClearField("wraps")),
    "own_request": own_request,
    "plaintext": plaintext,
    "nothing": nothing,
    "statement_of_another_operation": unrelated_statement("operation_id", bytes(16)),
    "statement_of_another_request": unrelated_statement("request_digest", bytes(32)),
    "statement_of_another_caller": unrelated_statement("caller_namespace", MALLORY),
    "unsigned_statement": unsigned_statement,
}


@pytest.mark.parametrize("lie", UNVERIFIED.values(), ids=UNVERIFIED.keys())
async def test_answer_is_refused_when_it_does_not_verify(world: Deceived, lie: Lie) -> None:
    """Whatever is not the handler's own answer to this very request raises UnverifiedAnswerError."""

    def about(status: operation_pb2.OperationStatus) -> None:
        if status.HasField("ending"):
            lie(world, status)

    world.liar.about_status = about
    with pytest.raises(UnverifiedAnswerError):
        await world.payments.execute_operation(Payments.double, 7)
    world.liar.about_status = None


UNPROVEN = [
    operation_pb2.STATEMENT_KIND_DENIED,
    operation_pb2.STATEMENT_KIND_CANCELED,
    operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_START,
    operation_pb2.STATEMENT_KIND_TIMED_OUT_START_TO_CLOSE,
    operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE,
    operation_pb2.STATEMENT_KIND_TERMINATED,
    operation_pb2.STATEMENT_KIND_EXHAUSTED,
]


@pytest.mark.parametrize("kind", UNPROVEN, ids=lambda kind: operation_pb2.StatementKind.Name(kind).lower())
async def test_ending_is_unproven_when_only_the_gateway_says_so(
    world: Deceived, kind: "operation_pb2.StatementKind.ValueType"
) -> None:
    """A timeout before its time, a cancel that nobody asked for: reported as unproven, restarting nothing."""
    world.liar.about_status = lambda status: world.liar.state(status, kind)
    with pytest.raises(UnprovenOutcomeError) as caught:
        await world.payments.execute_operation(
            Payments.double,
            7,
            id="order-1",
            reuse_policy="restart_if_failed",
            schedule_to_start_timeout=timedelta(hours=1),
            start_to_close_timeout=timedelta(hours=1),
        )
    assert not caught.value.attested
    assert len(world.liar.requests) == 2  # the fixture's, and this one: no other generation


async def test_cancel_is_not_believed_when_it_was_for_another_operation(world: Deceived) -> None:
    """A cancel that the caller signed proves the end of that operation, and of no other."""
    hanging = await world.payments.start_operation(Payments.hang, 1)
    await world.handler.hanging.wait()
    await hanging.cancel()

    def about(status: operation_pb2.OperationStatus) -> None:
        world.liar.state(status, operation_pb2.STATEMENT_KIND_CANCELED)
        status.cancel = world.liar.cancels[0]

    world.liar.about_status = about
    with pytest.raises((UnprovenOutcomeError, UnverifiedAnswerError)):
        await world.payments.execute_operation(Payments.double, 7)


def delay(_world: Deceived, status: operation_pb2.OperationStatus) -> None:
    """Say that it still runs."""
    status.ClearField("ending")


def mutate(draw: random.Random, status: operation_pb2.OperationStatus) -> None:
    """Change a random byte of what is sealed."""
    sealed = bytearray(status.ending.attested)
    sealed[draw.randrange(len(sealed))] ^= 1 << draw.randrange(8)
    status.ending.attested = bytes(sealed)


@pytest.mark.parametrize("seed", range(4))
async def test_no_value_is_wrong_when_the_gateway_lies_at_random(
    world: Deceived, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred calls, every other answer a lie: each one returns its own result, or raises."""
    # Key ids of wraps are not signed: one that was changed is looked for as a new one, for half a minute.
    monkeypatch.setattr(flows, "_REFRESH_PAUSES_SECONDS", (0.0,))
    draw = random.Random(seed)  # noqa: S311 - the same lies every time
    lies = [*UNVERIFIED.values(), delay]
    endings: Counter[str] = Counter()

    def about(status: operation_pb2.OperationStatus) -> None:
        if not status.HasField("ending") or draw.random() < 0.5:
            return
        if draw.random() < 0.3:
            mutate(draw, status)
        else:
            draw.choice(lies)(world, status)

    world.liar.about_status = about
    for amount in range(200):
        try:
            doubled = await world.payments.execute_operation(Payments.double, amount)
        except (UnverifiedAnswerError, UnprovenOutcomeError) as error:
            endings[type(error).__name__] += 1
        else:
            assert doubled == 2 * amount
            endings["right"] += 1
    assert endings["right"] >= 50
    assert endings["UnverifiedAnswerError"] >= 50
