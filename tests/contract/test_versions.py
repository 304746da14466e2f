"""Which versions of workers are there, and which endpoints care."""

from datetime import timedelta

from msgspec.structs import replace as replaced
from tests.contract.commands import putting_endpoints, putting_sessions
from tests.contract.samples import HANDLER, NOW, QUEUE, endpoint, session

from isthmus.endpoints.versions import VersionSettings
from isthmus.gateway.ports import QueueKey, Store


async def test_versions_are_counted_when_their_sessions_live(store: Store) -> None:
    """Of the queue only; a lease that ran out counts no more, whether or not somebody took it back."""
    elsewhere = QueueKey(namespace=HANDLER, task_queue="elsewhere")
    later = NOW + timedelta(seconds=30)
    await store.transact(
        putting_sessions(
            session(b"1" * 16, version="v1", expires_at=later),
            session(b"2" * 16, version="v1", expires_at=later),
            session(b"3" * 16, version="", expires_at=later),
            session(b"4" * 16, version="v2", expires_at=NOW),
            session(b"5" * 16, version="v3", queue=elsewhere, expires_at=later),
        )
    )
    expected = {"v1": 2, "": 1}
    assert await store.read(lambda reader: reader.present_versions(QUEUE, NOW)) == expected
    assert await store.transact(lambda unit: unit.present_versions(QUEUE, NOW)) == expected


async def test_command_counts_a_session_when_it_just_put_it(store: Store) -> None:
    """What a command wrote, it sees."""
    opened = session(b"1" * 16, version="v1")
    both = (opened, replaced(opened, session_id=b"2" * 16, version="v2"))

    def command(unit: object) -> object:
        for one in both:
            unit.put_worker_session(one)  # type: ignore[attr-defined]
        return unit.present_versions(QUEUE, NOW)  # type: ignore[attr-defined]

    assert await store.transact(command) == {"v1": 1, "v2": 1}


async def test_endpoints_are_found_when_they_say_something_of_versions(store: Store) -> None:
    """Neither those that do not, nor deleted ones."""
    routed = endpoint("b")
    pinned = endpoint("a", versions=VersionSettings(pin=True))
    await store.transact(
        putting_endpoints(
            routed,
            pinned,
            endpoint("c", versions=VersionSettings()),
            endpoint("d", deleted_at=NOW),
        )
    )
    assert list(await store.read(lambda reader: reader.routed_endpoints(10))) == [pinned, routed]
    assert list(await store.read(lambda reader: reader.routed_endpoints(1))) == [pinned]
