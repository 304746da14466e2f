"""The configuration of a gateway, as the commands under ``isthmus gateway`` find it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.exit_code import CliError, ExitCode, classify

if TYPE_CHECKING:
    from isthmus.gateway.config.settings import GatewayConfig
    from isthmus.gateway.core.errors import GatewayError

_CONFLICTS = frozenset({"ADDRESS_IN_USE", "STORE_IN_USE", "STORE_SCHEMA_TOO_NEW"})
NO_FILE = "There is no isthmus.toml here; give --config."
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="ISTHMUS_GATEWAY_CONFIG",
        help="Its TOML file; default: isthmus.toml if it is there, and the environment.",
        dir_okay=False,
    ),
]


def load(config: Path | None) -> "GatewayConfig":
    """Return a checked configuration. Raises CliError, which lists every problem."""
    import os

    from isthmus.gateway.config.loading import load_config
    from isthmus.gateway.core.errors import ConfigurationError

    try:
        return load_config(config or default_file(), os.environ)
    except ConfigurationError as error:
        missing = config is None and default_file() is None
        raise CliError(f"{error}\n{NO_FILE}" if missing else str(error)) from None


def explained(error: "GatewayError") -> CliError:
    """Return what the gateway refused, with what mends it and the exit code that says which kind it is."""
    code = ExitCode.CONFLICT if error.reason in _CONFLICTS else classify(error) or ExitCode.FAILED
    return CliError(f"{error}. {error.fix}".rstrip(), code=code)


def require_gateway() -> None:
    """Raise CliError when what a gateway needs is not installed."""
    import importlib.util

    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("jwt") is None:
        raise CliError("running a gateway needs more: pip install 'isthmus[gateway]'")


def default_file() -> Path | None:
    """Return the configuration file in the current folder, if there is one."""
    from isthmus.gateway.config.loading import DEFAULT_FILE

    return DEFAULT_FILE if DEFAULT_FILE.exists() else None
