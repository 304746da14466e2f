"""Until when a rotation waits: until those who have to open and sign with the new keys have them.

Who lives and which keys it has, processes say themselves, by way of the gateway. All that live have to have
the new ones. Those that were there within a day and are gone may come back with an old copy of the keyring;
they get two cache lifetimes, as everybody does where nobody says anything.

Processes of other namespaces are not waited for: who meets a key that it does not know asks for the newest
keyset at once. A gateway that lies makes a rotation early or late. Early costs delay: what a process cannot
open yet is delivered again, or asked for again, until it has the key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from isthmus.cli.exit_code import CliError, ExitCode

FIRST_POLL_SECONDS: Final = 0.1
LONGEST_POLL_SECONDS: Final = 2.0
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """A process of one's own namespace, and what it last said of its keys."""

    principal: str
    identity: str
    key_ids: frozenset[bytes]
    is_alive: bool

    def is_called(self, name: str) -> bool:
        """Whether a person means it: by its identity, the host in there, or who it is to the gateway."""
        return name in {self.identity, self.identity.rpartition(":")[0], self.principal}

    def __str__(self) -> str:
        """Return what a person finds it by."""
        return f"{self.identity or '(unnamed)'} ({self.principal})"


class KeyHolders(Protocol):
    """Who of one's own namespace said what."""

    def holders(self) -> Sequence[KeyHolder] | None:
        """Return those who were there within a day; None when the gateway does not know such reports."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far keys have come."""

    alive: int
    lacking: tuple[KeyHolder, ...]
    """Those that live and do not have them."""
    absent: tuple[KeyHolder, ...]
    """Those that are gone without them, and may come back."""
    is_known: bool
    """Whether anybody said anything."""


def standing(
    holders: Sequence[KeyHolder] | None, key_ids: frozenset[bytes], *, without: frozenset[str]
) -> Standing:
    """Return who has keys and who does not, but for those that nobody waits for."""
    waited_for = [holder for holder in holders or () if not any(holder.is_called(name) for name in without)]
    without_keys = [holder for holder in waited_for if not key_ids <= holder.key_ids]
    return Standing(
        alive=sum(holder.is_alive for holder in waited_for),
        lacking=tuple(holder for holder in without_keys if holder.is_alive),
        absent=tuple(holder for holder in without_keys if not holder.is_alive),
        is_known=bool(holders),
    )


class Propagation:
    """Waits until announced keys are where they are needed."""

    def __init__(
        self,
        *,
        holders: KeyHolders,
        wait_seconds: float,
        timeout_seconds: float,
        without: frozenset[str],
        now_ms: Callable[[], int],
        sleep: Callable[[float], None],
        report: Callable[[str], None],
    ) -> None:
        """Prepare to wait.

        Args:
            holders: who has which keys.
            wait_seconds: how long those get who cannot be asked, from the announcement on.
            timeout_seconds: how long to wait for those who live.
            without: who is not waited for.
            now_ms: Unix milliseconds.
            sleep: waits so many seconds.
            report: tells the person what is going on.
        """
        self._holders = holders
        self._wait_seconds = wait_seconds
        self._timeout_seconds = timeout_seconds
        self._without = without
        self._now_ms = now_ms
        self._sleep = sleep
        self._report = report
        self._said = ""

    def until_known(self, key_ids: frozenset[bytes], *, announced_at_ms: int) -> None:
        """Return when everybody who is known has these keys, or had the time to get them.

        Raises:
            CliError: a process that lives lacks them when the time is over. GatewayError.
        """
        give_up_ms = self._now_ms() + round(self._timeout_seconds * 1000)
        enough_ms = announced_at_ms + round(self._wait_seconds * 1000)
        poll_seconds = FIRST_POLL_SECONDS
        while True:
            found = standing(self._holders.holders(), key_ids, without=self._without)
            now_ms = self._now_ms()
            if found.lacking:
                left_ms = give_up_ms - now_ms
                if left_ms <= 0:
                    raise _timed_out(found, self._timeout_seconds)
                self._say(
                    f"{len(found.lacking)} of {found.alive} live processes lack the new keys:"
                    f" {_named(found.lacking)}"
                )
            elif found.is_known and not found.absent:
                self._say(f"Every live process ({found.alive}) has the new keys.")
                return
            else:
                left_ms = enough_ms - now_ms
                if left_ms <= 0:
                    return
                self._say(f"Waiting {left_ms / 1000:.0f} s for {_why(found)}.", about=_why(found))
            self._sleep(min(poll_seconds, left_ms / 1000))
            poll_seconds = min(2 * poll_seconds, LONGEST_POLL_SECONDS)

    def _say(self, text: str, *, about: str = "") -> None:
        """Report, once as long as it is about the same."""
        if (about or text) != self._said:
            self._said = about or text
            self._report(text)


def _why(found: Standing) -> str:
    if not found.is_known:
        return "processes that the gateway does not know of"
    return f"{_processes(len(found.absent))} that may come back without the new keys: {_named(found.absent)}"


def _timed_out(found: Standing, timeout_seconds: float) -> CliError:
    return CliError(
        f"after {timeout_seconds:.0f} s, {len(found.lacking)} of {found.alive} live processes still lack the"
        f" new keys: {_named(found.lacking)}. The old keys stay in use. Bring the keyring there, and run"
        " the command again: it goes on from here. To go on although one of them lacks the keys:"
        " --without NAME",
        code=ExitCode.UNAVAILABLE,
    )


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _named(holders: Sequence[KeyHolder]) -> str:
    names = [str(holder) for holder in holders[:_MOST_NAMED]]
    more = len(holders) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
