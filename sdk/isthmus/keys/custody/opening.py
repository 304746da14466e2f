"""From the name of a provider, as a keyring file or a command has it, to the provider as one reaches it here.

A file says which provider and which key, never where: an address, or a library that is loaded into the
process, comes from the settings of whoever opens it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from pathlib import Path
from typing import TypeVar

from isthmus.keys.custody.provider import KeyEncryptionProvider
from isthmus.keys.errors import KeyringError

T = TypeVar("T")


@unique
class Custody(StrEnum):
    """The providers that there are."""

    OPENBAO = "openbao"
    PKCS11 = "pkcs11"
    AWS_KMS = "aws-kms"


def _no_credential() -> str:
    raise KeyringError("the provider of the keyring needs a credential")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodySettings:
    """How this process reaches the providers. None: not set."""

    openbao_address: str | None = None
    openbao_namespace: str | None = None
    openbao_ca_file: Path | None = None
    openbao_token: Callable[[], str] = field(default=_no_credential, repr=False)
    pkcs11_module: Path | None = None
    pkcs11_pin: Callable[[], str] = field(default=_no_credential, repr=False)


def open_provider(name: str, key: str, settings: CustodySettings) -> KeyEncryptionProvider:
    """Return a provider with one of its keys; asks it nothing yet.

    Raises:
        KeyringError: there is no provider of this name, a setting is missing, or one is not valid.

    """
    try:
        custody = Custody(name)
    except ValueError:
        raise KeyringError(f"this release knows no custody {name!r}; update isthmus") from None
    try:
        return _open(custody, key, settings)
    except ModuleNotFoundError as error:
        raise KeyringError(
            f"the custody of this keyring needs {error.name}: pip install 'isthmus[{custody}]'"
        ) from None


def _open(custody: Custody, key: str, settings: CustodySettings) -> KeyEncryptionProvider:
    # Each is imported when it is used: they need libraries that nobody else needs.
    match custody:
        case Custody.OPENBAO:
            from isthmus.keys.custody.openbao import OpenBaoTransit  # noqa: PLC0415

            return OpenBaoTransit(
                address=_required(settings.openbao_address, "openbao_address"),
                key=key,
                token=settings.openbao_token,
                namespace=settings.openbao_namespace,
                ca_file=settings.openbao_ca_file,
            )
        case Custody.PKCS11:
            from isthmus.keys.custody.pkcs11 import Pkcs11Token  # noqa: PLC0415

            return Pkcs11Token(
                module=_required(settings.pkcs11_module, "pkcs11_module"), key=key, pin=settings.pkcs11_pin
            )
        case Custody.AWS_KMS:
            from isthmus.keys.custody.aws_kms import AwsKms  # noqa: PLC0415

            return AwsKms(key=key)


def _required(value: T | None, setting: str) -> T:
    if value is None:
        raise KeyringError(
            f"the custody of this keyring needs {setting}: set it in the profile,"
            f" or ISTHMUS_{setting.upper()}"
        )
    return value
