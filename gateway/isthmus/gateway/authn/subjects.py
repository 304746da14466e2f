"""Which subject of an issuer is who here: configuration decides, never the token's own word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from isthmus.gateway.config.settings import SubjectRule
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import NamespaceName, check_namespace

MAX_SUBJECT_CHARS = 255
PLATFORM_NAMESPACE = "platform"
"""Under the development issuer, subjects of this namespace administer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """Who a subject is here."""

    namespace: NamespaceName
    subject: str
    platform: bool = False


class SubjectMapping(Protocol):
    """Says who a subject is."""

    def map(self, subject: str) -> Mapped | None:
        """Return who the subject is; None when it is nobody here."""
        ...


def is_presentable(subject: str) -> bool:
    """Whether a subject is 1 to 255 visible ASCII characters: nothing that hides or reorders text."""
    return 0 < len(subject) <= MAX_SUBJECT_CHARS and all("!" <= char <= "~" for char in subject)


class ConfiguredSubjects:
    """Rules of the configuration: an exact one wins over a pattern, a longer pattern over a shorter one."""

    def __init__(self, rules: Sequence[SubjectRule], *, otherwise: str = "") -> None:
        self._exact: Mapping[str, SubjectRule] = {
            rule.subject: rule for rule in rules if not rule.subject.endswith("*")
        }
        patterns = [(rule.subject[:-1], rule) for rule in rules if rule.subject.endswith("*")]
        self._patterns = sorted(patterns, key=lambda pattern: -len(pattern[0]))
        self._otherwise = otherwise

    def map(self, subject: str) -> Mapped | None:
        """Return who the subject is."""
        rule = self._exact.get(subject) or next(
            (rule for prefix, rule in self._patterns if subject.startswith(prefix)), None
        )
        if rule is not None:
            return Mapped(namespace=NamespaceName(rule.namespace), subject=subject, platform=rule.platform)
        if self._otherwise:
            return Mapped(namespace=NamespaceName(self._otherwise), subject=subject)
        return None


class DevelopmentSubjects:
    """``namespace/subject``, as the gateway's own issuer writes it; those of ``platform`` administer."""

    def map(self, subject: str) -> Mapped | None:
        """Return who the subject is."""
        namespace, slash, name = subject.partition("/")
        if not slash or not name:
            return None
        try:
            valid = check_namespace(namespace)
        except WireFormatError:
            return None
        return Mapped(namespace=valid, subject=name, platform=namespace == PLATFORM_NAMESPACE)
