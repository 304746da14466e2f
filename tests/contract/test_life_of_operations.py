"""Any commands in any order, and restarts in between: operations live as the model says.

``ISTHMUS_MODEL_STEPS=100000 pytest tests/contract/test_life_of_operations.py`` runs that many steps.
"""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.conftest import StoreFactory
from tests.contract.life_machine import LifeMachine

STEPS = int(os.environ.get("ISTHMUS_MODEL_STEPS", "1000"))
_STEPS_PER_EXAMPLE = 50


@pytest.mark.timeout(600 + STEPS // 20)
def test_operations_live_as_the_model_says_when_anything_happens(
    new_database: Callable[[], StoreFactory],
) -> None:
    """Whatever the order of callers, workers, owners, timeouts, lost sessions and restarts."""

    class Machine(LifeMachine):
        """On an empty database each time."""

        def __init__(self) -> None:
            super().__init__(new_database())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(1, STEPS // _STEPS_PER_EXAMPLE),
            stateful_step_count=_STEPS_PER_EXAMPLE,
            deadline=None,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        ),
    )
