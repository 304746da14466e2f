"""What really happened: what honest ends sealed, which handlers ran, and what contradicts it.

It is written by the ends themselves, behind the gateway's back. Whatever an end releases or believes is held
to it; what does not agree is a violation, noted here and raised by the machine after the step.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from isthmus.client import contexts, request, signals
from isthmus.envelope import seal as sealing
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.seal import RecipientKey, Sealed
from isthmus.payload.payload import Payload
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import format_operation_id
from isthmus.worker import envelopes

GENERATIONS = 1_000_000
"""Inputs from here on belong to request ids."""
_SEALERS = (contexts, envelopes, request, signals)
_SIGNED = {"succeeded": Direction.RESULT, "failed": Direction.FAILURE, "canceled": Direction.CANCELED}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedMessage:
    """A message as its sender meant it."""

    header: Header
    payload: Payload
    digest: bytes

    @property
    def number(self) -> int:
        """What it says: every plaintext of the machine's ends is a number."""
        return int(self.payload.data)

    @property
    def place(self) -> tuple[bytes, int]:
        """Where it stands among those of its sender."""
        return self.header.sender_session, self.header.sequence


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a handler."""

    number: int
    worker: str
    namespace: str
    caller: str
    endpoint: str
    operation: str
    operation_id: str
    input: int
    heard: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Truth:
    """The ledger of one example."""

    owners: dict[str, str]
    """Namespace of each endpoint."""
    key_ids: Callable[[str], frozenset[bytes]]
    """Ids of the encryption keys that a namespace really has."""
    colluding: str
    sealed: dict[bytes, SealedMessage] = field(default_factory=dict)
    answers: dict[bytes, list[SealedMessage]] = field(default_factory=dict)
    """Everything about a request, by its digest."""
    runs: dict[int, Run] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    _requests: dict[str, list[SealedMessage]] = field(default_factory=dict)
    _handled: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def violated(self, what: str) -> None:
        """Note that a promise was broken."""
        self.violations.append(what)

    # --- what ends seal -----------------------------------------------------------------------------------

    def note(
        self, header: Header, payload: Payload, digest: bytes, recipients: Sequence[RecipientKey]
    ) -> None:
        """Note a message that an end just sealed, and whether it should have."""
        message = SealedMessage(header=header, payload=payload, digest=digest)
        self.sealed[digest] = message
        if header.direction is Direction.REQUEST:
            self._consider_generation(message)
            self._requests.setdefault(format_operation_id(header.operation_id), []).append(message)
        else:
            self.answers.setdefault(header.request_digest, []).append(message)
        if header.sender_namespace == self.colluding:
            return
        for recipient in recipients:
            if recipient.key.key_id not in self.key_ids(recipient.namespace):
                self.violated(
                    f"{_shown(header)} was sealed to a key that {recipient.namespace} does not have"
                )
        self._consider(header)

    def _consider(self, header: Header) -> None:
        owner = self.owners.get(header.endpoint)
        match header.direction:
            case Direction.REQUEST:
                if header.recipient_namespace != owner:
                    self.violated(f"{_shown(header)} was sealed for {header.recipient_namespace}")
            case Direction.RESULT | Direction.FAILURE | Direction.CANCELED | Direction.PROGRESS:
                asked = self.sealed.get(header.request_digest)
                if asked is None or asked.header.sender_namespace != header.recipient_namespace:
                    self.violated(f"{_shown(header)} answers a request that its caller did not make")
                if header.direction is Direction.CANCELED:
                    self.require_cancel([header.request_digest], f"{_shown(header)} was answered as canceled")
            case _:
                pass

    def _consider_generation(self, message: SealedMessage) -> None:
        """Inputs of request ids are the same in every generation, and there only."""
        header = message.header
        if message.number < GENERATIONS:
            return
        for known in self._requests.values():
            first = known[0]
            is_earlier = first.number == message.number and _target(first.header) == _target(header)
            if is_earlier and first.header.operation_id != header.operation_id:
                failed = [self.about(each.digest, Direction.FAILURE) for each in known]
                if not any(failed):
                    self.violated(f"{_shown(header)} is another generation, and the last one did not fail")

    def require_cancel(self, request_digests: list[bytes], what: str) -> None:
        """Note a violation unless the caller canceled this very request."""
        if not any(self.about(digest, Direction.CANCEL) for digest in request_digests):
            self.violated(f"{what}, and its caller never canceled that request")

    def about(self, request_digest: bytes, *directions: Direction) -> list[SealedMessage]:
        """Return what was sealed about a request."""
        known = self.answers.get(request_digest, [])
        return [message for message in known if message.header.direction in directions]

    def requests(self, operation_id: str) -> list[SealedMessage]:
        """Return the requests that were sealed for an operation."""
        return self._requests.get(operation_id, [])

    def is_called(self, endpoint: str) -> bool:
        """Whether anybody called an endpoint."""
        return any(known[0].header.endpoint == endpoint for known in self._requests.values())

    def called_by(self, namespace: str) -> list[str]:
        """Return the operations that a namespace called."""
        return [
            operation_id
            for operation_id, known in self._requests.items()
            if known[0].header.sender_namespace == namespace
        ]

    # --- what handlers do ---------------------------------------------------------------------------------

    def begin(self, run: Run) -> Run:
        """Note that a handler runs, and whether its caller asked it to."""
        self.runs[run.number] = run
        name = f"{run.operation} of {run.operation_id} ran at {run.worker} with {run.input}"
        if self.owners.get(run.endpoint) != run.namespace and run.namespace != self.colluding:
            self.violated(f"{name}: the endpoint {run.endpoint} is another's")
        if run.caller != self.colluding and not any(
            _asks(each, run) for each in self.requests(run.operation_id)
        ):
            self.violated(f"{name}: {run.caller} made no such request")
        first = self._handled.setdefault((run.worker, run.caller, run.operation_id), run.input)
        if first != run.input:
            self.violated(f"{name}: it ran with {first} there before")
        return run

    def request_of(self, run: Run) -> list[bytes]:
        """Return the digests of the requests that a run may be for: one, unless it was sealed anew."""
        return [each.digest for each in self.requests(run.operation_id) if _asks(each, run)]

    def hear(self, run: Run, sender: str, sequence: int, value: int) -> None:
        """Note a signal that a handler heard, and whether it was its turn."""
        told = [
            message
            for digest in self.request_of(run)
            for message in self.about(digest, Direction.SIGNAL)
            if (message.place[0].hex(), message.place[1]) == (sender, sequence)
        ]
        name = f"run {run.number} of {run.operation_id} heard {value} as number {sequence} of {sender}"
        if run.caller != self.colluding and value not in [message.number for message in told]:
            self.violated(f"{name}: nobody sent that")
        before = [number for session, number, _ in run.heard if session == sender]
        if sequence != len(before) + 1:
            self.violated(f"{name}, after {before}")
        run.heard.append((sender, sequence, value))

    def canceled(self, run: Run) -> None:
        """Note that a handler was interrupted by a cancel, and whether there was one."""
        if run.caller != self.colluding and not any(
            self.about(digest, Direction.CANCEL) for digest in self.request_of(run)
        ):
            self.violated(f"run {run.number} of {run.operation_id} was canceled by nobody")

    # --- what callers believe -----------------------------------------------------------------------------

    def may_say_anything(self, endpoint: str) -> bool:
        """Whether those who serve an endpoint collude: whatever they sign about it is their answer."""
        return self.owners.get(endpoint) == self.colluding

    def believe(self, value: object, operation_id: str, request_digest: bytes) -> None:
        """Hold a result to the run that made it."""
        run = self.runs.get(value) if isinstance(value, int) else None
        asked = self.sealed[request_digest]
        name = f"{value!r} was believed as the result of {operation_id}"
        if run is None or run.operation_id != operation_id or not _asks(asked, run):
            self.violated(f"{name}, which asked {asked.number}: it is of {run}")
        elif value not in [each.number for each in self.about(request_digest, Direction.RESULT)]:
            self.violated(f"{name}, and its handler signed no such result for this request")

    def believe_failure(self, text: str, request_digests: list[bytes]) -> None:
        """Hold an attested failure to what the handler's namespace signed."""
        signed = [
            message
            for digest in request_digests
            for message in self.about(digest, Direction.FAILURE, Direction.CANCELED)
        ]
        if not any(text.encode() in message.payload.data for message in signed):
            self.violated(f"{text!r} was believed, and nobody signed it for this request")

    def has_signed(self, status: str, request_digest: bytes) -> bool:
        """Whether the handler's namespace signed such an ending."""
        return bool(self.about(request_digest, _SIGNED[status]))

    def believe_progress(self, value: object, request_digest: bytes, seen: list[int]) -> None:
        """Hold progress to what the handler sealed, and to what was seen before."""
        told = {
            message.number: message.header.sequence
            for message in self.about(request_digest, Direction.PROGRESS)
        }
        if not isinstance(value, int) or value not in told:
            self.violated(f"{value!r} was believed as progress, and nobody reported it for this request")
            return
        if seen and told[value] < seen[-1]:
            self.violated(f"progress {value} was shown after newer one")
        seen.append(told[value])

    def believe_contexts(self, found: list[bytes], operation_id: str) -> None:
        """Hold contexts to what starts of this operation gave."""
        given = {
            message.payload.data
            for message in self.sealed.values()
            if message.header.direction is Direction.CONTEXT
            and format_operation_id(message.header.operation_id) == operation_id
        }
        if not given.issuperset(found):
            self.violated(f"contexts {found} of {operation_id} were believed; given were {given}")


def _asks(message: SealedMessage, run: Run) -> bool:
    header = message.header
    return (
        header.sender_namespace == run.caller
        and header.recipient_namespace == run.namespace
        and (header.endpoint, header.operation) == (run.endpoint, run.operation)
        and format_operation_id(header.operation_id) == run.operation_id
        and message.number == run.input
    )


def _target(header: Header) -> tuple[str, str, str]:
    return header.sender_namespace, header.endpoint, header.operation


def _shown(header: Header) -> str:
    return (
        f"{header.direction.name} of {format_operation_id(header.operation_id)} by {header.sender_namespace}"
    )


@contextmanager
def watching(truth: Truth) -> Generator[None]:
    """Note everything that ends of this process seal."""

    def seal(
        header: Header, payload: Payload, *, signer: SigningPrivateKey, recipients: Sequence[RecipientKey]
    ) -> Sealed:
        sealed = sealing.seal(header, payload, signer=signer, recipients=recipients)
        truth.note(header, payload, sealed.digest, recipients)
        return sealed

    with pytest.MonkeyPatch.context() as patch:
        for module in _SEALERS:
            module_: Any = module
            assert module_.seal is sealing.seal
            patch.setattr(module, "seal", seal)
        yield
