"""A provider whose key is in this process; one that lies, when it is told to."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from isthmus.keys.custody.provider import DataKey, KeyContext
from isthmus.keys.errors import CustodyError


class BoxProvider:
    """Wraps with AES-256-GCM. A ``KeyEncryptionProvider``."""

    name = "box"
    key = "box/1"

    def __init__(self) -> None:
        self._box = AESGCM(os.urandom(32))
        self.calls: list[str] = []
        self.answers: list[DataKey] = []
        """What to answer to the next questions, instead of the truth."""

    def wrap(self, data_key: DataKey, context: KeyContext) -> str:
        """Return nonce and ciphertext."""
        self.calls.append("wrap")
        nonce = os.urandom(12)
        return base64.b64encode(nonce + self._box.encrypt(nonce, data_key.secret, context.bound)).decode()

    def unwrap(self, wrapped: str, context: KeyContext) -> DataKey:
        """Return the key, or what it was told to."""
        self.calls.append("unwrap")
        if self.answers:
            return self.answers.pop(0)
        raw = base64.b64decode(wrapped)
        try:
            return DataKey(self._box.decrypt(raw[:12], raw[12:], context.bound))
        except InvalidTag:
            raise CustodyError("box: not wrapped here") from None
