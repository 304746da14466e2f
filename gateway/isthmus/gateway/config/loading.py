"""A configuration from its file and the environment, or everything that is wrong with it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.gateway.config.checks import config_problems
from isthmus.gateway.config.environment import overlay
from isthmus.gateway.config.problem import Problem, refuse
from isthmus.gateway.config.reading import read_settings
from isthmus.gateway.config.settings import GatewayConfig

DEFAULT_FILE = Path("isthmus.toml")


def load_config(file: Path | None, environ: Mapping[str, str]) -> GatewayConfig:
    """Read and check a configuration; without a file, the environment alone.

    Paths in it are relative to the folder of the file.

    Raises:
        ConfigurationError: it lists every problem.
    """
    config, problems = _checked(file, environ)
    refuse(problems)
    if config is None:
        raise AssertionError  # what could not be read has a problem
    return config


def check_config(file: Path | None, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """Return everything that is wrong with a configuration; nothing is started or written."""
    _, problems = _checked(file, environ)
    return tuple(problems)


def _checked(file: Path | None, environ: Mapping[str, str]) -> tuple[GatewayConfig | None, list[Problem]]:
    problems: list[Problem] = []
    config = _read(file, environ, problems)
    if config is not None:
        problems.extend(config_problems(config))
    return config, problems


def _read(file: Path | None, environ: Mapping[str, str], problems: list[Problem]) -> GatewayConfig | None:
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            problems.append(
                Problem(
                    option=str(file),
                    message=f"it cannot be read: {error.strerror}",
                    fix="Name another file with --config.",
                )
            )
            return None
        except ValueError as error:
            problems.append(
                Problem(option=str(file), message=f"it is no TOML: {error}", fix="Mend that place.")
            )
            return None
    merged = overlay(values, environ, problems)
    folder = Path() if file is None else file.parent
    config = read_settings(GatewayConfig, merged, problems, folder=folder)
    return config if not problems else None
