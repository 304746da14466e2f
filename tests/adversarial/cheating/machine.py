"""The machine: teams that call each other, and a gateway between them that lies as Hypothesis tells it to."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Literal

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.adversarial.cheating import lies
from tests.adversarial.cheating.cheat import Lie
from tests.adversarial.cheating.forgery import FIELDS, PARTS
from tests.adversarial.cheating.play import Play
from tests.adversarial.cheating.setting import playing
from tests.adversarial.cheating.stage import ENOUGH, Stage
from tests.adversarial.cheating.stock import ENVELOPE, Near, operation_of

from isthmus.v1 import operation_pb2, operation_service_pb2, worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.public_key import KeyKind

NUMBERS = st.integers(min_value=0, max_value=1 << 16)
CALLERS = st.sampled_from(["data", "lab"])
OWNERS = st.sampled_from(["app", "app", "lab", "mallory"])
OPERATIONS = st.sampled_from(["answer", "answer", "refuse", "stay", "stay"])
TEAMS = st.sampled_from(["data", "lab", "app", "mallory"])
AIMS = st.sampled_from(lies.AIMS)
SAID = st.sampled_from(lies.SAID)
SHOWN = st.sampled_from(lies.SHOWN)
# Where it is looked for, mostly.
FORGERIES = st.one_of(
    st.sampled_from(
        [
            ("replies.wait", Direction.RESULT),
            ("replies.execute", Direction.RESULT),
            ("replies.wait", Direction.CANCELED),
            ("replies.wait", Direction.FAILURE),
            ("replies.progress", Direction.PROGRESS),
            (lies.TASKS, Direction.REQUEST),
            ("signals", Direction.SIGNAL),
        ]
    ),
    st.tuples(SHOWN, st.sampled_from(Direction)),
)
NEAR = st.builds(Near, st.sampled_from([True, True, False]), st.booleans())
TASK_KINDS = st.sampled_from([1, 1, 1, 2, 3])
SIGNERS = st.sampled_from([None, 0, 1])
CODES = st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
KINDS = st.sampled_from(operation_pb2.StatementKind.values()[1:])
MOST_AT_WORK = 4


class CheatingMachine(RuleBasedStateMachine):
    """Steps of honest ends and lies of their gateway, in any order."""

    stage: ClassVar[Stage]
    runner: ClassVar[asyncio.Runner]
    steps: int = 0
    lies_told: int = 0
    found: tuple[str, ...] = ()
    """The first violation of all examples, and what led to it."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[str] = []
        self._playing: AbstractAsyncContextManager[Play] = playing(self.stage)
        self.play = self.runner.run(self._playing.__aenter__())

    def _do(self, name: str, errand: Any) -> None:  # noqa: ANN401 - a coroutine
        async def begin() -> None:
            self.play.begin(name, errand)
            await self.play.cheat.quiet()

        self._step(name)
        self.runner.run(begin())

    def _step(self, name: str) -> None:
        self._done.append(name)
        type(self).steps += 1

    def _note_violation(self, error: AssertionError) -> None:
        """Keep it: how often real processes do the same twice in the same order, nobody knows."""
        if not type(self).found:
            type(self).found = (str(error), *self._done)

    def _arm(self, lie: Lie, index: int) -> None:
        """Arm a lie and, mostly, give an occasion for it at once."""
        self.play.cheat.arm(lie)
        if index % 4:
            errand = self.play.occasion(lie.kind, index, about=lie.about)
            self._do(f"an occasion for {lie.name} in {lie.kind}", errand)
        else:
            self._step(f"{lie.name} in {lie.kind}")

    # --- honest ends --------------------------------------------------------------------------------------

    @initialize(is_served=st.sampled_from([True, True, False]))
    def begin(self, *, is_served: bool) -> None:
        """There is a past, of which the gateway forgot nothing; somebody serves, or nobody does yet."""
        self.runner.run(self.play.have_a_past(is_served=is_served))

    @rule(
        name=CALLERS,
        owner=OWNERS,
        operation=OPERATIONS,
        id_=st.sampled_from([None, None, 1, 1, 2]),
        compares=st.booleans(),
        restarts=st.booleans(),
    )
    def call(
        self, *, name: str, owner: str, operation: str, id_: int | None, compares: bool, restarts: bool
    ) -> None:
        """Start an operation and wait for it."""
        errand = self.play.call(name, owner, operation, id_=id_, compares=compares, restarts=restarts)
        self._do(f"a call of {operation}", errand)

    @rule(name=CALLERS, owner=OWNERS, operation=OPERATIONS)
    def execute(self, *, name: str, owner: str, operation: str) -> None:
        """Start an operation and wait for it, in one."""
        self._do(f"an execution of {operation}", self.play.execute(name, owner, operation))

    @rule(index=NUMBERS)
    def again(self, *, index: int) -> None:
        """Take an operation up from another process."""
        self._do("a handle", self.play.again(index))

    @rule(index=NUMBERS)
    def cancel(self, *, index: int) -> None:
        """Cancel."""
        self._do("a cancel", self.play.cancel(index))

    @rule(index=NUMBERS, name=st.sampled_from(["more", "more", ENOUGH]))
    def signal(self, *, index: int, name: str) -> None:
        """Signal."""
        self._do("a signal", self.play.signal(index, name))

    @rule(index=NUMBERS)
    def look(self, *, index: int) -> None:
        """Look at progress."""
        self._do("a look at progress", self.play.look(index))

    @rule(index=NUMBERS)
    def contexts(self, *, index: int) -> None:
        """Look at contexts."""
        self._do("a look at contexts", self.play.contexts(index))

    @rule(name=CALLERS)
    def statuses(self, *, name: str) -> None:
        """Look at many operations."""
        self._do("a look at statuses", self.play.statuses(name))

    @rule(name=CALLERS)
    def renew_client(self, *, name: str) -> None:
        """Connect another process."""
        self._do("another client", self.play.renew_client(name))

    @rule(name=OWNERS, transport=st.sampled_from(["stream", "stream", "unary"]))
    def serve(self, *, name: str, transport: Literal["stream", "unary"]) -> None:
        """Start another worker."""
        if len(self.play.workers) < MOST_AT_WORK:
            self._do("another worker", self.play.serve(name, transport=transport))

    @rule()
    def release(self) -> None:
        """Let handlers end that stay."""
        self._step("release")
        self.runner.run(self.play.let_go())

    @rule(name=TEAMS, kind=st.sampled_from([KeyKind.SIGNING, KeyKind.ENCRYPTION]))
    def rotate(self, *, name: str, kind: KeyKind) -> None:
        """Use a new key."""
        self._do("a rotation", self.play.rotate(name, kind))

    # --- lies about what is told next ---------------------------------------------------------------------

    @rule(aim=AIMS, where=NUMBERS, what=NUMBERS, near=st.booleans())
    def lie_with_another_field(self, *, aim: str, where: int, what: int, near: bool) -> None:
        """Swap a field."""
        self._arm(self.play.lies.swap(aim, where=where, what=what, near=near), what)

    @rule(aim=SHOWN, where=NUMBERS, what=NUMBERS, near=NEAR)
    def lie_with_another_message(self, *, aim: str, where: int, what: int, near: Near) -> None:
        """Swap a sealed message."""
        self._arm(self.play.lies.envelope(aim, where=where, what=what, near=near), what)

    @rule(index=NUMBERS, what=NUMBERS)
    def lie_with_old_progress(self, *, index: int, what: int) -> None:
        """Show who looked at progress just now what its operation reported some time."""
        self._do("a look at progress", self.play.look(index))
        near = Near(operation=True, direction=True)
        self.play.cheat.arm(self.play.lies.envelope("replies.progress", where=0, what=what, near=near))
        self._do("a look at old progress", self.play.look(index))

    @rule(
        aim=SHOWN,
        part=st.sampled_from((*PARTS, *FIELDS, "bit")),
        where=NUMBERS,
        what=NUMBERS,
        near=NEAR,
        signer=SIGNERS,
    )
    def lie_with_a_splice(
        self, *, aim: str, part: str, where: int, what: int, near: Near, signer: int | None
    ) -> None:
        """Swap a part of a sealed message, and sign it anew or not."""
        self._arm(self.play.lies.splice(aim, part, where=where, what=what, near=near, signer=signer), what)

    @rule(
        shown=FORGERIES,
        where=NUMBERS,
        signer=st.sampled_from([0, 1]),
        claims=st.sampled_from([True, True, False]),
    )
    def lie_with_a_forgery(
        self, *, shown: tuple[str, Direction], where: int, signer: int, claims: bool
    ) -> None:
        """Answer for the one who should."""
        aim, direction = shown
        number = next(self.play.numbers)
        lie = self.play.lies.forge(aim, direction, number, where=where, signer=signer, claims=claims)
        self._arm(lie, where)

    @rule(kind=KINDS, cancel=NUMBERS, with_cancel=st.booleans(), near=st.booleans())
    def lie_with_a_statement(self, *, kind: int, cancel: int, with_cancel: bool, near: bool) -> None:
        """State an ending."""
        self._arm(self.play.lies.state(kind, cancel, with_cancel=with_cancel, near=near), cancel)

    @rule(what=NUMBERS, near=st.booleans())
    def lie_about_what_existed(self, *, what: int, near: bool) -> None:
        """Attach a start to another request."""
        self._arm(self.play.lies.attach(what, near=near), what)

    @rule(index=NUMBERS)
    def lie_about_who_was_first(self, *, index: int) -> None:
        """Let a start believe that it was the first one."""
        self._arm(self.play.lies.detach(), index)

    @rule(aim=st.one_of(AIMS, SAID), how=st.sampled_from(["silence", "repeat", "hold"]), index=NUMBERS)
    def lie_about_when(self, *, aim: str, how: str, index: int) -> None:
        """Swallow, repeat or delay."""
        self._arm(getattr(self.play.lies, how)(aim), index)

    @rule(reverse=st.booleans())
    def tell_what_was_held(self, *, reverse: bool) -> None:
        """Say late what was held back, in order or not."""
        self._step("tell_what_was_held")
        self.play.cheat.release_held(reverse=reverse)

    @rule(aim=AIMS, where=NUMBERS, number=NUMBERS)
    def lie_with_garbage(self, *, aim: str, where: int, number: int) -> None:
        """Say nonsense."""
        self._arm(self.play.lies.garbage(aim, where=where, number=number), number)

    @rule(aim=AIMS, code=CODES, index=NUMBERS)
    def refuse(self, *, aim: str, code: grpc.StatusCode, index: int) -> None:
        """Answer with an error."""
        self._arm(self.play.lies.refuse(aim, code), index)

    @rule(whose=TEAMS, what=NUMBERS, forged=st.booleans())
    def serve_a_keyset(self, *, whose: str, what: int, forged: bool) -> None:
        """Serve an old keyset, another's, or one of the gateway's own making, from now on."""
        namespace = self.play.teams[whose].namespace
        shown = self.play.forged_keyset(whose) if forged else None
        shown = shown or self.play.cheat.stock.pick("isthmus.v1.SignedKeyset", what)
        if shown is not None:
            self._arm(self.play.lies.keyset(namespace, shown), what)

    @rule(whose=OWNERS, index=NUMBERS)
    def give_an_endpoint_away(self, *, whose: str, index: int) -> None:
        """Say that every endpoint belongs to somebody."""
        self._arm(self.play.lies.owner(self.play.teams[whose].namespace), index)

    @rule()
    def lie_no_more(self) -> None:
        """Forget the lies that were not told yet."""
        self._step("lie_no_more")
        self.play.cheat.armed.clear()

    # --- lies out of the blue -----------------------------------------------------------------------------

    @rule(line=NUMBERS, what=NUMBERS, other=NUMBERS, kind=TASK_KINDS, near=st.booleans())
    def deliver_a_task(self, *, line: int, what: int, other: int, kind: int, near: bool) -> None:
        """Deliver a task to some worker: any sealed message as a request, of whomever."""
        stock = self.play.cheat.stock
        lines = self.play.cheat.work_lines()
        envelope = self.play.cheat.some_request(what) if near else stock.pick(ENVELOPE, what)
        if not lines or envelope is None:
            return
        about = operation_of(envelope)
        task = worker_service_pb2.Task(
            kind=worker_service_pb2.TaskKind.ValueType(kind),
            caller_namespace=self.play.cheat.caller_of(envelope) if near else stock.pick("namespace", other),
            operation_id=about,
            attempt=1 + other % 3,
            request=envelope,
        )
        if kind != worker_service_pb2.TASK_KIND_START or other % 4 == 0:
            for name in ("cancel", "started", "signal", "details"):
                setattr(task, name, stock.pick(ENVELOPE, other, about=about))
        self._inject(lines[line % len(lines)][0], worker_service_pb2.WorkResponse(tasks=[task]))

    @rule(
        task=NUMBERS,
        first=st.integers(min_value=1, max_value=4),
        what=st.lists(NUMBERS, min_size=1, max_size=3),
        direction=st.sampled_from([Direction.SIGNAL, Direction.SIGNAL, 0]),
    )
    def tell_of_signals(self, *, task: int, first: int, what: list[int], direction: int) -> None:
        """Tell a handler that it was signaled: by sealed messages of its operation, in some order."""
        told = self.play.cheat.stock.pick("isthmus.v1.TaskSignals", task)
        if told is None:
            return
        about = told.task.operation_id
        stock = self.play.cheat.stock
        signals = [stock.pick(ENVELOPE, each, about=about, direction=direction) for each in what]
        said = worker_service_pb2.TaskSignals(task=told.task, first=first, signals=signals)
        for line, _ in self.play.cheat.work_lines():
            self._inject(line, worker_service_pb2.WorkResponse(signals=[said]))

    @rule(line=NUMBERS, what=NUMBERS, cancel=NUMBERS, is_lost=st.booleans())
    def interrupt_a_task(self, *, line: int, what: int, cancel: int, is_lost: bool) -> None:
        """Interrupt a task, with any sealed message as its cancel, or as lost."""
        lines = self.play.cheat.work_lines()
        task = self.play.cheat.stock.pick("isthmus.v1.Task", what)
        if not lines or task is None:
            return
        interrupt = worker_service_pb2.TaskInterrupt(
            task=worker_service_pb2.TaskRef(
                caller_namespace=task.caller_namespace,
                operation_id=task.operation_id,
                attempt=task.attempt,
                kind=task.kind,
            )
        )
        if not is_lost:
            interrupt.cancel = self.play.cheat.stock.pick(ENVELOPE, cancel, about=task.operation_id)
        self._inject(lines[line % len(lines)][0], worker_service_pb2.WorkResponse(interrupts=[interrupt]))

    @rule(call=NUMBERS, what=NUMBERS, kind=st.one_of(st.none(), KINDS), near=st.booleans())
    def answer_a_call(self, *, call: int, what: int, kind: int | None, near: bool) -> None:
        """Answer what nobody has answered: with some ending, or with a statement."""
        open_calls = list(self.play.cheat.open_calls.values())
        if not open_calls:
            return
        line, asked = open_calls[call % len(open_calls)]
        name = asked.WhichOneof("call")
        about = self.play.cheat.operation_of_call(asked)
        reply = operation_service_pb2.SessionReply(call_id=asked.call_id)
        if name in {"start", "execute", "wait", "cancel"}:
            status = getattr(reply, name).status
            status.operation_id = about
            shown = self.play.cheat.stock.pick(ENVELOPE, what, about=about if near else b"")
            statement = None if kind is None else self.play.lies.statement(about, kind)
            if statement is not None:
                status.ending.statement.CopyFrom(statement)
                status.cancel = shown or b""
            elif shown is not None and name != "start":
                status.ending.attested = shown
        elif name == "progress":
            reply.progress.operation_id = about
            reply.progress.progress = self.play.cheat.stock.pick(ENVELOPE, what, about=about) or b""
        else:
            reply.signal.operation_id = about
        self._inject(line, operation_service_pb2.SessionResponse(replies=[reply]))

    def _inject(self, line: Any, frame: Any) -> None:  # noqa: ANN401 - a line and what is said on it
        async def say() -> None:
            self.play.cheat.inject(line, frame)
            await self.play.cheat.quiet()

        self._step(f"injected {type(frame).__name__}")
        self.runner.run(say())

    @rule(name=TEAMS)
    def break_streams(self, *, name: str) -> None:
        """Break the streams of a team."""
        self._step("break_streams")
        self.play.cheat.break_off(self.play.teams[name].namespace)

    # --- what has to be true ------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """No promise was broken by now."""
        try:
            self.play.check()
        except AssertionError as error:
            self._note_violation(error)
            raise

    def teardown(self) -> None:
        """Honest again, everything ends as it should."""
        try:
            if not self.play.truth.violations:
                self.runner.run(self.play.end())
        except AssertionError as error:
            self._note_violation(error)
            raise
        finally:
            type(self).lies_told += self.play.cheat.told
            self.runner.run(self._playing.__aexit__(None, None, None))
