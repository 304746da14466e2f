"""How the profile of a client reaches whoever has its keyring in custody."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from isthmus.client.profile import Profile
from isthmus.keys.custody.opening import CustodySettings, open_provider
from isthmus.keys.custody.provider import KeyEncryptionProvider, WrappedKey
from isthmus.transport.credentials import refuse_public_file
from isthmus.transport.errors import ConfigurationError

_MAX_CREDENTIAL_CHARS: Final = 4096


def custody_settings(profile: Profile, environment: Mapping[str, str]) -> CustodySettings:
    """Return the settings; credentials are read when a provider asks for them."""
    return CustodySettings(
        openbao_address=profile.openbao_address,
        openbao_namespace=profile.openbao_namespace,
        openbao_ca_file=profile.openbao_ca_file,
        openbao_token=_credential("openbao_token", profile.openbao_token_file, environment),
        pkcs11_module=profile.pkcs11_module,
        pkcs11_pin=_credential("pkcs11_pin", profile.pkcs11_pin_file, environment),
    )


def provider_of(
    profile: Profile, environment: Mapping[str, str]
) -> Callable[[WrappedKey], KeyEncryptionProvider]:
    """Return what finds the provider of a keyring that is in custody."""
    settings = custody_settings(profile, environment)
    return lambda wrapped: open_provider(wrapped.provider, wrapped.key, settings)


def _credential(name: str, file: Path | None, environment: Mapping[str, str]) -> Callable[[], str]:
    """Return what reads a credential: from its file if that is set, else from its variable."""
    variable = f"ISTHMUS_{name.upper()}"

    def read() -> str:
        if file is None:
            found = environment.get(variable, "")
        else:
            try:
                refuse_public_file(file)
                found = file.read_bytes().decode("ascii", "replace").strip()
            except OSError as error:
                problem = error.strerror
                raise ConfigurationError(f"cannot read {name}_file {file}: {problem}") from None
        if not found:
            where = f"{name}_file in the profile, or {variable}" if file is None else f"something into {file}"
            raise ConfigurationError(f"the custody of the keyring needs a credential: set {where}")
        if len(found) > _MAX_CREDENTIAL_CHARS or not found.isascii() or not found.isprintable():
            # Not shown, and not in a variable of this frame when it is printed.
            del found
            raise ConfigurationError(f"what {file or variable} holds is no {name.replace('_', ' ')}")
        return found

    return read
