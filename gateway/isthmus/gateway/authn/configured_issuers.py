"""The issuers that the configuration names, ready to verify."""

from collections.abc import Iterator
from datetime import timedelta

from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.authn.jwt_issuer import JwtIssuer
from isthmus.gateway.authn.subjects import ConfiguredSubjects
from isthmus.gateway.authn.verification_keys import KeyFile
from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import DEVELOPMENT, GatewayConfig, IssuerSettings
from isthmus.gateway.core.errors import ConfigurationError


def configured_issuers(config: GatewayConfig) -> list[JwtIssuer]:
    """Read the keys of every issuer.

    Raises:
        ConfigurationError: a key file is missing, or is not what its issuer needs.
    """
    return [
        DevelopmentIssuer.load_or_create(config.data_dir).profile()
        if settings.kind == DEVELOPMENT
        else _profile(settings)
        for settings in config.issuers
    ]


def issuer_key_problems(config: GatewayConfig) -> Iterator[Problem]:
    """Yield the key files of issuers that do not hold what they should; nothing is written."""
    for index, settings in enumerate(config.issuers):
        if settings.kind == DEVELOPMENT:
            continue
        try:
            _profile(settings)
        except ConfigurationError as error:
            option = "key_file" if settings.jwks_file is None else "jwks_file"
            fix = error.fix or "Put a public key of the issuer's algorithm there, as its issuer publishes it."
            yield Problem(option=f"issuers[{index}].{option}", message=error.message, fix=fix)


def _profile(settings: IssuerSettings) -> JwtIssuer:
    path = settings.jwks_file or settings.key_file
    if path is None:
        raise ConfigurationError(
            f"the issuer {settings.issuer!r} has no keys",
            fix="Set key_file or jwks_file of the issuer.",
        )
    return JwtIssuer(
        issuer=settings.issuer,
        algorithm=settings.algorithm,
        audience=settings.audience,
        types=frozenset(settings.types),
        max_lifetime=timedelta(seconds=settings.max_lifetime_seconds),
        leeway=timedelta(seconds=settings.leeway_seconds),
        keys=KeyFile(path, algorithm=settings.algorithm, jwks=settings.jwks_file is not None),
        subjects=ConfiguredSubjects(settings.subjects, otherwise=settings.namespace),
    )
