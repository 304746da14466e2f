"""What is not even gRPC: garbage on plain sockets, half frames, floods of HTTP/2 frames, many connections."""

import os
import random
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from tests.adversarial.victim import MIB, Victim

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return an HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


REQUEST = b"".join(
    literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/isthmus.v1.NamespaceService/WhoAmI"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
)
START = PREFACE + frame(SETTINGS)


def odd_ids(count: int) -> range:
    """Return stream ids as a client uses them."""
    return range(1, 2 * count, 2)


def rapid_reset(count: int) -> bytes:
    """Open streams and reset each at once (CVE-2023-44487)."""
    return b"".join(
        frame(HEADERS, REQUEST, flags=END_HEADERS, stream=number)
        + frame(RST_STREAM, struct.pack(">I", 8), stream=number)
        for number in odd_ids(count)
    )


def endless_headers(count: int) -> bytes:
    """Begin a header block that never ends (CVE-2024-27316)."""
    begun = frame(HEADERS, REQUEST, stream=1)
    return begun + frame(CONTINUATION, literal(b"x-padding", b"p" * 120) * 100, stream=1) * count


def noise(_: int) -> bytes:
    """Return random frames with plausible lengths."""
    draw = random.Random(9)  # noqa: S311 - the same noise every time
    return b"".join(
        frame(
            draw.randrange(12), draw.randbytes(draw.randrange(60)), flags=draw.randrange(256), stream=number
        )
        for number in range(500)
    )


ATTACKS: dict[str, Callable[[], bytes]] = {
    "random_bytes": lambda: os.urandom(100_000),
    "http_1": lambda: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100,
    "tls_hello": lambda: bytes.fromhex("16030100f8010000f40303") + os.urandom(300),
    "preface_only": lambda: PREFACE,
    "half_preface": lambda: PREFACE[:10],
    "random_after_preface": lambda: START + os.urandom(100_000),
    "random_frames": lambda: START + noise(0),
    "huge_frame_length": lambda: START + b"\xff\xff\xff" + bytes([DATA, 0]) + struct.pack(">I", 1),
    "settings_flood": lambda: START + frame(SETTINGS) * 20_000,
    "settings_zero_window": lambda: START + frame(SETTINGS, struct.pack(">HI", 4, 0)),
    "ping_flood": lambda: START + frame(PING, b"12345678") * 20_000,
    "window_overflow": lambda: START + frame(WINDOW_UPDATE, struct.pack(">I", 2**31 - 1)) * 4,
    "rapid_reset": lambda: START + rapid_reset(5000),
    "endless_headers": lambda: START + endless_headers(500),
    "data_on_no_stream": lambda: START + frame(DATA, b"x" * 1000, stream=99),
    "even_stream": lambda: START + frame(HEADERS, REQUEST, flags=END_HEADERS, stream=2),
    "empty_data_flood": lambda: (
        START + frame(HEADERS, REQUEST, flags=END_HEADERS, stream=1) + frame(DATA, stream=1) * 20_000
    ),
    "grpc_length_lies": lambda: (
        START
        + frame(HEADERS, REQUEST, flags=END_HEADERS, stream=1)
        + frame(DATA, b"\0\xff\xff\xff\xff" + b"x" * 100, flags=END_STREAM, stream=1)
    ),
}


@contextmanager
def connected(victim: Victim) -> Generator[socket.socket]:
    """Open a plain connection."""
    with socket.create_connection(("127.0.0.1", victim.port), timeout=5) as plain:
        yield plain


def send(plain: socket.socket, data: bytes) -> None:
    """Send what the gateway takes; it may have hung up before the end."""
    with suppress(OSError):
        plain.sendall(data)


@pytest.mark.parametrize("make", ATTACKS.values(), ids=ATTACKS.keys())
async def test_gateway_goes_on_when_a_socket_is_abused(victim: Victim, make: Callable[[], bytes]) -> None:
    """Bytes that are no gRPC end with their connection, or wait for more; nobody else notices."""
    async with victim.survives(most_bytes=100 * MIB):
        with connected(victim) as first, connected(victim) as second:
            send(first, make())
            send(second, make())


async def test_gateway_goes_on_when_hundreds_of_connections_are_idle(victim: Victim) -> None:
    """Connections that never speak, or stop in the middle of the preface, keep nobody out."""
    before = victim.open_files()
    async with victim.survives(most_bytes=100 * MIB):
        with ExitStack() as stack:
            idle = [stack.enter_context(connected(victim)) for _ in range(400)]
            for number, plain in enumerate(idle):
                send(plain, PREFACE[: number % len(PREFACE)])
    assert victim.open_files() <= before + 40


async def test_gateway_goes_on_when_requests_never_read_their_answers(victim: Victim) -> None:
    """A thousand streams on a connection whose window is closed get no more than the connection holds."""
    closed_window = frame(SETTINGS, struct.pack(">HI", 4, 0))
    asked = b"".join(
        frame(HEADERS, REQUEST, flags=END_HEADERS, stream=number)
        + frame(DATA, b"\0\0\0\0\0", flags=END_STREAM, stream=number)
        for number in odd_ids(1000)
    )
    async with victim.survives(most_bytes=100 * MIB):
        with connected(victim) as plain:
            send(plain, PREFACE + closed_window + asked)
