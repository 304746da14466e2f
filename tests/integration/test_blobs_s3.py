"""Blobs in S3, against a real server of another make."""

import http.server
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from tests.integration.s3_server import BUCKET, s3_server, variables
from tests.unit.blobs.world import NOW, SENDER, binding

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.blobs.errors import BlobRefusedError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.pointer import parse_pointer
from isthmus.blobs.s3_store import PART_BYTES, S3Store
from isthmus.blobs.settings import BlobSettings
from isthmus.blobs.sweep import sweep
from isthmus.payload.payload import Payload
from isthmus.transport.errors import ConfigurationError

ROOT = f"s3://{BUCKET}/data-team/"
VALUE = Payload(content_type="application/json", data=b"1" * 1000)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server for all tests of this module."""
    with s3_server() as found:
        yield found


@pytest.fixture(autouse=True)
def _environment(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(port).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def sender() -> ClaimChecks:
    """The end that writes."""
    return ClaimChecks(BlobSettings(store=ROOT), now=lambda: NOW)


@pytest.fixture
def recipient(tmp_path: Path) -> ClaimChecks:
    """The end that reads."""
    spool = tmp_path / "spool"
    spool.mkdir()
    return ClaimChecks(BlobSettings(prefixes={SENDER: (ROOT,)}, spool=spool))


def test_file_arrives_when_it_takes_several_parts(
    sender: ClaimChecks, recipient: ClaimChecks, tmp_path: Path
) -> None:
    """Uploaded in parts, downloaded as a stream."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2 * PART_BYTES + 12345))
    packed = sender.pack(File(source), binding=binding())
    received = recipient.unpack(packed.payload, File, binding=binding())
    assert isinstance(received, File)
    assert received.path.read_bytes() == source.read_bytes()


def test_value_arrives_when_it_is_small(sender: ClaimChecks, recipient: ClaimChecks) -> None:
    """One part."""
    packed = sender.pack(VALUE, binding=binding())
    assert recipient.unpack(packed.payload, dict, binding=binding()) == VALUE


def test_blob_is_refused_when_another_object_took_its_place(
    sender: ClaimChecks, recipient: ClaimChecks
) -> None:
    """What the bucket's owner could do."""
    payload = sender.pack(VALUE, binding=binding()).payload
    pointer = parse_pointer(payload.data)
    S3Store(ROOT).write(pointer.url.removeprefix(ROOT), [os.urandom(pointer.sealed_bytes)])
    with pytest.raises(BlobRefusedError, match="size or digest"):
        recipient.unpack(payload, dict, binding=binding())


def test_sweep_deletes_when_time_is_over(sender: ClaimChecks, recipient: ClaimChecks) -> None:
    """From the listing alone; foreign objects stay, and what is gone is said to be gone."""
    payload = sender.pack(VALUE, binding=binding()).payload
    store = S3Store(ROOT)
    store.write("app-team/notes.txt", [b"mine"])
    url = parse_pointer(payload.data).url
    late = NOW + timedelta(days=91)
    assert url in {swept.url for swept in sweep(ROOT, now=late, dry_run=True)}
    assert url in {swept.url for swept in sweep(ROOT, now=late, dry_run=False)}
    assert list(store.names()) == ["app-team/notes.txt"]
    store.delete("app-team/notes.txt")
    with pytest.raises(BlobRefusedError, match="not there"):
        recipient.unpack(payload, dict, binding=binding())


def test_nothing_appears_when_an_upload_breaks_off() -> None:
    """An error of the source is the error that is raised."""

    def pieces() -> Iterator[bytes]:
        yield bytes(PART_BYTES + 1)
        raise BlobUnavailableError("the source broke")

    store = S3Store(ROOT)
    with pytest.raises(BlobUnavailableError, match="the source broke"):
        store.write("app-team/broken", pieces())
    assert "app-team/broken" not in set(store.names())


def test_error_says_what_to_check_when_the_bucket_does_not_exist() -> None:
    """One line, not a page of XML."""
    with pytest.raises(BlobUnavailableError, match="AWS_ENDPOINT_URL") as caught:
        S3Store("s3://no-such-bucket/").write("app-team/x", [b"x"])
    assert len(str(caught.value)) < 600


class Servant(http.server.BaseHTTPRequestHandler):
    """A server with manners of its own, which counts who comes."""

    visits: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Redirect those who ask for the blob; break off in the middle of what is flaky."""
        self.visits.append(self.path)
        if "flaky" in self.path:
            self._break_off()
        elif self.path.startswith("/elsewhere"):
            self._answer(200, {"Content-Length": "4"}, b"evil")
        else:
            self._answer(307, {"Location": "/elsewhere", "Content-Length": "0"}, b"")

    def _break_off(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        rest = CONTENT[start:]
        self._answer(206 if start else 200, {"Content-Length": str(len(rest))}, rest[:HALF])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter of http.server
        """Say nothing."""


HALF = 60_000
CONTENT = os.urandom(2 * HALF)


@pytest.fixture
def servant(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that it was asked for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Servant) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        Servant.visits.clear()
        yield Servant.visits
        server.shutdown()
        thread.join()


def test_redirect_is_not_followed_when_the_server_sends_one(servant: list[str]) -> None:
    """A store cannot make a reader ask other servers."""
    with pytest.raises(BlobUnavailableError, match="307"), S3Store(ROOT).read("app-team/x") as reading:
        list(reading.pieces)
    assert len(servant) == 1
    assert servant[0].startswith(f"/{BUCKET}/data-team/app-team/x?")


def test_download_goes_on_when_the_connection_breaks(servant: list[str]) -> None:
    """Where it broke, not from the beginning."""
    with S3Store(ROOT).read("app-team/flaky") as reading:
        assert reading.size_bytes == len(CONTENT)
        assert b"".join(reading.pieces) == CONTENT
    assert len(servant) == 2


def test_plain_http_is_refused_when_nobody_allowed_it(
    servant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS, unless somebody said that it is not needed."""
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(ConfigurationError, match="AWS_ALLOW_HTTP"), S3Store(ROOT).read("app-team/x"):
        pass
    assert servant == []
