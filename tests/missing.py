"""What a test does without a real part that it needs."""

import os

import pytest

NOTHING_MISSING = "ISTHMUS_NOTHING_MISSING"


def missing(what: str) -> BaseException:
    """Return what to raise: the test is skipped, by name of what is missing, or fails if .ci/run says so."""
    if os.environ.get(NOTHING_MISSING):
        return pytest.fail.Exception(f"{what}, and {NOTHING_MISSING} is set", pytrace=False)
    return pytest.skip.Exception(what)
