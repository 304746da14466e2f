"""module:Handler."""

import sys
from pathlib import Path

import pytest

from isthmus.cli.exit_code import CliError
from isthmus.cli.handler_path import load_handler

MODULE = """
import nexusrpc
from nexusrpc.handler import service_handler, sync_operation

@nexusrpc.service
class Echo:
    say: nexusrpc.Operation[str, str]

@service_handler(service=Echo)
class EchoHandler:
    def __init__(self, *, loud=False):
        self.loud = loud

    @sync_operation
    async def say(self, ctx, input: str) -> str:
        return input

@service_handler(service=Echo)
class Needy:
    def __init__(self, database):
        pass

    @sync_operation
    async def say(self, ctx, input: str) -> str:
        return input

def make():
    return EchoHandler(loud=True)

class Plain:
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory."""
    (tmp_path / "echo_service_under_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "echo_service_under_test", raising=False)
    return "echo_service_under_test"


def test_handler_is_made_when_its_class_takes_nothing(module: str) -> None:
    """Keyword arguments with defaults do not count."""
    assert type(load_handler(f"{module}:EchoHandler")).__name__ == "EchoHandler"


def test_handler_is_made_when_a_function_makes_it(module: str) -> None:
    """For handlers that need a database and the like."""
    assert load_handler(f"{module}:make").loud is True


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{}", "write module:Handler"),
        ("{}:", "write module:Handler"),
        (
            "no_such_module_here:Handler",
            "'no_such_module_here': it is looked for in the current directory, /",
        ),
        ("{}:Missing", "has no Missing"),
        ("{}:Plain", "is no service handler"),
        ("{}:Needy", "needs database"),
    ],
)
def test_path_is_refused_when_it_names_no_handler(module: str, path: str, message: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(CliError, match=message):
        load_handler(path.format(module))
