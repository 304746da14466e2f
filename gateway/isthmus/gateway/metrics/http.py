"""The few lines of HTTP that a scraper and a load balancer need: GET and HEAD of three paths, nothing kept.

Plain, and without credentials: names of endpoints and counts are all that there is to read. It listens on
loopback unless the configuration says otherwise.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST

from isthmus.gateway.config.listen_address import parse_listen_address
from isthmus.gateway.core.errors import UnavailableError

MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 64
HEAD_SECONDS = 5.0
ANSWER_SECONDS = 30.0
_TEXT = "text/plain; charset=utf-8"
_LOG = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""


class MetricsServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``. Lives on the event loop."""

    def __init__(self, render: Callable[[], Awaitable[bytes]], is_ready: Callable[[], bool]) -> None:
        self._render = render
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None
        self._open = 0
        self.address = ""

    async def start(self, address: str) -> None:
        """Listen; ``address`` then has the port that it really is.

        Raises:
            UnavailableError: something else has the address.
        """
        wanted = parse_listen_address(address)
        try:
            self._server = await asyncio.start_server(
                self._serve, wanted.host, wanted.port, limit=MAX_HEAD_BYTES
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {wanted} for metrics",
                reason="ADDRESS_IN_USE",
                fix="Is another process using it? Choose another metrics.address.",
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Listen no longer; an answer that is under way may still arrive."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target = _request_line(head)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._answer(method, target)
                writer.write(_rendered(answer, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # A client that says nothing, too much, or left: nobody is there to answer.
            _LOG.debug("a client of the metrics left without an answer")
        finally:
            self._open -= 1
            writer.close()

    async def _metrics(self) -> Answer:
        try:
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, await self._render()
        except Exception:  # noqa: BLE001 - whatever it is, the scraper gets an answer
            _LOG.exception("the metrics cannot be rendered")
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "the gateway's log says why")

    async def _answer(self, method: str, target: str) -> Answer:
        if self._open > MAX_CONNECTIONS:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        if method not in {"GET", "HEAD"}:
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        match target.partition("?")[0]:
            case "/metrics":
                return await self._metrics()
            case "/healthz":
                return _plain(HTTPStatus.OK, "ok")
            case "/readyz":
                if self._is_ready():
                    return _plain(HTTPStatus.OK, "ready")
                return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "not ready")
            case _:
                return _plain(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")


def _request_line(head: bytes) -> tuple[str, str]:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return words[0], words[1] if len(words) > 1 else ""


def _plain(status: HTTPStatus, text: str) -> Answer:
    return status, _TEXT, f"{text}\n".encode()


def _rendered(answer: Answer, *, with_body: bool) -> bytes:
    status, content_type, body = answer
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
