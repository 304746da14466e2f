"""What is unsafe or senseless about the configured issuers."""

from collections import Counter
from collections.abc import Iterator, Sequence

from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import DEVELOPMENT, JWT, IssuerSettings, SubjectRule
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_namespace

ALGORITHMS = frozenset(
    {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
)
"""Signature algorithms that an issuer may use: asymmetric ones only, so that a public key cannot sign."""

_LIFETIME_SECONDS = range(1, 24 * 3600 + 1)
_LEEWAY_SECONDS = range(301)


def issuer_problems(issuers: Sequence[IssuerSettings]) -> Iterator[Problem]:
    """Yield what is wrong with the issuers, each and together."""
    if not issuers:
        yield Problem(
            option="issuers",
            message="there is no issuer, so that nobody could authenticate",
            fix='Add an [[issuers]] section; for development on this machine: kind = "development".',
        )
    for index, issuer in enumerate(issuers):
        path = f"issuers[{index}]"
        if issuer.kind == DEVELOPMENT:
            if issuer != IssuerSettings(kind=DEVELOPMENT):
                yield Problem(
                    option=path,
                    message="the development issuer has no further options",
                    fix='Leave only kind = "development".',
                )
        elif issuer.kind == JWT:
            yield from _jwt_problems(issuer, path)
            yield from _subject_problems(issuer, path)
        else:
            yield Problem(
                option=f"{path}.kind", message="there is no such kind", fix=f"It is {JWT} or {DEVELOPMENT}."
            )
    names = Counter(DEVELOPMENT if issuer.kind == DEVELOPMENT else issuer.issuer for issuer in issuers)
    for name, count in names.items():
        if count > 1:
            yield Problem(
                option="issuers", message=f"{name!r} is there {count} times", fix="Put its subjects together."
            )


def _jwt_problems(issuer: IssuerSettings, path: str) -> Iterator[Problem]:
    if not issuer.issuer:
        yield Problem(
            option=f"{path}.issuer",
            message="it is missing",
            fix="It is the iss claim of its tokens.",
        )
    if issuer.algorithm not in ALGORITHMS:
        yield Problem(
            option=f"{path}.algorithm",
            message="it is no algorithm that is believed",
            fix=f"It is one of {', '.join(sorted(ALGORITHMS))}.",
        )
    if not issuer.audience:
        yield Problem(
            option=f"{path}.audience",
            message="it is missing: the aud claim of tokens for this gateway",
            fix="Without one, tokens for other services would open this one.",
        )
    if not issuer.types:
        yield Problem(
            option=f"{path}.types",
            message="at least one type is needed",
            fix="Leave it out for JWT.",
        )
    if issuer.max_lifetime_seconds not in _LIFETIME_SECONDS:
        yield Problem(
            option=f"{path}.max_lifetime_seconds",
            message="tokens live 1 to 86400 seconds",
            fix="Allow what the issuer gives, and not more: a token that was stolen works that long.",
        )
    if issuer.leeway_seconds not in _LEEWAY_SECONDS:
        yield Problem(
            option=f"{path}.leeway_seconds",
            message="clocks differ by 0 to 300 seconds",
            fix="Mend the clocks if they differ by more.",
        )
    if (issuer.key_file is None) == (issuer.jwks_file is None):
        yield Problem(
            option=path,
            message="its keys are in exactly one of key_file and jwks_file",
            fix="key_file is one public key (PEM), jwks_file the document that an issuer publishes.",
        )
    for option, file in (("key_file", issuer.key_file), ("jwks_file", issuer.jwks_file)):
        if file is not None and not file.is_file():
            yield Problem(
                option=f"{path}.{option}",
                message=f"{file} is no file",
                fix="Paths start beside this file.",
            )
        elif file is not None and file.stat().st_mode & 0o022:
            yield Problem(
                option=f"{path}.{option}",
                message=f"others than its owner may write {file}, and so become anybody",
                fix=f"Run: chmod go-w {file}",
            )


def _subject_problems(issuer: IssuerSettings, path: str) -> Iterator[Problem]:
    if not issuer.namespace and not issuer.subjects:
        yield Problem(
            option=path,
            message="nobody of this issuer is anybody here",
            fix="Give it a namespace, or [[issuers.subjects]] with subject and namespace.",
        )
    if issuer.namespace:
        yield from _namespace_problems(issuer.namespace, f"{path}.namespace")
    for index, rule in enumerate(issuer.subjects):
        yield from _rule_problems(rule, f"{path}.subjects[{index}]")
    for subject, count in Counter(rule.subject for rule in issuer.subjects).items():
        if count > 1:
            yield Problem(
                option=f"{path}.subjects",
                message=f"{subject!r} is there {count} times",
                fix="A subject is of one namespace: keep one of the rules.",
            )


def _rule_problems(rule: SubjectRule, path: str) -> Iterator[Problem]:
    if not rule.subject or "*" in rule.subject[:-1]:
        yield Problem(
            option=f"{path}.subject",
            message="it is exact, or ends with one *",
            fix="Write out the sub claim, or its beginning and *.",
        )
    if rule.platform and rule.subject.endswith("*"):
        yield Problem(
            option=f"{path}.platform",
            message="a pattern cannot administer the platform",
            fix="Name each administrator exactly.",
        )
    yield from _namespace_problems(rule.namespace, f"{path}.namespace")


def _namespace_problems(namespace: str, option: str) -> Iterator[Problem]:
    try:
        check_namespace(namespace)
    except WireFormatError as error:
        yield Problem(option=option, message=str(error), fix="Name the namespace as its team does.")
