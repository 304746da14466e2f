"""How an attack is written down: what it does, why it is refused, and which checks stop it.

``@attack`` makes a test of it that expects the refusal. The harness then switches the checks off. With all
of them off the attack gets through; with all but one off it does not, so each of them is enough by itself.
Where a primitive stops the attack as well, ``then`` says with which reason, once our own checks are gone.
Where there is no check of ours that could be removed, ``no_check`` says why.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.envelope.world import World

from isthmus.envelope import binding, checks, inner, replay, request_proof, statement
from isthmus.envelope import open as opening
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, RejectionReason
from isthmus.keys.errors import KeysetRejectedError
from isthmus.wire import chain, endpoint_record, limits
from isthmus.wire import envelope as wire_envelope
from isthmus.wire import header as wire_header
from isthmus.wire.chain import ChainProblem


class NotBelievedError(Exception):
    """A statement of the gateway was reported as unproven."""


Reason = RejectionReason | ChainProblem | type[Exception]
Run = Callable[[World], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack of the list."""

    name: str
    run: Run
    reason: Reason
    stopped_by: tuple[str, ...]
    then: Reason | None
    no_check: str


ATTACKS: dict[str, Attack] = {}
REFUSALS = (EnvelopeRejectedError, KeyUnavailableError, KeysetRejectedError, NotBelievedError)


def attack(
    reason: Reason, *, stopped_by: tuple[str, ...] = (), then: Reason | None = None, no_check: str = ""
) -> Callable[[Run], Callable[[World], None]]:
    """Register an attack and return the test that expects it to be refused for this reason."""

    def register(run: Run) -> Callable[[World], None]:
        name = run.__name__.removeprefix("test_")
        ATTACKS[name] = Attack(
            name=name, run=run, reason=reason, stopped_by=stopped_by, then=then, no_check=no_check
        )

        @functools.wraps(run)
        def test(world: World) -> None:
            assert refusal(run, world) == reason

        return test

    return register


def refusal(run: Run, world: World) -> Reason | None:
    """Run an attack and return why it was refused; None when it got through."""
    try:
        run(world)
    except EnvelopeRejectedError as error:
        return error.reason
    except KeysetRejectedError as error:
        return error.problem
    except (KeyUnavailableError, NotBelievedError) as error:
        return type(error)
    return None


def _first(*_: object) -> int:
    """Let the first root count, whatever is pinned."""
    return 0


def _nothing(*_arguments: object, **_named: object) -> None:
    """Stand in for a check that was removed."""


def _yes(*_arguments: object, **_named: object) -> bool:
    """Stand in for a check that answers."""
    return True


def _constant(*_arguments: object) -> bytes:
    """Stand in for a binding to the header."""
    return b"bound to nothing"


def _released_early(_decryptor: object) -> bytes:
    """Stand in for finalize()."""
    return b""


_REPLACED: dict[str, tuple[tuple[Any, str, object], ...]] = {
    **{
        name: ((checks, name, _nothing),)
        for name in (
            "direction", "sender", "recipient", "recipients", "endpoint", "service", "operation",
            "operation_id", "request_digest", "principal", "contract", "labels", "not_expired",
            "trust_domain", "not_from_the_future", "sender_key_id", "sender_key_state", "signature",
            "not_too_early", "keyset", "listed",
        )
    },
    "suite": ((wire_header, "_check_suite", _nothing), (checks, "suite", _nothing)),
    "wrap_info": ((binding, "wrap_info", _constant),),
    "body_context": ((binding, "body_context", _constant),),
    "canonical": ((wire_header, "check_canonical", _nothing),),
    "wraps": ((wire_envelope, "_check_wraps", _nothing),),
    "padding": ((inner, "check_padding", _nothing),),
    "finalize": ((opening, "_finish", _released_early),),
    "label_size": ((limits, "MAX_LABEL_CHARS", 1 << 20),),
    "redelivery": ((replay.RedeliveryGuard, "admit", _nothing),),
    "sequence": ((replay.SequenceGuard, "admit", _nothing),),
    "fingerprint": ((request_proof, "check_fingerprint", _nothing),),
    "deadline": ((statement, "deadline_has_passed", _yes),),
    "record": ((endpoint_record, "difference_to", _nothing),),
    "own_cancel": ((statement, "is_own_cancel", _yes),),
    "keyset_root": ((chain, "_pinned", _first),),
}  # fmt: skip


def switch_off(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Remove a check."""
    for module, attribute, replacement in _REPLACED[name]:
        assert hasattr(module, attribute)
        monkeypatch.setattr(module, attribute, replacement)
