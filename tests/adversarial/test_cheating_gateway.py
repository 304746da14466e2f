"""A gateway that cheats as Hypothesis tells it to deceives nobody: real clients, real workers, real gRPC.

A failure names its seed, and ``ISTHMUS_ADVERSARY_SEED=… pytest tests/adversarial/test_cheating_gateway.py``
tells the same lies again. ``nox -s adversary`` runs 100,000 steps, and removes checks of the ends one by one.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.adversarial.attack import switch_off
from tests.adversarial.cheating.hurry import in_a_hurry
from tests.adversarial.cheating.machine import CheatingMachine
from tests.adversarial.cheating.stage import running_stage

from isthmus.client import flows, progress, starting
from isthmus.envelope import statement
from isthmus.envelope.open import Opened
from isthmus.envelope.statement import StatementKind
from isthmus.wire.header import Header

STEPS = int(os.environ.get("ISTHMUS_ADVERSARY_STEPS", "0"))
"""How many steps; 0: as many as there are in some seconds."""
SEED = os.environ.get("ISTHMUS_ADVERSARY_SEED", "")
SECONDS = 60.0
_STEPS_PER_EXAMPLE = 100
# The first example of a seed does next to nothing. One more, so that time is looked at often, and from
# outside: an example that stopped for the time would be one that Hypothesis cannot repeat.
_EXAMPLES_OF_A_SEED = 2
_MOST_SEEDS_TO_FIND = 300
_PHASES = (Phase.explicit, Phase.generate, Phase.shrink)


@pytest.fixture
def cheating(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[CheatingMachine]]:
    """The machine, on an honest gateway that runs."""
    in_a_hurry(monkeypatch)

    class Machine(CheatingMachine):
        """On this stage."""

    with asyncio.Runner() as Machine.runner:
        running = running_stage()
        Machine.stage = Machine.runner.run(running.__aenter__())
        try:
            yield Machine
        finally:
            Machine.runner.run(running.__aexit__(None, None, None))


def run(machine: type[CheatingMachine], number: int, *, phases: tuple[Phase, ...]) -> None:
    """Run the examples of a seed. Raises what breaks a promise."""
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=_EXAMPLES_OF_A_SEED,
            stateful_step_count=_STEPS_PER_EXAMPLE,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
                HealthCheck.large_base_example,
            ],
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(600 + STEPS // 5)
def test_nobody_is_deceived_when_the_gateway_cheats(cheating: type[CheatingMachine]) -> None:
    """Never a wrong plaintext, never a wrong outcome; every cheat is detected, or is a delay."""
    number = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    until = time.monotonic() + SECONDS
    try:
        run(cheating, number, phases=_PHASES)
        while not SEED and (cheating.steps < STEPS if STEPS else time.monotonic() < until):
            number += 1
            run(cheating, number, phases=_PHASES)
    except BaseException as error:
        # Real processes do not always do the same in the same order: what was found first counts.
        error.add_note(f"ISTHMUS_ADVERSARY_SEED={number}, found first, with what led to it:")
        error.add_note("\n".join(cheating.found))
        raise
    assert cheating.lies_told > cheating.steps // 20


# --- the machine has teeth --------------------------------------------------------------------------------


def _off(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: switch_off(patch, name)


def _believe_any_timeout(patch: pytest.MonkeyPatch) -> None:
    def deadline_has_passed(kind: StatementKind, _request: Header, _now_ms: int) -> bool:
        return kind.name.startswith("TIMED_OUT")

    patch.setattr(statement, "deadline_has_passed", deadline_has_passed)


def _believe_the_registry(patch: pytest.MonkeyPatch) -> None:
    def pinned_owner(_caller: object, endpoint: str) -> Generator[Any, Any, str]:
        owner: str = yield flows.FindOwner(endpoint=endpoint)
        return owner

    patch.setattr(starting, "pinned_owner", pinned_owner)


def _believe_old_progress(patch: pytest.MonkeyPatch) -> None:
    def admit(_seen: progress.ProgressSeen, _opened: Opened) -> None:
        """Take whatever comes."""

    patch.setattr(progress.ProgressSeen, "admit", admit)


TEETH: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "owner of an endpoint": (_believe_the_registry, "was sealed for"),
    "deadline of a request": (_believe_any_timeout, "was believed to have ended: OperationTimedOutError"),
    "operation id": (_off("operation_id"), ""),
    "root of a keyset": (_off("keyset_root"), ""),
    "signature": (_off("signature"), ""),
    "direction": (_off("direction"), ""),
    "request digest": (_off("request_digest"), "was believed as the result of"),
    "own cancel": (_off("own_cancel"), "OperationCanceledError, and its caller never canceled"),
    "redelivery": (_off("redelivery"), "there before"),
    "order of signals": (_off("sequence"), "heard"),
    "order of progress": (_believe_old_progress, "was shown after newer one"),
}
"""What is removed of the SDK, and what the machine says about it, where it is always the same."""
_AT_ONCE = ("owner of an endpoint", "deadline of a request")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TEETH if STEPS else _AT_ONCE)
def test_violation_is_found_when_a_check_is_removed(
    name: str, cheating: type[CheatingMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within so many examples that who breaks a check hears of it."""
    remove, said = TEETH[name]
    remove(monkeypatch)
    for number in range(_MOST_SEEDS_TO_FIND):
        try:
            run(cheating, number, phases=(Phase.generate,))
        except Exception:  # noqa: BLE001 - which one it is says what was found
            assert cheating.found, "the machine itself is broken"
            if all("hangs" not in found for found in cheating.found[:1]):
                break
            cheating.found = ()
    assert cheating.found, "nothing was found"
    assert said in "\n".join(cheating.found[:1])
