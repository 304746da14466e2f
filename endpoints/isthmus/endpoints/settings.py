"""What an owner decides about an endpoint, and what makes sense there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from isthmus.endpoints.endpoint import (
    DEFAULT_RETENTION,
    AllowRule,
    CircuitSettings,
    Endpoint,
    FairWeight,
    RetrySettings,
)
from isthmus.endpoints.versions import VersionSettings
from isthmus.wire import limits
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_namespace, check_service, check_task_queue

MAX_DESCRIPTION_CHARS = 4096
MAX_ALLOW_RULES = 1000
MAX_FAIR_WEIGHT = 100
MAX_CALLER_LIMIT = 100_000
MIN_RETENTION = timedelta(hours=1)
MAX_RETENTION = timedelta(milliseconds=limits.MAX_RETENTION_MS)
MAX_CIRCUIT_FAILURES = 1000
MAX_RAMP_VERSIONS = 10
MAX_VERSION_CHARS = 200
ALL_PERCENT = 100
_SHORTEST_OPENING = timedelta(seconds=1)
_LONGEST_OPENING = timedelta(hours=1)
_LONGEST_LIFE = timedelta(milliseconds=limits.MAX_SCHEDULE_TO_CLOSE_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The part of an endpoint that its owner may change."""

    task_queue: str
    description: str = ""
    allow: tuple[AllowRule, ...] = ()
    retry: RetrySettings = field(default_factory=RetrySettings)
    max_payload_bytes: int = 0
    max_schedule_to_close: timedelta = timedelta(hours=24)
    fair_weights: tuple[FairWeight, ...] = ()
    max_operations_per_second: int = 0
    max_open_operations: int = 0
    retention: timedelta = DEFAULT_RETENTION
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    versions: VersionSettings = field(default_factory=VersionSettings)

    def problems(self) -> Iterator[str]:
        """Yield what does not make sense, each as one sentence."""
        try:
            check_task_queue(self.task_queue)
        except WireFormatError as error:
            yield str(error)
        if len(self.description) > MAX_DESCRIPTION_CHARS or not _is_text(self.description):
            yield f"a description is at most {MAX_DESCRIPTION_CHARS} printable characters and line breaks"
        yield from self._allow_problems()
        if not timedelta(0) < self.retry.initial_interval <= self.retry.max_interval:
            yield "the intervals of the retry policy are positive, and the initial one is not the longer one"
        if self.retry.max_attempts < 0:
            yield "the attempts of the retry policy are 0 (no limit) or more"
        if not 0 <= self.max_payload_bytes <= limits.MAX_ENVELOPE_BYTES:
            yield f"the largest payload is 0 (the gateway's limit) to {limits.MAX_ENVELOPE_BYTES} bytes"
        if not timedelta(0) < self.max_schedule_to_close <= _LONGEST_LIFE:
            yield f"the longest life of an operation is positive and at most {_LONGEST_LIFE.days} days"
        if not 0 <= self.max_operations_per_second <= MAX_CALLER_LIMIT:
            yield f"a caller's operations per second are 0 (no limit) to {MAX_CALLER_LIMIT}"
        if not 0 <= self.max_open_operations <= MAX_CALLER_LIMIT:
            yield f"a caller's open operations are 0 (no limit) to {MAX_CALLER_LIMIT}"
        if not MIN_RETENTION <= self.retention <= MAX_RETENTION:
            yield f"the retention is 1 hour to {MAX_RETENTION.days} days"
        if not 0 <= self.circuit.failures <= MAX_CIRCUIT_FAILURES:
            yield f"the failures that open a circuit are 0 (never) to {MAX_CIRCUIT_FAILURES}"
        if not _SHORTEST_OPENING <= self.circuit.open_for <= _LONGEST_OPENING:
            yield "a circuit is open for one second to one hour"
        yield from self._weight_problems()
        yield from self._version_problems()

    def _allow_problems(self) -> Iterator[str]:
        if len(self.allow) > MAX_ALLOW_RULES:
            yield f"an allow list has at most {MAX_ALLOW_RULES} entries"
            return
        if len(set(self.allow)) != len(self.allow):
            yield "the allow list repeats an entry"
        for number, rule in enumerate(self.allow, 1):
            try:
                check_namespace(rule.namespace)
                if rule.service:
                    check_service(rule.service)
                if rule.operation:
                    check_service(rule.operation, "operation")
            except WireFormatError as error:
                yield f"entry {number} of the allow list: {error}"

    def _version_problems(self) -> Iterator[str]:
        ramp = self.versions.ramp
        if len(ramp) > MAX_RAMP_VERSIONS or len({share.version for share in ramp}) != len(ramp):
            yield f"a ramp names at most {MAX_RAMP_VERSIONS} versions, each once"
        for share in ramp:
            if not 0 < len(share.version) <= MAX_VERSION_CHARS or not share.version.isprintable():
                yield f"a version is 1 to {MAX_VERSION_CHARS} printable characters"
        if any(share.percent < 0 for share in ramp) or sum(share.percent for share in ramp) > ALL_PERCENT:
            yield "the shares of a ramp are 0 or more, and at most 100 percent together"

    def _weight_problems(self) -> Iterator[str]:
        if len(self.fair_weights) > MAX_ALLOW_RULES:
            yield f"at most {MAX_ALLOW_RULES} callers have a weight"
            return
        if len({entry.namespace for entry in self.fair_weights}) != len(self.fair_weights):
            yield "the weights repeat a caller"
        for entry in self.fair_weights:
            try:
                check_namespace(entry.namespace)
            except WireFormatError as error:
                yield f"the weights: {error}"
            else:
                if not 1 <= entry.weight <= MAX_FAIR_WEIGHT:
                    yield f"the weight of {entry.namespace} is 1 to {MAX_FAIR_WEIGHT}"


def settings_of(endpoint: Endpoint) -> EndpointSettings:
    """Return what the owner decided about an endpoint."""
    return EndpointSettings(
        task_queue=endpoint.task_queue,
        description=endpoint.description,
        allow=endpoint.allow,
        retry=endpoint.retry,
        max_payload_bytes=endpoint.max_payload_bytes,
        max_schedule_to_close=endpoint.max_schedule_to_close,
        fair_weights=endpoint.fair_weights,
        max_operations_per_second=endpoint.max_operations_per_second,
        max_open_operations=endpoint.max_open_operations,
        retention=endpoint.retention,
        circuit=endpoint.circuit,
        versions=endpoint.versions,
    )


def _is_text(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)
