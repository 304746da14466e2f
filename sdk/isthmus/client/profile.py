"""Profiles: how to reach which gateway as whom, by name, in one TOML file, like contexts of kubectl.

``~/.config/isthmus/config.toml`` (or ``ISTHMUS_CONFIG``)::

    current = "dev"

    [profiles.dev]
    address = "localhost:7243"
    namespace = "data-team"
    keyring = "keys/data-team.json"
    passphrase_file = "keys/passphrase"
    trust_store = "keys/trust.json"
    token_file = "/var/run/secrets/isthmus/token"

    blob_store = "s3://exchange/data-team/"
    blob_prefixes = { app-team = ["s3://exchange/app-team/"] }

Paths are relative to the file. Every field is also an environment variable, ``ISTHMUS_ADDRESS`` and so on,
which wins over the file; ``ISTHMUS_BLOB_PREFIXES`` is ``app-team=s3://exchange/app-team/ …``. Secrets come
from files or from the environment (``ISTHMUS_TOKEN``, ``ISTHMUS_PASSPHRASE``), never from this file. Whoever
can write it decides which gateway is called and who is trusted, so a file that others can write is refused.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from isthmus.blobs.address import Prefixes
from isthmus.transport.errors import ConfigurationError

_PATHS: Final = frozenset(
    {
        "keyring",
        "passphrase_file",
        "trust_store",
        "token_file",
        "signing_key_file",
        "ca_file",
        "certificate_file",
        "private_key_file",
        "blob_spool",
        "openbao_token_file",
        "openbao_ca_file",
        "pkcs11_module",
        "pkcs11_pin_file",
    }
)
_FLAGS: Final = frozenset({"allow_insecure", "trust_on_first_use"})
_NUMBERS: Final = frozenset(
    {
        "blob_threshold_bytes",
        "blob_retention_days",
        "blob_max_bytes",
        "key_cache_seconds",
        "key_rotation_days",
    }
)
_PREFIXES: Final = "blob_prefixes"
_SECRETS: Final = frozenset({"token", "passphrase", "openbao_token", "pkcs11_pin"})
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The settings of one client. None: not set."""

    address: str | None = None
    namespace: str | None = None
    keyring: Path | None = None
    passphrase_file: Path | None = None
    trust_store: Path | None = None
    trust_on_first_use: bool = False
    token_file: Path | None = None
    signing_key_file: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    subject: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    server_name: str | None = None
    allow_insecure: bool = False
    key_cache_seconds: int | None = None
    key_rotation_days: int | None = None
    blob_store: str | None = None
    blob_threshold_bytes: int | None = None
    blob_prefixes: Prefixes | None = None
    blob_spool: Path | None = None
    blob_retention_days: int | None = None
    blob_max_bytes: int | None = None
    openbao_address: str | None = None
    openbao_namespace: str | None = None
    openbao_token_file: Path | None = None
    openbao_ca_file: Path | None = None
    pkcs11_module: Path | None = None
    pkcs11_pin_file: Path | None = None


def config_path(environment: Mapping[str, str] | None = None) -> Path:
    """Return where the profiles are: ISTHMUS_CONFIG, or below the user's configuration directory."""
    environment = os.environ if environment is None else environment
    chosen = environment.get("ISTHMUS_CONFIG")
    if chosen:
        return Path(chosen).expanduser()
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "isthmus" / "config.toml"


def load_profile(name: str | None = None, *, environment: Mapping[str, str] | None = None) -> Profile:
    """Return a profile with the environment's variables on top of it.

    Args:
        name: which one; None takes ISTHMUS_PROFILE, then the file's ``current``, then none at all.
        environment: instead of the process's.

    Raises:
        ConfigurationError: no such profile, the file that ISTHMUS_CONFIG names is not there, or the file or a
            variable is not valid.
    """
    environment = os.environ if environment is None else environment
    path = config_path(environment)
    name = name or environment.get("ISTHMUS_PROFILE") or None
    document = _read(environment)
    name = name or document.get("current")
    profile = Profile()
    if name is not None:
        profiles = document.get("profiles", {})
        if name not in profiles:
            raise ConfigurationError(_no_profile(name, path, profiles))
        profile = _from_table(profiles[name], where=f"profile {name!r} in {path}", base=path.parent)
    return _with_environment(profile, environment)


def _no_profile(name: str, path: Path, profiles: Mapping[str, object]) -> str:
    if not path.exists():
        return (
            f"there is no profile {name!r}, because there is no {path}; set ISTHMUS_CONFIG to the file that"
            " has your profiles (isthmus dev prints how)"
        )
    known = ", ".join(sorted(profiles)) or "none"
    return f"{path} has no profile {name!r} (it has: {known}); ISTHMUS_CONFIG names another file"


def profile_names(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names of all profiles, sorted. Raises ConfigurationError."""
    return tuple(sorted(_read(environment).get("profiles", {})))


def current_profile(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the file's ``current``, the profile that is used when nobody names one.

    Raises:
        ConfigurationError: the file is not valid.
    """
    current = _read(environment).get("current")
    return None if current is None else str(current)


def _read(environment: Mapping[str, str] | None) -> dict[str, Any]:
    environment = os.environ if environment is None else environment
    path = config_path(environment)
    try:
        with path.open("rb") as file:
            # Of the open file, not of the path: nobody can exchange it in between.
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except FileNotFoundError:
        if environment.get("ISTHMUS_CONFIG"):
            raise ConfigurationError(
                f"ISTHMUS_CONFIG (or --config) names {path}, which does not exist"
            ) from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    # A device, such as /dev/null or a pipe of the shell, is nobody's to rewrite.
    if stat.S_ISREG(mode) and mode & _WRITABLE_BY_OTHERS:
        raise ConfigurationError(
            f"{path} can be written by others, and it decides whom to trust: chmod go-w {path}"
        )
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _from_table(table: dict[str, Any], *, where: str, base: Path) -> Profile:
    if secret := _SECRETS & table.keys():
        name = min(secret)
        raise ConfigurationError(
            f"{where}: a {name} does not belong here; use {name}_file or ISTHMUS_{name.upper()}"
        )
    known = {field.name for field in fields(Profile)}
    if unknown := table.keys() - known:
        raise ConfigurationError(f"{where}: unknown setting {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name == _PREFIXES:
            values[name] = _prefixes_of_table(value, where=where)
            continue
        expected = bool if name in _FLAGS else int if name in _NUMBERS else str
        if type(value) is not expected:
            raise ConfigurationError(f"{where}: {name} must be a {expected.__name__}")
        values[name] = base / Path(str(value)).expanduser() if name in _PATHS else value
    return Profile(**values)


def _with_environment(profile: Profile, environment: Mapping[str, str]) -> Profile:
    changes: dict[str, Any] = {}
    for field in fields(Profile):
        variable = f"ISTHMUS_{field.name.upper()}"
        text = environment.get(variable)
        if not text:
            continue
        if field.name in _FLAGS:
            changes[field.name] = _flag(variable, text)
        elif field.name in _NUMBERS:
            changes[field.name] = _number(variable, text)
        elif field.name == _PREFIXES:
            changes[field.name] = _prefixes_of_text(variable, text)
        else:
            changes[field.name] = Path(text).expanduser() if field.name in _PATHS else text
    return replace(profile, **changes)


def _flag(variable: str, text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ConfigurationError(f"{variable} must be true or false, not {text!r}")


def _number(variable: str, text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise ConfigurationError(f"{variable} must be a whole number, not {text!r}")
    return int(text)


def _prefixes_of_table(table: object, *, where: str) -> Prefixes:
    prefixes: dict[str, tuple[str, ...]] = {}
    for namespace, listed in table.items() if isinstance(table, dict) else (("", None),):
        if not isinstance(listed, list) or not all(isinstance(prefix, str) for prefix in listed):
            raise ConfigurationError(
                f"{where}: blob_prefixes is a table of lists, for example"
                ' { app-team = ["s3://exchange/app-team/"] }'
            )
        prefixes[namespace] = tuple(listed)
    return prefixes


def _prefixes_of_text(variable: str, text: str) -> Prefixes:
    prefixes: dict[str, tuple[str, ...]] = {}
    for entry in text.split():
        namespace, equals, prefix = entry.partition("=")
        if not equals:
            raise ConfigurationError(f"{variable} is namespace=prefix …, separated by spaces, not {entry!r}")
        prefixes[namespace] = (*prefixes.get(namespace, ()), prefix)
    return prefixes
