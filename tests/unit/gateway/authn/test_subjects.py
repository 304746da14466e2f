"""Who a subject is here."""

import pytest

from isthmus.gateway.authn.subjects import ConfiguredSubjects, DevelopmentSubjects
from isthmus.gateway.config.settings import SubjectRule

RULES = [
    SubjectRule(subject="repo:acme/*", namespace="acme"),
    SubjectRule(subject="repo:acme/data:*", namespace="data-team"),
    SubjectRule(subject="repo:acme/data:main", namespace="release"),
    SubjectRule(subject="alice", namespace="ops", platform=True),
]


@pytest.mark.parametrize(
    ("subject", "namespace"),
    [
        ("repo:acme/web:main", "acme"),
        ("repo:acme/data:feature", "data-team"),
        ("repo:acme/data:main", "release"),
        ("alice", "ops"),
        ("alice2", "rest"),
        ("repo:acm", "rest"),
    ],
)
def test_subject_is_who_the_closest_rule_says_when_several_match(subject: str, namespace: str) -> None:
    """Exact before patterns, longer patterns before shorter ones, whatever their order."""
    mapped = ConfiguredSubjects(RULES, otherwise="rest").map(subject)
    assert mapped is not None
    assert mapped.namespace == namespace
    assert mapped.platform == (subject == "alice")


def test_subject_is_nobody_when_no_rule_matches() -> None:
    """Without a namespace for the others, they are nobody."""
    assert ConfiguredSubjects(RULES).map("bob") is None


@pytest.mark.parametrize("subject", ["alice", "/alice", "data-team/", "Data/alice", "a_b/alice", ""])
def test_development_subject_is_nobody_when_it_is_not_namespace_and_name(subject: str) -> None:
    """Only ``namespace/subject`` is somebody."""
    assert DevelopmentSubjects().map(subject) is None


@pytest.mark.parametrize(("namespace", "platform"), [("platform", True), ("data-team", False)])
def test_development_subject_administers_when_of_the_platform(namespace: str, *, platform: bool) -> None:
    """The namespace says so, and only that one."""
    mapped = DevelopmentSubjects().map(f"{namespace}/alice")
    assert mapped is not None
    assert (mapped.namespace, mapped.subject, mapped.platform) == (namespace, "alice", platform)
