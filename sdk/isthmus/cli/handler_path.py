"""Finds service handlers by ``module:Name``, as a person writes it."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import nexusrpc

from isthmus.cli.exit_code import CliError


def load_handler(path: str) -> Any:  # noqa: ANN401 - an instance of whatever the module defines
    """Return an instance of a service handler: a class without arguments, a function that makes one, or one.

    Raises:
        CliError: there is no such module or name, or it is no service handler.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise CliError(f"{path!r}: write module:Handler, for example payments.handlers:PaymentsHandler")
    if str(Path.cwd()) not in sys.path:
        # Like python -m: what lies in the current directory can be served.
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise CliError(
            f"{path!r}: there is no module {error.name!r}: it is looked for in the current directory,"
            f" {Path.cwd()}, in PYTHONPATH, and among what {sys.executable} has installed; run this where the"
            " code is, or install it there"
        ) from error
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise CliError(f"{path!r}: {module_name} has no {name}")
    handler = _instance(found, path)
    if nexusrpc.get_service_definition(type(handler)) is None:
        raise CliError(f"{path!r} is no service handler: decorate the class with @service_handler")
    return handler


def _instance(found: Any, path: str) -> Any:  # noqa: ANN401 - as above
    if not callable(found):
        return found
    required = [
        parameter.name
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    ]
    if required:
        raise CliError(
            f"{path!r} needs {', '.join(required)}: name a function without arguments that makes the handler"
        )
    return found()
