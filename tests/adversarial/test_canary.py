"""What is sealed is nowhere in the clear: not in store, logs and memory of the gateway, nor on the wire."""

import gzip
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.adversarial.canary import Flock, forms
from tests.adversarial.process_memory import memory_of
from tests.adversarial.secret_calls import secret_calls
from tests.adversarial.victim import Victim, start_victim
from tests.adversarial.wiretap import Wiretap, wiretap


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that somebody in the gateway's place could look at, after calls of every kind."""

    hidden: Flock
    label: str
    endpoint: str
    places: dict[str, list[bytes]]

    def hits(self, flock: Flock) -> dict[str, set[str]]:
        """Return in which forms a flock is where; places without any are left out."""
        found = {
            place: set[str]().union(*(flock.found_in(part) for part in parts))
            for place, parts in self.places.items()
        }
        return {place: forms_found for place, forms_found in found.items() if forms_found}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A gateway of its own, which logs everything that it can."""
    running = start_victim(tmp_path_factory.mktemp("canary"), log_level="debug")
    yield running
    running.process.kill()


@pytest.fixture
async def scene(victim: Victim) -> AsyncIterator[Scene]:
    """The calls were made; the gateway still runs, with its write-ahead log and its caches."""
    hidden = Flock()
    label, endpoint = f"label-{secrets.token_hex(8)}", f"endpoint-{secrets.token_hex(8)}"
    async with (
        wiretap("127.0.0.1", victim.port) as caller_tap,
        wiretap("127.0.0.1", victim.port) as worker_tap,
        secret_calls(
            victim, hidden, caller_tap=caller_tap, worker_tap=worker_tap, unknown_endpoint=endpoint
        ) as calls,
    ):
        await calls.make(label=label, unknown_endpoint=endpoint)
        yield Scene(
            hidden=hidden,
            label=label,
            endpoint=endpoint,
            places=look_everywhere(victim, caller_tap, worker_tap),
        )


def look_everywhere(victim: Victim, caller_tap: Wiretap, worker_tap: Wiretap) -> dict[str, list[bytes]]:
    """Return all bytes of every place, by its name."""
    store = victim.deployment.site.database
    return {
        "database": [store.read_bytes()],
        "write-ahead log": [Path(f"{store}-wal").read_bytes()],
        "shared memory": [Path(f"{store}-shm").read_bytes()],
        "log": [victim.process.output.read_bytes()],
        "caller's wire": [caller_tap.all_bytes()],
        "worker's wire": [worker_tap.all_bytes()],
        "memory": list(memory_of(victim.process.pid)),
    }


def planted(text: str) -> Flock:
    """Return a flock that is found wherever this text is."""
    return Flock(marker=text)


async def test_nothing_sealed_is_in_the_clear_when_everything_is_searched(scene: Scene) -> None:
    """Payloads, their headers, results, errors, causes, tokens and request ids are nowhere, in no encoding.

    What is there in the clear by design is found in every place, so the search would have found the others.
    """
    assert scene.hits(scene.hidden) == {}
    by_label, by_endpoint = scene.hits(planted(scene.label)), scene.hits(planted(scene.endpoint))
    assert by_label.keys() & {"database", "write-ahead log"}
    assert {"caller's wire", "worker's wire"} <= by_label.keys()
    assert {"log", "memory", "caller's wire"} <= by_endpoint.keys()
    assert all(len(parts) > 0 and any(parts) for parts in scene.places.values())


def formed(name: str, text: str) -> bytes:
    """Return a text in one of its forms."""
    return forms(text)[name]


DISGUISES: dict[str, Callable[[str], bytes]] = {
    **{name: partial(formed, name) for name in forms("x" * 30)},
    "gzip": lambda text: gzip.compress(text.encode() * 3),
    "zlib": lambda text: zlib.compress(text.encode() * 3),
    "zlib_fast": lambda text: zlib.compress(text.encode() * 3, 1),
    "gzip_of_base64": lambda text: gzip.compress(forms(text)["base64-1"]),
    "gzip_without_end": lambda text: gzip.compress(text.encode() + secrets.token_bytes(500))[:-200],
}


@pytest.mark.parametrize("place", ["database", "write-ahead log", "log", "caller's wire", "memory"])
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_canary_is_found_when_planted(place: str, disguise: Callable[[str], bytes]) -> None:
    """Planted in any place, in any disguise, between other bytes, a canary is found there, and only there."""
    hidden = Flock()
    haystack = {name: [secrets.token_bytes(20_000)] for name in ("database", "write-ahead log", "log")}
    haystack |= {"caller's wire": [b"\0" * 20_000], "memory": [secrets.token_bytes(5000), b"x" * 5000]}
    noise = haystack[place][-1]
    haystack[place][-1] = noise[:777] + disguise(hidden.put("input")) + noise[777:]
    scene = Scene(hidden=hidden, label="", endpoint="", places=haystack)
    assert scene.hits(hidden).keys() == {place}
