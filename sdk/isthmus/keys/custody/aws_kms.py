"""Custody of AWS KMS: a symmetric key of it wraps the data key, with the context as encryption context.

Credentials, and for aliases the region, are those that AWS's own tools find. ``isthmus[aws-kms]`` brings what
this module imports.
"""

import base64
import re
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from isthmus.keys.custody.provider import DataKey, KeyContext, wrapped_bytes
from isthmus.keys.errors import CustodyError, CustodyUnavailableError, KeyringError

NAME: Final = "aws-kms"
TIMEOUT_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3
_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:(?:key|alias)/[A-Za-z0-9/_-]+", re.ASCII)
_NAME: Final = re.compile(r"(?:alias/)?[A-Za-z0-9/_-]{1,256}", re.ASCII)
_AWAY: Final = frozenset(
    {
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "KMSInternalException",
        "LimitExceededException",
        "ServiceUnavailableException",
        "ThrottlingException",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What the service answered, or why it did not."""

    answer: dict[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""
    away: bool = False


class AwsKms:
    """A key of AWS KMS. A ``KeyEncryptionProvider``."""

    __slots__ = ("_client", "_key", "_region", "_timeout_seconds")

    def __init__(self, *, key: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Take which key is meant; asks nothing yet.

        Args:
            key: its ARN; or its id or ``alias/name``, which ``wrap`` replaces by the ARN.
            timeout_seconds: longest silence of the service at each of three attempts.

        Raises:
            KeyringError: the key is not written in one of these ways.

        """
        arn = _ARN.fullmatch(key)
        if arn is None and not _NAME.fullmatch(key):
            raise KeyringError(f"a key of {NAME} is an ARN, an id or alias/name, not {key!r}")
        self._client: Any = None
        self._key = key
        self._region = None if arn is None else arn.group(1)
        self._timeout_seconds = timeout_seconds

    @property
    def name(self) -> str:
        """Of the provider."""
        return NAME

    @property
    def key(self) -> str:
        """The ARN, once the service was asked to wrap."""
        return self._key

    def wrap(self, data_key: DataKey, context: KeyContext) -> str:
        """Return what the service encrypted, in base64; from here on the key is known by its ARN.

        Raises:
            CustodyError: the service refuses. CustodyUnavailableError: it cannot be asked now.

        """
        outcome = self._ask(data_key, context)
        self._check(outcome, "wrap")
        arn, wrapped = outcome.answer.get("KeyId"), outcome.answer.get("CiphertextBlob")
        if not isinstance(arn, str) or not _ARN.fullmatch(arn) or not isinstance(wrapped, bytes):
            raise CustodyError("AWS KMS answers with something else than a wrapped key")
        self._key = arn
        return base64.b64encode(wrapped).decode()

    def unwrap(self, wrapped: str, context: KeyContext) -> DataKey:
        """Return the data key.

        Raises:
            CustodyError: the service refuses, or this was wrapped with another key or for another keyring.
            CustodyUnavailableError: it cannot be asked now.

        """
        outcome = self._ask(wrapped_bytes(wrapped), context)
        self._check(outcome, "unwrap")
        plaintext = outcome.answer.get("Plaintext")
        return DataKey(plaintext if isinstance(plaintext, bytes) else b"")

    def _ask(self, content: DataKey | bytes, context: KeyContext) -> _Outcome:
        """Ask; raises nothing, because secrets are in the variables of what it calls."""
        bound = {
            "isthmus:trust-domain": context.trust_domain,
            "isthmus:namespace": context.namespace,
            "isthmus:keyring-id": context.keyring_id.hex(),
        }
        try:
            client = self._connected()
            if isinstance(content, DataKey):
                answer = client.encrypt(KeyId=self._key, Plaintext=content.secret, EncryptionContext=bound)
            else:
                answer = client.decrypt(KeyId=self._key, CiphertextBlob=content, EncryptionContext=bound)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            return _Outcome(problem=_reason(code, error), away=code in _AWAY)
        except (NoCredentialsError, NoRegionError) as error:
            return _Outcome(problem=f"{error}: set them as for AWS's own tools")
        except BotoCoreError as error:
            return _Outcome(problem=type(error).__name__, away=True)
        return _Outcome(answer=answer)

    def _connected(self) -> Any:  # noqa: ANN401 - the library makes its clients at run time
        if self._client is None:
            config = Config(
                connect_timeout=self._timeout_seconds,
                read_timeout=self._timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            )
            self._client = boto3.Session().client("kms", region_name=self._region, config=config)
        return self._client

    def _check(self, outcome: _Outcome, action: str) -> None:
        if outcome.problem:
            error = CustodyUnavailableError if outcome.away else CustodyError
            raise error(f"AWS KMS does not {action} with {self._key}: {outcome.problem}")


def _reason(code: str, error: ClientError) -> str:
    if code == "InvalidCiphertextException":
        return "this was wrapped for another keyring, or was changed"
    said = str(error.response.get("Error", {}).get("Message", ""))
    return f"{code}: {said}" if said else code
