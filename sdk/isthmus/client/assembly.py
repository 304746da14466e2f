"""From arguments, profile and environment to the parts of a client; the one place that reads secrets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.blobs.settings import BlobSettings
from isthmus.client.custody import provider_of
from isthmus.client.key_alarm import OnKeyAlarm
from isthmus.client.profile import Profile, load_profile
from isthmus.client.request import Caller
from isthmus.envelope.key_material import SigningPublicKey
from isthmus.keys.endpoint_records import RecordsAtHand
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring import Keyring
from isthmus.keys.keyring_access import KeyringAccess
from isthmus.keys.timings import KeyTimings
from isthmus.keys.trust import TrustStore
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.credentials import (
    EnvironmentToken,
    FileToken,
    SigningKeyToken,
    TokenSource,
    load_signing_key,
    refuse_public_file,
)
from isthmus.transport.errors import ConfigurationError
from isthmus.v1 import key_service_pb2, namespace_service_pb2
from isthmus.wire.names import DEVELOPMENT_TRUST_DOMAIN

_TOKEN_VARIABLE = "ISTHMUS_TOKEN"  # noqa: S105 - the name of a variable
_PASSPHRASE_VARIABLE = "ISTHMUS_PASSPHRASE"  # noqa: S105
_DEFAULT_ADDRESS = "localhost:7243"
_DEFAULT_AUDIENCE = "isthmus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a client is made of, before it asked the gateway anything."""

    channel: ChannelSettings
    credentials: TokenSource | None
    keyring: Keyring
    trust: TrustStore
    trust_on_first_use: bool
    blobs: BlobSettings = field(default_factory=BlobSettings)
    timings: KeyTimings = field(default_factory=KeyTimings)
    on_key_alarm: OnKeyAlarm | None = None


def assemble(
    *,
    address: str | None = None,
    namespace: str | None = None,
    profile: str | Profile | None = None,
    keyring: Keyring | Path | str | None = None,
    trust: TrustStore | Path | str | None = None,
    credentials: TokenSource | None = None,
    channel: ChannelSettings | None = None,
    environment: Mapping[str, str] | None = None,
    on_key_alarm: OnKeyAlarm | None = None,
) -> Parts:
    """Put the parts together; what is given wins over the environment, and that over the profile.

    Raises:
        ConfigurationError: something is missing or contradictory; the message says how to set it.
        KeyringError: the keyring does not open.
        TrustError: the trust store is damaged.
    """
    environment = os.environ if environment is None else environment
    settings = profile if isinstance(profile, Profile) else load_profile(profile, environment=environment)
    opened = _keyring(settings, keyring, environment)
    wanted = namespace or settings.namespace
    if wanted is not None and wanted != opened.namespace:
        raise ConfigurationError(
            f"the keyring belongs to {opened.namespace}, not to {wanted}; use its keyring"
        )
    return Parts(
        channel=channel or channel_settings(settings, address),
        credentials=credentials or token_source(settings, environment, namespace=opened.namespace),
        keyring=opened,
        trust=_trust(settings, trust, opened),
        trust_on_first_use=settings.trust_on_first_use,
        blobs=blob_settings(settings),
        on_key_alarm=on_key_alarm,
        timings=key_timings(settings),
    )


def blob_settings(profile: Profile) -> BlobSettings:
    """Return what to do with large payloads. Raises ConfigurationError."""
    given = {
        "store": profile.blob_store,
        "threshold_bytes": profile.blob_threshold_bytes,
        "prefixes": profile.blob_prefixes,
        "spool": profile.blob_spool,
        "retention_days": profile.blob_retention_days,
        "max_bytes": profile.blob_max_bytes,
    }
    return BlobSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def key_timings(profile: Profile) -> KeyTimings:
    """Return how old what is known of keys may be. Raises ConfigurationError."""
    if profile.key_cache_seconds is None:
        return KeyTimings()
    try:
        return KeyTimings(cache_seconds=profile.key_cache_seconds)
    except ValueError as error:
        raise ConfigurationError(f"key_cache_seconds: {error}") from None


def channel_settings(profile: Profile, address: str | None = None) -> ChannelSettings:
    """Return where and how to connect."""
    return ChannelSettings(
        address=address or profile.address or _DEFAULT_ADDRESS,
        ca_file=profile.ca_file,
        certificate_file=profile.certificate_file,
        private_key_file=profile.private_key_file,
        server_name=profile.server_name,
        allow_insecure=profile.allow_insecure,
    )


def token_source(
    profile: Profile, environment: Mapping[str, str], *, namespace: str | None = None
) -> TokenSource | None:
    """Return where tokens come from: ISTHMUS_TOKEN, token_file, signing_key_file, or nowhere (mTLS).

    Raises:
        ConfigurationError: both files are set, or a signing key lacks its issuer.
    """
    if environment.get(_TOKEN_VARIABLE):
        return EnvironmentToken(_TOKEN_VARIABLE)
    if profile.token_file is not None and profile.signing_key_file is not None:
        raise ConfigurationError("set token_file or signing_key_file, not both")
    if profile.token_file is not None:
        return FileToken(profile.token_file)
    if profile.signing_key_file is None:
        return None
    subject = profile.subject or profile.namespace or namespace
    if profile.issuer is None or subject is None:
        raise ConfigurationError(
            "signing_key_file needs issuer and subject, as in the gateway's configuration"
        )
    return SigningKeyToken(
        load_signing_key(profile.signing_key_file),
        issuer=profile.issuer,
        subject=subject,
        audience=profile.audience or _DEFAULT_AUDIENCE,
    )


def make_caller(
    parts: Parts,
    who: namespace_service_pb2.WhoAmIResponse,
    gateway: key_service_pb2.GetGatewayKeyResponse,
    records: RecordsAtHand,
) -> Caller:
    """Compare what the gateway says about the credential with the keyring.

    Raises:
        ConfigurationError: the credential, the keyring and the gateway do not belong together.
    """
    keyring = parts.keyring
    if who.namespace != keyring.namespace:
        raise ConfigurationError(
            f"the gateway knows the credential as {who.principal!r} of namespace {who.namespace!r},"
            f" the keyring is of {keyring.namespace}; use the credential and the keyring of one namespace"
        )
    for trust_domain in {who.trust_domain, gateway.trust_domain}:
        if trust_domain != keyring.trust_domain:
            raise ConfigurationError(
                f"the gateway serves {trust_domain!r}, not {keyring.trust_domain!r}; check the address"
            )
    try:
        gateway_key = SigningPublicKey(gateway.public_key)
    except ValueError:
        raise ConfigurationError("the gateway presents a key that is none; check the address") from None
    return Caller(
        keyring=keyring,
        pins=parts.trust,
        principal=who.principal,
        gateway_key=gateway_key,
        trust_on_first_use=parts.trust_on_first_use,
        records=records,
        claim_checks=ClaimChecks(parts.blobs),
    )


def _keyring(profile: Profile, given: Keyring | Path | str | None, environment: Mapping[str, str]) -> Keyring:
    if given is not None and not isinstance(given, Path | str):
        return given
    path = Path(given) if given is not None else profile.keyring
    if path is None:
        raise ConfigurationError(
            "no keyring: pass keyring=, or set ISTHMUS_KEYRING, or keyring in the profile"
        )
    access = KeyringAccess(
        passphrase=lambda: _passphrase(profile, environment, path),
        provider=provider_of(profile, environment),
    )
    try:
        return FileKeyring(path, access)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no keyring at {path}; make one with: isthmus keys init") from None


def _passphrase(profile: Profile, environment: Mapping[str, str], path: Path) -> bytes:
    passphrase = environment.get(_PASSPHRASE_VARIABLE, "").encode()
    if profile.passphrase_file is not None:
        try:
            refuse_public_file(profile.passphrase_file)
            passphrase = profile.passphrase_file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigurationError(f"cannot read {profile.passphrase_file}: {error.strerror}") from error
    if not passphrase:
        raise ConfigurationError(f"{path} needs a passphrase: set passphrase_file or ISTHMUS_PASSPHRASE")
    return passphrase


def _trust(profile: Profile, given: TrustStore | Path | str | None, keyring: Keyring) -> TrustStore:
    if isinstance(given, TrustStore):
        return given
    path = Path(given) if given is not None else profile.trust_store
    if profile.trust_on_first_use and keyring.trust_domain != DEVELOPMENT_TRUST_DOMAIN:
        raise ConfigurationError(
            "trust_on_first_use believes the gateway about whom to trust, which is for isthmus dev only; in"
            f" {keyring.trust_domain} pin each team, with: isthmus trust add, and remove this setting"
        )
    if path is None and not profile.trust_on_first_use:
        raise ConfigurationError(
            "no trust store: pass trust=, or set ISTHMUS_TRUST_STORE or trust_store in the profile"
        )
    return TrustStore(
        path, trust_domain=keyring.trust_domain, allow_trust_on_first_use=profile.trust_on_first_use
    )
