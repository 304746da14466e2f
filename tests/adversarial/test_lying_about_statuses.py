"""A gateway that lies about many operations at once: what it shows is refused, each lie for itself."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.adversarial.deceived import MALLORY, Deceived, Payments, deceived
from tests.adversarial.liar import STATUSES

from isthmus.client import OperationStatus, flows
from isthmus.client.errors import UnverifiedAnswerError
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.v1 import operation_pb2, operation_service_pb2
from isthmus.wire.header import Direction

Response = operation_service_pb2.BatchGetOperationStatusesResponse
Lie = Callable[["World", Response], None]
KINDS = operation_pb2.StatementKind.values()[1:]


class World:
    """Two operations that succeeded, one that runs, and a liar in between."""

    def __init__(self, teams: Deceived, ids: list[str]) -> None:
        self.teams = teams
        self.ids = ids

    async def ask(self, lie: Lie) -> list[OperationStatus]:
        """Ask, and hear a lie."""

        def tell(message: bytes) -> bytes:
            response = Response.FromString(message)
            lie(self, response)
            return response.SerializeToString()

        self.teams.liar.about_unary[STATUSES] = tell
        return await self.teams.client.get_operation_statuses(self.ids)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Still honest. New keys are looked for once."""
    monkeypatch.setattr(flows, "_REFRESH_PAUSES_SECONDS", (0.0,))
    async with deceived() as teams:
        started = [await teams.payments.start_operation(Payments.double, amount) for amount in (1, 2)]
        for handle in started:
            await handle.result()
        started.append(await teams.payments.start_operation(Payments.hang, 3))
        await teams.handler.hanging.wait()
        yield World(teams, [handle.operation_id for handle in started])


def swap_endings(_: World, response: Response) -> None:
    """Show the ending of another operation."""
    response.statuses[0].attested.CopyFrom(response.statuses[1].attested)


def swap_answers(_: World, response: Response) -> None:
    """Show another operation."""
    response.statuses[0].CopyFrom(response.statuses[1])


def swap_all_but_the_id(_: World, response: Response) -> None:
    """Show another operation as this one."""
    number = response.statuses[0].operation_id
    response.statuses[0].CopyFrom(response.statuses[1])
    response.statuses[0].operation_id = number


def reflect_request(_: World, response: Response) -> None:
    """Show the caller's own request as the outcome."""
    status = response.statuses[0]
    status.attested.header, status.attested.signature = status.request.header, status.request.signature
    status.attested.body_digest = status.request.body_digest


def resign(_: World, response: Response) -> None:
    """Sign with a key of one's own."""
    proof = response.statuses[0].attested
    proof.signature = SigningPrivateKey.generate().sign(proof.header + proof.body_digest)


def turn_into_failure(_: World, response: Response) -> None:
    """Change what the handler signed: a result into a failure, on which something would be started again."""
    proof = response.statuses[0].attested
    field = b"\x10" + bytes([Direction.RESULT.value])
    assert field in proof.header
    proof.header = proof.header.replace(field, b"\x10" + bytes([Direction.FAILURE.value]), 1)


def other_body(_: World, response: Response) -> None:
    """Name another body."""
    response.statuses[0].attested.body_digest = bytes(32)


def hide_ending(_: World, response: Response) -> None:
    """Say that it ended, and not how."""
    response.statuses[0].ClearField("attested")


def hide_request(_: World, response: Response) -> None:
    """Do not prove the request."""
    response.statuses[0].ClearField("request")


def unsigned_statement(world: World, response: Response) -> None:
    """State without a signature."""
    state(world, response, operation_pb2.STATEMENT_KIND_TERMINATED)
    response.statuses[0].statement.signature = bytes(64)


def statement_about_another(world: World, response: Response) -> None:
    """State about somebody else's operation."""
    state(world, response, operation_pb2.STATEMENT_KIND_TERMINATED, caller_namespace=MALLORY)


def state(
    world: World, response: Response, kind: "operation_pb2.StatementKind.ValueType", **changes: object
) -> None:
    """Replace the ending by a statement, well signed."""
    status = operation_pb2.OperationStatus(operation_id=response.statuses[0].operation_id)
    world.teams.liar.state(status, kind, **changes)
    response.statuses[0].statement.CopyFrom(status.ending.statement)


LIES: list[Lie] = [
    swap_endings,
    swap_answers,
    swap_all_but_the_id,
    reflect_request,
    resign,
    turn_into_failure,
    other_body,
    hide_ending,
    hide_request,
    unsigned_statement,
    statement_about_another,
]


async def test_statuses_are_verified_when_the_gateway_is_honest(world: World) -> None:
    """Results count as attested; what runs is only the gateway's word."""
    found = await world.ask(lambda _world, _response: None)
    assert [(entry.status, entry.attested) for entry in found] == [
        ("succeeded", True),
        ("succeeded", True),
        ("running", False),
    ]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_one_status_is_refused_when_the_gateway_lies_about_one(world: World, lie: Lie) -> None:
    """The lie is named as what it is, and the others are answered."""
    lied, *others = await world.ask(lie)
    assert (lied.status, lied.attested, lied.ended) == ("unverified", False, False)
    assert lied.error is not None
    assert [entry.status for entry in others] == ["succeeded", "running"]


@pytest.mark.parametrize("kind", KINDS, ids=operation_pb2.StatementKind.Name)
async def test_status_is_unproven_when_only_the_gateway_says_so(
    world: World, kind: "operation_pb2.StatementKind.ValueType"
) -> None:
    """As with wait: a timeout before its time, a cancel that nobody asked for."""
    lied, *_ = await world.ask(lambda world, response: state(world, response, kind))
    assert (lied.status, lied.attested, lied.ended) == ("unproven", False, False)


@pytest.mark.parametrize("count", [0, 4])
async def test_answer_is_refused_when_it_has_the_wrong_length(world: World, count: int) -> None:
    """Nothing, or more than what was asked for: the client neither asks for ever nor believes it."""

    def resize(_: World, response: Response) -> None:
        first = Response.FromString(response.SerializeToString()).statuses[0]
        del response.statuses[:]
        response.statuses.extend([first] * count)

    with pytest.raises(UnverifiedAnswerError):
        await world.ask(resize)
