"""A payload goes through a store, and comes out only if it is the very one."""

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.blobs.world import NOW, World, binding

from isthmus.blobs import reader
from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.blobs.errors import BlobError, BlobRefusedError, BlobTooLargeError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.name import kept_until
from isthmus.blobs.pointer import CONTENT_TYPE, Pointer, parse_pointer
from isthmus.blobs.sealing import Binding
from isthmus.blobs.settings import BlobSettings
from isthmus.envelope.identity import fingerprint_of
from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.payload import Payload
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.header import Direction

BYTES = "application/octet-stream"
DATA = bytes(range(256)) * 9000  # more than two pieces, and no whole number of chunks
VALUE = Payload(content_type="application/json", headers=(("a", "b"),), data=DATA)
ID_KEY = b"i" * 32


def send(world: World, *, data: bytes = DATA) -> tuple[Payload, Pointer]:
    """Put bytes into the store; return the claim check."""
    value = Payload(content_type=BYTES, data=data)
    payload = world.sender.pack(value, binding=binding()).payload
    return payload, parse_pointer(payload.data)


def receive(world: World, payload: Payload, hint: object = File, at: Binding | None = None) -> object:
    """Take it out again."""
    return world.recipient.unpack(payload, hint, binding=at or binding())


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 1024 * 1024, len(DATA)])
@pytest.mark.parametrize("sent_as", [File, bytes])
def test_content_arrives_when_it_went_through_a_store(
    world: World, tmp_path: Path, size: int, sent_as: type
) -> None:
    """From a value or a file, to a value or a file."""
    source = tmp_path / "source"
    source.write_bytes(DATA[:size])
    content = File(source) if sent_as is File else Payload(content_type=BYTES, data=DATA[:size])
    packed = world.sender.pack(content, binding=binding(), id_key=ID_KEY)
    assert packed.payload.content_type == CONTENT_TYPE
    assert packed.fingerprint == fingerprint_of(ID_KEY, Payload(content_type=BYTES, data=DATA[:size]))
    received = receive(world, packed.payload)
    assert isinstance(received, File)
    assert received.path.read_bytes() == DATA[:size]
    assert received.path.stat().st_mode & 0o777 == 0o600
    received.close()
    assert world.spooled() == []
    value = receive(world, packed.payload, bytes)
    assert value == Payload(content_type=BYTES, data=DATA[:size])
    assert source.exists()


def test_value_keeps_its_type_when_it_went_through_a_store(world: World) -> None:
    """Content type and headers are those of the value."""
    packed = world.sender.pack(VALUE, binding=binding(), id_key=ID_KEY)
    assert receive(world, packed.payload, dict) == VALUE
    assert packed.fingerprint == fingerprint_of(ID_KEY, VALUE)


def test_nothing_is_in_the_clear_when_a_blob_lies_in_its_store(world: World) -> None:
    """Private to its owner, and twice the same content is twice another blob."""
    (_, first), (_, second) = send(world, data=b"canary" * 1000), send(world, data=b"canary" * 1000)
    blob = world.blob(first)
    assert b"canary" not in blob.read_bytes()
    assert blob.read_bytes() != world.blob(second).read_bytes()
    assert blob.stat().st_mode & 0o777 == 0o600
    assert blob.parent.stat().st_mode & 0o777 == world.store.stat().st_mode & 0o777 == 0o700


def cut(blob: bytes) -> bytes:
    """Truncate at the end of a chunk, too: the hash sees it, and without the hash the size."""
    return blob[:-16]


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "truncated": cut,
    "extended": lambda blob: blob + b"\x00",
    "changed": lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]),
    "emptied": lambda blob: b"",
    "swapped": lambda blob: os.urandom(len(blob)),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
@pytest.mark.parametrize("hint", [File, bytes])
def test_blob_is_refused_when_it_is_not_the_one_that_was_written(
    world: World, hint: object, spoil: Callable[[bytes], bytes]
) -> None:
    """Whatever the store does to it; and the key never touches it."""
    payload, pointer = send(world)
    blob = world.blob(pointer)
    blob.write_bytes(spoil(blob.read_bytes()))
    with pytest.raises(BlobRefusedError, match="size or digest"):
        receive(world, payload, hint)
    assert world.spooled() == []


@pytest.mark.parametrize("spoil", [cut, SPOILED["changed"]], ids=["truncated", "changed"])
@pytest.mark.parametrize("hint", [File, bytes])
def test_nothing_is_released_when_a_sender_vouches_for_a_broken_blob(
    world: World, hint: object, spoil: Callable[[bytes], bytes]
) -> None:
    """Digest and size agree; what was decrypted before the broken end is removed."""
    _, pointer = send(world)
    blob = world.blob(pointer)
    broken = spoil(blob.read_bytes())
    blob.write_bytes(broken)
    lying = replace(pointer, sealed_bytes=len(broken), sha256=hashlib.sha256(broken).digest())
    with pytest.raises(BlobRefusedError, match="does not open"):
        receive(world, Payload(content_type=CONTENT_TYPE, data=lying.encode()), hint)
    assert world.spooled() == []


@pytest.mark.parametrize(
    "other",
    [
        binding(operation_id=b"p" * 16),
        binding(recipient="ai-team"),
        binding(direction=Direction.RESULT),
    ],
    ids=["operation", "recipient", "direction"],
)
def test_blob_is_refused_when_it_belongs_to_another_message(world: World, other: Binding) -> None:
    """A pointer that is replayed in another place opens nothing."""
    payload, _ = send(world)
    with pytest.raises(BlobRefusedError, match="another operation"):
        receive(world, payload, at=other)
    assert world.spooled() == []


def test_blob_is_refused_when_the_key_is_another_blobs(world: World) -> None:
    """Each blob has its own."""
    (_, first), (_, second) = send(world), send(world)
    mixed = replace(first, key=second.key)
    with pytest.raises(BlobRefusedError, match="does not open"):
        receive(world, Payload(content_type=CONTENT_TYPE, data=mixed.encode()))


def test_blob_is_refused_when_another_one_took_its_place(world: World) -> None:
    """The digest is that of one blob."""
    (payload, first), (_, second) = send(world), send(world)
    world.blob(second).rename(world.blob(first))
    with pytest.raises(BlobRefusedError, match="size or digest"):
        receive(world, payload)


def fail(*arguments: object) -> None:
    """Stand for what must not be called."""
    pytest.fail(f"called with {len(arguments)} arguments")


def test_nothing_is_read_when_the_place_is_not_allowed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is on text, and comes before any store is opened."""
    payload, _ = send(world)
    monkeypatch.setattr(reader, "open_store", fail)
    stranger = ClaimChecks(BlobSettings(prefixes={"data-team": ("file:///elsewhere/",)}))
    with pytest.raises(BlobRefusedError, match="not allowed"):
        stranger.unpack(payload, File, binding=binding())


def test_nothing_is_spooled_when_the_size_is_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size first: a huge object in place of a blob costs nothing."""
    payload, pointer = send(world)
    with world.blob(pointer).open("ab") as blob:
        blob.truncate(10**12)
    monkeypatch.setattr(reader, "_spool", fail)
    with pytest.raises(BlobRefusedError, match="size or digest"):
        receive(world, payload)


def test_blob_is_refused_when_it_is_larger_than_allowed(world: World) -> None:
    """By what the pointer says, before anything is read."""
    payload, _ = send(world)
    small = ClaimChecks(replace(world.settings, max_bytes=1000))
    with pytest.raises(BlobTooLargeError, match="blob_max_bytes"):
        small.unpack(payload, File, binding=binding())


def test_value_is_refused_when_it_does_not_belong_into_memory(world: World) -> None:
    """Neither end holds more than 64 MiB for one value."""
    huge = Payload(content_type=BYTES, data=bytes(64 * 1024 * 1024))
    with pytest.raises(BlobTooLargeError, match=r"blobs\.File"):
        world.sender.pack(huge, binding=binding())
    _, pointer = send(world)
    lying = replace(pointer, sealed_bytes=10**9)
    with pytest.raises(BlobTooLargeError, match=r"blobs\.File"):
        receive(world, Payload(content_type=CONTENT_TYPE, data=lying.encode()), bytes)


def link_blob(blob: Path, elsewhere: Path) -> None:
    """Replace a blob by a link to the same content."""
    blob.rename(elsewhere)
    blob.symlink_to(elsewhere)


def link_folder(blob: Path, elsewhere: Path) -> None:
    """Replace the folder of a blob by a link to it."""
    blob.parent.rename(elsewhere)
    blob.parent.symlink_to(elsewhere)


def pipe(blob: Path, elsewhere: Path) -> None:
    """Put a pipe in place of a blob: to open it would block."""
    del elsewhere
    blob.unlink()
    os.mkfifo(blob)


@pytest.mark.parametrize("replace_by", [link_blob, link_folder, pipe])
def test_blob_is_refused_when_it_is_no_plain_file_of_its_folder(
    world: World, tmp_path: Path, replace_by: Callable[[Path, Path], None]
) -> None:
    """A link could lead out of what is allowed."""
    payload, pointer = send(world)
    replace_by(world.blob(pointer), tmp_path / "elsewhere")
    with pytest.raises(BlobRefusedError, match="no plain file"):
        receive(world, payload)


def test_error_says_so_when_a_blob_is_gone(world: World) -> None:
    """It was swept, or it is on another machine."""
    payload, pointer = send(world)
    world.blob(pointer).unlink()
    with pytest.raises(BlobRefusedError, match="not there"):
        receive(world, payload)


def test_payload_stays_in_its_envelope_when_it_is_small_or_there_is_no_store(world: World) -> None:
    """A threshold, and no surprise for those who configured nothing."""
    assert world.sender.must_pack(Payload(content_type=BYTES, data=b"x" * 11))
    assert not world.sender.must_pack(Payload(content_type=BYTES, data=b"x" * 10))
    assert not ClaimChecks().must_pack(Payload(content_type=BYTES, data=DATA))
    assert not world.recipient.must_unpack(Payload(content_type=BYTES, data=b"x"), bytes)


def test_file_is_refused_when_there_is_no_store(tmp_path: Path) -> None:
    """The error says how to configure one."""
    file = File(tmp_path / "any")
    assert ClaimChecks().must_pack(file)
    with pytest.raises(ConfigurationError, match="ISTHMUS_BLOB_STORE"):
        ClaimChecks().pack(file, binding=binding())


def test_value_is_refused_when_it_pretends_to_be_a_claim_check(world: World) -> None:
    """The content type is the SDK's alone."""
    for claim_checks in (world.sender, ClaimChecks()):
        with pytest.raises(PayloadConversionError, match="claim-check"):
            claim_checks.must_pack(Payload(content_type=CONTENT_TYPE, data=b"{}"))


def test_file_is_made_of_what_came_inline_when_a_file_is_asked_for(world: World) -> None:
    """File and bytes are the same content."""
    inline = Payload(content_type=BYTES, data=b"small")
    assert world.recipient.must_unpack(inline, File | None)
    received = receive(world, inline, File | None)
    assert isinstance(received, File)
    assert received.path.read_bytes() == b"small"


def test_blob_outlives_its_operation_when_that_lives_longer_than_the_retention(world: World) -> None:
    """A request must be there as long as a worker may ask for it."""
    payload = world.sender.pack(
        Payload(content_type=BYTES, data=DATA), binding=binding(), ends_by=NOW.replace(year=2028)
    ).payload
    name = parse_pointer(payload.data).url.removeprefix(world.root)
    until = kept_until(name)
    assert until is not None
    assert until > NOW.replace(year=2028)


def test_upload_fails_and_leaves_nothing_when_the_file_changes_meanwhile(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old content and half of the new one is neither."""
    source = tmp_path / "growing"
    source.write_bytes(DATA)
    real = os.fstat

    def smaller(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[6] -= 1
        return os.stat_result(found)

    monkeypatch.setattr("isthmus.blobs.writer.os.fstat", smaller)
    with pytest.raises(BlobUnavailableError, match="changed while it was read"):
        world.sender.pack(File(source), binding=binding())
    assert not [path for path in world.store.rglob("*") if path.is_file()]


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.unit.blobs.test_exchange import on_a_full_disk
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
on_a_full_disk(Path(sys.argv[1]), sys.argv[2])
"""


def on_a_full_disk(folder: Path, what: str) -> None:
    """Write a blob, or read one that there is; print what went wrong."""
    world = World(folder)
    source = folder / "source"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if what == "write":
            world.sender.pack(File(source), binding=binding())
        else:
            check = Payload(content_type=CONTENT_TYPE, data=(folder / "pointer").read_bytes())
            world.recipient.unpack(check, File, binding=binding())
    except BlobError as error:
        sys.stdout.write(f"{limit[0]} {type(error).__name__} {error}\n")
    left = [path for path in (*world.spool.iterdir(), *world.store.rglob("*.partial")) if path.is_file()]
    sys.stdout.write(f"left: {left}\n")


@pytest.mark.parametrize("what", ["write", "read"])
def test_error_is_clear_and_nothing_is_left_when_the_disk_is_full(tmp_path: Path, what: str) -> None:
    """A process that may write 3 MB, and a file of 4 MB."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(4_000_000))
    if what == "read":
        world = World(tmp_path)
        payload = world.sender.pack(File(source), binding=binding()).payload
        (tmp_path / "pointer").write_bytes(payload.data)
        world.spool.rmdir()
    finished = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), what],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    first, last = finished.stdout.splitlines()
    assert "BlobUnavailableError" in first, finished.stdout
    assert "too large" in first
    assert ("check space" in first) if what == "write" else ("blob_spool" in first)
    assert last == "left: []"
