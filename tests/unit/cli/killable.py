"""A team whose commands about keys can be killed at any step, and repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from isthmus.cli.key_revocation import revoke_key
from isthmus.cli.key_rotation import KeyRotation, Rotated
from isthmus.cli.propagation import KeyHolder, Propagation
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.keys.publication import KeysetPublication
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset, SignedKeyset

NAMESPACE = "app-team"
PASSPHRASE = b"correct horse"


class Killed(BaseException):
    """The process ends here."""


class Directory:
    """A gateway's directory of keysets, in memory: versions follow one another, or are refused."""

    def __init__(self) -> None:
        self.published: list[SignedKeyset] = []

    def newest(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset."""
        assert namespace == NAMESPACE
        return self.published[-1] if self.published else None

    def publish(self, signed: SignedKeyset) -> None:
        """Take the next version only."""
        keyset = Keyset.decode(signed.keyset.statement)
        assert keyset.version == len(self.published) + 1
        self.published.append(signed)

    def keysets(self) -> list[Keyset]:
        """Return everything that was published, oldest first."""
        return [Keyset.decode(signed.keyset.statement) for signed in self.published]


class World:
    """A keyring, a directory, a clock; and a counter of steps, at each of which a process may be killed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keyring.json"
        self.note = folder / "keyring.json.rotation"
        self.directory = Directory()
        self.now_ms = 1_800_000_000_000
        self.kill_at: int | None = None
        self.said: list[str] = []
        self.steps = 0
        self.slept: list[float] = []
        # What processes of the namespace said of their keys; None: the gateway does not know.
        self.holders: Callable[[], list[KeyHolder] | None] = lambda: None
        FileKeyring.create(
            self.path,
            PASSPHRASE,
            namespace=NAMESPACE,
            trust_domain="example.com",
            now_ms=self.now_ms,
            parameters=KdfParameters(salt=new_salt(), memory_kib=8, iterations=1, lanes=1),
        )

    @classmethod
    def published_in(cls, folder: Path) -> Self:
        """Return a namespace whose first keyset is published; steps count from here."""
        world = cls(folder)
        world.publication(world.keyring()).publish()
        world.steps = 0
        return world

    def keyring(self) -> FileKeyring:
        """Open the keyring, as a new process does."""
        return FileKeyring(self.path, PASSPHRASE)

    def step(self) -> None:
        """Count a step, and die at the chosen one."""
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.step()
        self.slept.append(seconds)
        self.now_ms += round(seconds * 1000)

    def publication(self, keyring: FileKeyring) -> KeysetPublication:
        """Return what publishes the keysets of a keyring."""
        return KeysetPublication(
            keyring=keyring, signer=keyring.signer_key(), directory=_Watched(self), now_ms=lambda: self.now_ms
        )

    def revoke(self, key_id: bytes) -> Keyset:
        """Revoke a key in a process of its own."""
        keyring = WatchedKeyring(self)
        return revoke_key(keyring, self.publication(keyring), key_id, now_ms=lambda: self.now_ms)

    def rotate(
        self,
        *,
        wait_seconds: float = 10.0,
        timeout_seconds: float = 60.0,
        without: frozenset[str] | None = None,
        keyring: FileKeyring | None = None,
    ) -> Rotated:
        """Rotate in a process of its own."""
        keyring = keyring or WatchedKeyring(self)
        propagation = Propagation(
            holders=_WatchedHolders(self),
            wait_seconds=wait_seconds,
            timeout_seconds=timeout_seconds,
            without=without or frozenset(),
            now_ms=lambda: self.now_ms,
            sleep=self.sleep,
            report=self.said.append,
        )
        rotation = KeyRotation(
            keyring=keyring,
            note=self.note,
            publication=self.publication(keyring),
            propagation=propagation,
            now_ms=lambda: self.now_ms,
            report=self.said.append,
        )
        return rotation.run()


class _Watched:
    """The directory, over a connection that a kill can cut before and after each call."""

    def __init__(self, world: World) -> None:
        self._world = world

    def newest(self, namespace: str) -> SignedKeyset | None:
        self._world.step()
        return self._world.directory.newest(namespace)

    def publish(self, signed: SignedKeyset) -> None:
        self._world.step()
        self._world.directory.publish(signed)
        self._world.step()


class _WatchedHolders:
    """What processes said, over the same connection."""

    def __init__(self, world: World) -> None:
        self._world = world

    def holders(self) -> list[KeyHolder] | None:
        self._world.step()
        return self._world.holders()


class WatchedKeyring(FileKeyring):
    """The keyring, in a process that a kill can end before and after each write."""

    def __init__(self, world: World) -> None:
        super().__init__(world.path, PASSPHRASE)
        self._world = world

    def update(self, change: Callable[..., object]) -> object:  # type: ignore[override]
        """Change the file."""
        self._world.step()
        changed = super().update(change)  # type: ignore[arg-type]
        self._world.step()
        return changed


def states(world: World) -> dict[tuple[KeyKind, KeyState], int]:
    """Return how many keys of each kind are in each state."""
    found: dict[tuple[KeyKind, KeyState], int] = {}
    for record in world.keyring().public_keys():
        found[record.kind, record.state] = found.get((record.kind, record.state), 0) + 1
    return found


ROTATED_ONCE = {
    (KeyKind.ENCRYPTION, KeyState.ACTIVE): 1,
    (KeyKind.ENCRYPTION, KeyState.DECRYPT_ONLY): 1,
    (KeyKind.SIGNING, KeyState.ACTIVE): 1,
    (KeyKind.SIGNING, KeyState.VERIFY_ONLY): 1,
}


def check_rotated_once(world: World) -> None:
    """Keyring and newest keyset say the same: both keys replaced, exactly once."""
    assert states(world) == ROTATED_ONCE
    newest = world.directory.keysets()[-1]
    assert set(newest.keys) == set(world.keyring().public_keys())
    assert newest.version == world.keyring().contents.keyset_version
    assert not world.note.exists()
