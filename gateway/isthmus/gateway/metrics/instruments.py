"""What this process counts while it works.

On the way of an operation there are additions of whole numbers and nothing else; samples are made of them
when somebody scrapes. Only what this very process committed is counted here, so several gateways add up.
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, GCCollector, Histogram, ProcessCollector

from isthmus.gateway.core.operation import AttemptEnd, State
from isthmus.gateway.dispatch.tally import Tally
from isthmus.gateway.ports import AttemptFailed, OperationClosed, Signal

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_COMMANDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Instruments:
    """The counters of one gateway. Commits are noted on whichever thread made them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        # By endpoint.
        self.closed: dict[State, Tally] = {}
        self.attempts_failed: dict[AttemptEnd, Tally] = {}
        # By reason, of which the code knows a few dozen.
        self.refused = Tally()
        self._commit_seconds = Histogram(
            "isthmus_commit_seconds",
            "How long a commit took, from the turn of its first command on.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commit_commands = Histogram(
            "isthmus_commit_commands",
            "How many commands shared a commit.",
            buckets=_COMMANDS,
            registry=self.registry,
        )

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Count what a commit of this process tells."""
        for signal in signals:
            if type(signal) is OperationClosed:
                operation = signal.operation
                tally = self.closed.get(operation.state)
                if tally is None:
                    tally = self.closed[operation.state] = Tally()
                tally.add(operation.endpoint)
            elif type(signal) is AttemptFailed:
                tally = self.attempts_failed.get(signal.end)
                if tally is None:
                    tally = self.attempts_failed[signal.end] = Tally()
                tally.add(signal.operation.endpoint)

    def committed(self, commands: int, seconds: float) -> None:
        """Note a commit that succeeded."""
        self._commit_seconds.observe(seconds)
        self._commit_commands.observe(commands)
