"""Errors of the gateway say what to do: its sources are read, because no test meets all of them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.gateway.core import errors

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("gateway/isthmus/gateway", "endpoints/isthmus/endpoints", "policies/isthmus/policies")
KINDS = {
    name: kind.default_reason
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.GatewayError)
}

_BY_A_PROGRAM = "only a program that breaks the contract sends this; its SDK advises to update"
_A_FAULT = "a fault of the gateway itself: nobody outside of it can do anything"
NOTHING_TO_DO = {
    "ACCESS_TABLE": _A_FAULT,
    "RPC_NOT_LISTED": _A_FAULT,
    "ILLEGAL_EVENT": _A_FAULT,
    "BATCH_DUPLICATE": _BY_A_PROGRAM,
    "CALL_ID": _BY_A_PROGRAM,
    "FEED_KIND": _BY_A_PROGRAM,
    "FRAME_TOO_LARGE": _BY_A_PROGRAM,
    "HOLDER_ID": _BY_A_PROGRAM,
    "KEY_ID": _BY_A_PROGRAM,
    "NO_HELLO": _BY_A_PROGRAM,
    "PAGE_TOKEN": _BY_A_PROGRAM,
    "PLACE": _BY_A_PROGRAM,
    "REWRAPS": _BY_A_PROGRAM,
    "SESSION_ID": _BY_A_PROGRAM,
    "TOKEN_KEY": _BY_A_PROGRAM,
    "UNKNOWN_CALL": _BY_A_PROGRAM,
    "UNKNOWN_OUTCOME": _BY_A_PROGRAM,
    "UNKNOWN_READ": _BY_A_PROGRAM,
    "UNKNOWN_REJECTION": _BY_A_PROGRAM,
    "UNKNOWN_REPORT": _BY_A_PROGRAM,
    "WRONG_DIRECTION": _BY_A_PROGRAM,
}
ELSEWHERE = {
    "api/caller.py": _A_FAULT,
    "authn/verification_keys.py": "what configures issuers says what to put into their key files",
    "config/problem.py": "it lists problems, each with its fix",
    "store/endpoint_records.py": "the command has compared the versions before, and says what to do",
    "store/unit_of_work.py": "the command has looked before, and says what to do",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A place where an error is made."""

    module: str
    line: int
    reason: str
    has_fix: bool
    is_repeated: bool
    """The client repeats the request by itself, after the time that the error names."""


def _reason(call: ast.Call) -> str:
    for keyword in call.keywords:
        if keyword.arg == "reason":
            # A name of a constant is that of the reason.
            value = keyword.value
            return str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)
    return KINDS[ast.unparse(call.func).rpartition(".")[2]]


def _raised() -> Iterator[Raised]:
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in KINDS:
                    continue
                given = {keyword.arg for keyword in node.keywords}
                yield Raised(
                    module=path.relative_to(ROOT / source).as_posix(),
                    line=node.lineno,
                    reason=_reason(node),
                    has_fix="fix" in given,
                    is_repeated="retry_after_seconds" in given,
                )


def test_error_says_what_to_do_when_a_person_can_do_something() -> None:
    """Whoever reads "refused" and no next step asks the people who wrote this."""
    silent = [
        f"{raised.module}:{raised.line} {raised.reason}"
        for raised in _raised()
        if not raised.has_fix
        and not raised.is_repeated
        and raised.reason not in NOTHING_TO_DO
        and raised.module not in ELSEWHERE
    ]
    assert not silent, f"give a fix, or a reason why there is none: {silent}"


def test_exception_is_needed_when_it_is_listed() -> None:
    """The lists stay as short as they can be."""
    without = [raised for raised in _raised() if not raised.has_fix]
    assert set(NOTHING_TO_DO) <= {raised.reason for raised in without}
    assert set(ELSEWHERE) <= {raised.module for raised in without}


def test_every_error_is_seen_when_the_sources_are_read() -> None:
    """No class of errors is derived elsewhere, whose calls would be missed."""
    derived = []
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                is_error = isinstance(node, ast.ClassDef) and any(
                    ast.unparse(base).rpartition(".")[2] in KINDS for base in node.bases
                )
                if is_error and path != ROOT / "gateway/isthmus/gateway/core/errors.py":
                    derived.append(path)
    assert not derived
