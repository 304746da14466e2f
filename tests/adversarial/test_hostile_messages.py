"""Malformed, oversized and misdirected messages: each is refused clearly, and the gateway goes on."""

import random
import time
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
import pytest
from tests.adversarial.victim import CALL_SECONDS, MIB, Metadata, Victim
from tests.integration.registry_gateway import reason_of

from isthmus.gateway.api.access import ACCESS, Access
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.v1 import key_service_pb2, operation_service_pb2
from isthmus.wire.trust_statement import signed_keyset_message

V1 = "/isthmus.v1."
START = V1 + "OperationService/StartOperation"
WHO_AM_I = V1 + "NamespaceService/WhoAmI"
ATTEMPTS = 20
STREAMS = (V1 + "OperationService/Session", V1 + "WorkerService/Work")
OURS = sorted(method for method in ACCESS if method.startswith(V1))
# What a client that made a mistake may be told. INTERNAL and UNKNOWN would mean that nobody foresaw it.
CLEAR = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


async def refusal(
    channel: grpc.aio.Channel,
    method: str,
    *messages: bytes,
    metadata: Metadata,
    compression: grpc.Compression | None = None,
    seconds: float = CALL_SECONDS,
) -> grpc.aio.AioRpcError | None:
    """Send raw messages to a method, and nothing more; return the error that ends the call, None if none."""
    make: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    for _ in range(ATTEMPTS):
        call = make(iter(messages), metadata=metadata, timeout=seconds, compression=compression)
        try:
            async for _answer in call:
                pass
        except grpc.aio.AioRpcError as error:
            # Refused while the message was on its way, gRPC's client may report its own failed write.
            if "execute_batch" not in str(error.debug_error_string()):
                return error
        else:
            return None
    pytest.fail("no write got through")


def noise(seed: str, count: int) -> list[bytes]:
    """Return random messages, the same ones for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - the same messages every time
    return [draw.randbytes(draw.randrange(1, 2000)) for _ in range(count)]


def assert_clear(error: grpc.aio.AioRpcError | None) -> None:
    """Fail unless a refusal is one that a client understands and that tells nothing of the inside."""
    if error is None:
        return  # some bytes are a message after all
    assert error.code() in CLEAR, (error.code(), error.details())
    told = error.details() or ""
    assert "Error'" not in told
    assert "google.protobuf" not in told


@pytest.mark.parametrize("method", OURS)
async def test_message_is_refused_when_it_is_noise(victim: Victim, method: str) -> None:
    """Bytes that are no message of the type are INVALID_ARGUMENT, whatever the method."""
    messages = [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", *noise(method, 12)]
    async with victim.channel() as channel:
        errors = [await refusal(channel, method, message, metadata=victim.caller) for message in messages]
    for error in errors:
        assert_clear(error)
    assert errors[0] is not None
    # Who may not call it at all is told so before anything of the request is looked at.
    only_platform = ACCESS[method] is Access.PLATFORM
    assert reason_of(errors[0]) == ("NOT_PLATFORM" if only_platform else "MALFORMED_MESSAGE")
    assert victim.incidents() == []


async def test_gateway_goes_on_when_messages_are_noise(victim: Victim) -> None:
    """A flood of noise costs nobody else anything."""
    async with victim.survives(), victim.channel() as channel:
        for message in noise("flood", 300):
            assert_clear(await refusal(channel, START, message, metadata=victim.caller))


def truncations(message: bytes, count: int) -> Sequence[bytes]:
    """Return beginnings of a message."""
    return [message[: len(message) * part // count] for part in range(1, count)]


async def test_message_is_refused_when_truncated(victim: Victim) -> None:
    """A keyset that stops anywhere is refused, and is not published in part."""
    keyring = victim.deployment.caller.open_keyring()
    signed = sign_keyset(
        next_keyset(keyring.contents, now_ms=time.time_ns() // 1_000_000),
        keyring.contents,
        keyring.signer_key(),
    )
    request = key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(signed))
    whole = request.SerializeToString()
    async with victim.survives(), victim.channel() as channel:
        for part in truncations(whole, 40):
            error = await refusal(channel, V1 + "KeyService/PublishKeyset", part, metadata=victim.caller)
            assert error is not None
            assert_clear(error)


async def test_message_is_refused_when_oversized(victim: Victim) -> None:
    """What is larger than a frame is refused before it is in memory as a whole."""
    async with victim.survives(most_bytes=120 * MIB), victim.channel() as channel:
        for method in (START, *STREAMS):
            error = await refusal(channel, method, bytes(64 * MIB), metadata=victim.caller)
            assert error is not None
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_envelope_is_refused_when_oversized(victim: Victim) -> None:
    """An envelope that fits into a frame and is larger than an envelope may be is no envelope."""
    request = operation_service_pb2.StartOperationRequest(envelope=bytes(15 * MIB)).SerializeToString()
    async with victim.survives(), victim.channel() as channel:
        error = await refusal(channel, START, request, metadata=victim.caller)
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_message_is_refused_when_it_is_a_compression_bomb(victim: Victim) -> None:
    """Half a megabyte that inflates to 400 MiB is not inflated."""
    async with victim.survives(most_bytes=120 * MIB), victim.channel() as channel:
        error = await refusal(
            channel, START, bytes(400 * MIB), metadata=victim.caller, compression=grpc.Compression.Gzip
        )
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "method",
    [
        "/",
        "//",
        "/isthmus.v1.OperationService",
        "/isthmus.v1.OperationService/",
        "/isthmus.v1.OperationService/startoperation",
        "/isthmus.v1.OperationService/StartOperation/",
        "/isthmus.v1.OperationService/StartOperation%00",
        "/isthmus.v1.operationservice/StartOperation",
        "/isthmus.v2.OperationService/StartOperation",
        "/../isthmus.v1.NamespaceService/CreateNamespace",
        "/" + "a" * 8000,
    ],
)
async def test_method_is_unimplemented_when_unknown(victim: Victim, method: str) -> None:
    """A path that is not exactly a method of the contract leads nowhere, whoever asks."""
    async with victim.channel() as channel:
        error = await refusal(channel, method, b"", metadata=victim.caller)
    assert error is not None
    assert error.code() in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}


def twice(good: Metadata) -> Metadata:
    """Return a credential that is there twice."""
    return good + good


METADATA: dict[str, Callable[[Metadata], Metadata]] = {
    "missing": lambda _: (),
    "twice": twice,
    "empty": lambda _: (("authorization", ""),),
    "other_scheme": lambda good: (("authorization", str(good[0][1]).replace("Bearer", "Basic")),),
    "binary_name": lambda good: (("authorization-bin", str(good[0][1]).encode()),),
    "signature_cut": lambda good: (("authorization", str(good[0][1])[:-5]),),
    "long_token": lambda _: (("authorization", "Bearer " + "a" * 12_000),),
}


@pytest.mark.parametrize("method", [WHO_AM_I, START, *STREAMS])
@pytest.mark.parametrize("make", METADATA.values(), ids=METADATA.keys())
async def test_call_is_unauthenticated_when_metadata_are_hostile(
    victim: Victim, method: str, make: Callable[[Metadata], Metadata]
) -> None:
    """One good credential in its place, or UNAUTHENTICATED; nothing of the request is looked at."""
    async with victim.channel() as channel:
        error = await refusal(channel, method, b"\xff\xff\xff", metadata=make(victim.caller))
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_call_is_refused_when_metadata_are_huge(victim: Victim) -> None:
    """More metadata than a token needs do not get in."""
    padding: Metadata = tuple((f"padding-{number}", "x" * 4000) for number in range(20))
    async with victim.survives(), victim.channel() as channel:
        error = await refusal(channel, WHO_AM_I, b"", metadata=victim.caller + padding)
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_gateway_goes_on_when_unary_calls_carry_no_message_or_two(victim: Victim) -> None:
    """A call without its message waits until its client gives up; a second message changes nothing."""
    async with victim.survives(), victim.channel() as channel:
        none = await refusal(channel, WHO_AM_I, metadata=victim.caller, seconds=0.5)
        await refusal(channel, WHO_AM_I, b"", b"", metadata=victim.caller)
    assert none is not None
    assert none.code() is grpc.StatusCode.DEADLINE_EXCEEDED
