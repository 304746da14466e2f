"""Custody of a PKCS #11 token, a hardware module for example: an AES key in it wraps the data key.

AES-GCM (``CKM_AES_GCM``), a random nonce of 12 bytes, the context as additional data. A session with the
token lasts for one question. ``isthmus[pkcs11]`` brings what this module imports.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import pkcs11
from pkcs11 import exceptions as refusals

from isthmus.keys.custody.provider import DataKey, KeyContext, wrapped_bytes
from isthmus.keys.errors import CustodyError, CustodyUnavailableError, KeyringError

NAME: Final = "pkcs11"
_NONCE_BYTES: Final = 12
_MAX_LABEL_CHARS: Final = 64
_AWAY: Final = (
    refusals.DeviceError,
    refusals.DeviceMemory,
    refusals.DeviceRemoved,
    refusals.HostMemory,
    refusals.SessionCount,
    refusals.TokenNotPresent,
)
_REASONS: Final = (
    (refusals.NoSuchToken, "there is no token of this label in the module"),
    (refusals.MultipleTokensReturned, "there are several tokens of this label in the module"),
    (
        (refusals.PinIncorrect, refusals.PinInvalid, refusals.PinLenRange),
        "its PIN is wrong; mend it before anything is started again, tokens lock after a few attempts",
    ),
    (refusals.PinLocked, "its PIN is locked: the token's security officer unlocks it"),
    (refusals.PinExpired, "its PIN expired"),
    (refusals.MechanismInvalid, "it cannot do AES-GCM"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What the token answered, or why it did not."""

    result: bytes = field(default=b"", repr=False)
    problem: str = ""
    away: bool = False


class _AesKey(Protocol):
    """What the library mixes into a key that can do this."""

    def encrypt(self, data: bytes, *, mechanism: object, mechanism_param: object) -> bytes: ...

    def decrypt(self, data: bytes, *, mechanism: object, mechanism_param: object) -> bytes: ...


class Pkcs11Token:
    """An AES key of a token. A ``KeyEncryptionProvider``; nobody is logged in between questions."""

    __slots__ = ("_key", "_module", "_pin", "_token")

    def __init__(self, *, module: Path, key: str, pin: Callable[[], str]) -> None:
        """Take which library speaks for the token, and which key is meant; asks nothing yet.

        Args:
            module: the library of the token's maker. It is loaded into this process.
            key: the labels of token and key, as in ``isthmus/data-team``.
            pin: returns the PIN of the token's user.

        Raises:
            KeyringError: the key is not written this way.

        """
        token, _, label = key.partition("/")
        for part in (token, label):
            if not 0 < len(part) <= _MAX_LABEL_CHARS or not part.isascii() or not part.isprintable():
                raise KeyringError(f"a key of {NAME} is TOKEN-LABEL/KEY-LABEL, not {key!r}")
        self._module = str(module.absolute())
        self._token, self._key = token, label
        self._pin = pin

    @property
    def name(self) -> str:
        """Of the provider."""
        return NAME

    @property
    def key(self) -> str:
        """Labels of token and key."""
        return f"{self._token}/{self._key}"

    def wrap(self, data_key: DataKey, context: KeyContext) -> str:
        """Return nonce and ciphertext, in base64.

        Raises:
            CustodyError: the token refuses. CustodyUnavailableError: it cannot be asked now.

        """
        nonce = os.urandom(_NONCE_BYTES)
        outcome = self._ask(lambda key: nonce + key.encrypt(data_key.secret, **_gcm(nonce, context)))
        self._check(outcome, "wrap")
        return base64.b64encode(outcome.result).decode()

    def unwrap(self, wrapped: str, context: KeyContext) -> DataKey:
        """Return the data key.

        Raises:
            CustodyError: the token refuses: no PIN, no key, or this was wrapped for something else.
            CustodyUnavailableError: it cannot be asked now.

        """
        raw = wrapped_bytes(wrapped)
        nonce = raw[:_NONCE_BYTES]
        outcome = self._ask(lambda key: key.decrypt(raw[_NONCE_BYTES:], **_gcm(nonce, context)))
        self._check(outcome, "unwrap")
        return DataKey(outcome.result)

    def _ask(self, work: Callable[[_AesKey], bytes]) -> _Outcome:
        """Do it in a session; raises nothing but what the PIN's source does."""
        try:
            with self._session() as session:
                # All of them: the library's get_key leaves a search open when it finds several.
                keys: list[Any] = list(session.get_objects(self._template()))
                if len(keys) != 1:
                    several = "are several AES keys" if keys else "is no AES key"
                    return _Outcome(problem=f"there {several} of this label in the token")
                return _Outcome(result=bytes(work(keys[0])))
        except refusals.PKCS11Error as error:
            return _Outcome(problem=_reason(error), away=isinstance(error, _AWAY))

    def _template(self) -> dict[pkcs11.Attribute, object]:
        return {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
            pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
            pkcs11.Attribute.LABEL: self._key,
        }

    def _session(self) -> pkcs11.Session:
        token = pkcs11.lib(self._module).get_token(token_label=self._token)
        try:
            return token.open(user_pin=self._pin())
        except refusals.UserAlreadyLoggedIn:
            # Somebody else in this process is, and a login is of the whole process.
            return token.open()

    def _check(self, outcome: _Outcome, action: str) -> None:
        if outcome.problem:
            error = CustodyUnavailableError if outcome.away else CustodyError
            raise error(f"the PKCS #11 token does not {action} with {self.key}: {outcome.problem}")


def _gcm(nonce: bytes, context: KeyContext) -> dict[str, object]:
    parameters = pkcs11.GCMParams(nonce, context.bound)
    return {"mechanism": pkcs11.Mechanism.AES_GCM, "mechanism_param": parameters}


def _reason(error: refusals.PKCS11Error) -> str:
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    said = str(error)
    if said.startswith("OS exception while loading"):
        return said
    # What a token says of a wrong tag differs from maker to maker; most say nothing in particular.
    return f"{type(error).__name__}; or this was wrapped for another keyring, or with another key"
