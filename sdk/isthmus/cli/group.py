"""The root of the command tree: options that work anywhere, a variable for each, errors for people."""

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from isthmus.cli.exit_code import ExitCode, classify

PREFIX = "ISTHMUS"
"""What every variable begins with."""
DEBUG_VARIABLE = "ISTHMUS_DEBUG"
_ANYWHERE = {"--profile", "--output", "-o"}


class RootGroup(TyperGroup):
    """Runs a command; turns what it raises into a sentence on stderr and a documented exit code."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        name_variables(self, PREFIX)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own click is private
        """Parse the root's options wherever they stand: ``isthmus whoami --profile data-team`` works too."""
        return super().parse_args(ctx, _hoist(args))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted\n")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has enough. Nothing is left to flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except Exception as error:
            # Usage errors print themselves.
            if hasattr(error, "show") or os.environ.get(DEBUG_VARIABLE):
                if not hasattr(error, "show"):
                    traceback.print_exc()
                    raise typer.Exit(classify(error) or ExitCode.FAILED) from None
                raise
            raise typer.Exit(_report(error)) from None


def _report(error: Exception) -> ExitCode:
    code = classify(error)
    if code is None:
        sys.stderr.write(
            f"isthmus: this should not have happened: {type(error).__name__}: {error}\n"
            f"Run it again with {DEBUG_VARIABLE}=1 to see where, and please report it.\n"
        )
        return ExitCode.FAILED
    sys.stderr.write(f"isthmus: {error}\n")
    return code


def _hoist(args: list[str]) -> list[str]:
    front: list[str] = []
    rest: list[str] = []
    pending = list(args)
    while pending:
        word = pending.pop(0)
        if word == "--":
            rest += [word, *pending]
            break
        if word in _ANYWHERE and pending:
            front += [word, pending.pop(0)]
        elif "=" in word and word.partition("=")[0] in _ANYWHERE:
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def name_variables(command: Any, prefix: str) -> None:  # noqa: ANN401 - as above
    """Give each option the variable of its path: ``isthmus call --timeout`` reads ISTHMUS_CALL_TIMEOUT."""
    for parameter in command.params:
        # Eager ones (help, version, completion) act instead of the command.
        is_option = parameter.param_type_name == "option" and not parameter.is_eager
        if is_option and not parameter.envvar:
            parameter.envvar = f"{prefix}_{parameter.name.removesuffix('_').upper()}"
            parameter.show_envvar = True
    for name, child in getattr(command, "commands", {}).items():
        name_variables(child, below(prefix, name))


def below(prefix: str, name: str) -> str:
    """Return what the variables of a command begin with, whose group's begin with a prefix."""
    return f"{prefix}_{name.replace('-', '_').upper()}"
