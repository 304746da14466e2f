"""One example: teams that call each other through a cheating gateway, each answer held to the truth."""

import asyncio
import itertools
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import nexusrpc
from tests.adversarial.cheating.cheat import Cheat
from tests.adversarial.cheating.lies import Lies
from tests.adversarial.cheating.stage import (
    ENOUGH,
    Stage,
    Team,
    Work,
    WorkHandler,
)
from tests.adversarial.cheating.truth import GENERATIONS, Truth

from isthmus.client import Client, OperationHandle, OperationStatus
from isthmus.client.errors import (
    AttestedHandlerError,
    AttestedOperationError,
    OperationCanceledError,
    OperationTimedOutError,
)
from isthmus.envelope.errors import EnvelopeError
from isthmus.keys.errors import KeysError
from isthmus.keys.trust import TrustStore
from isthmus.payload.errors import PayloadConversionError
from isthmus.transport.errors import IsthmusError
from isthmus.v1 import key_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id
from isthmus.wire.public_key import KeyKind
from isthmus.wire.trust_statement import signed_keyset_message
from isthmus.worker import Worker

QUEUE = "work"
LIFE = timedelta(hours=1)
LONGEST_DELAY_SECONDS = 30.0
_DOCUMENTED = (IsthmusError, KeysError, EnvelopeError)
_IN_STATUSES = (*_DOCUMENTED, nexusrpc.OperationError)
CALLERS, OWNERS = ("data", "lab"), ("app", "lab", "mallory")


@dataclass(slots=True, kw_only=True)
class Call:
    """An operation that somebody called, and what became of that."""

    team: Team
    client: Client
    endpoint: str
    operation: str
    number: int
    handle: OperationHandle[int] | None = None
    progress_seen: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Served:
    """A worker that runs."""

    team: Team
    worker: Worker
    handler: WorkHandler


@dataclass(slots=True, kw_only=True)
class Play:
    """The ends, and the cheat between them."""

    stage: Stage
    example: int
    stack: AsyncExitStack
    truth: Truth
    cheat: Cheat
    lies: Lies
    teams: dict[str, Team]
    address: str
    numbers: "itertools.count[int]"
    calls: list[Call] = field(default_factory=list)
    workers: list[Served] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)
    errands: "dict[asyncio.Task[None], str]" = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)
    """How calls ended, by what they returned or raised."""
    _trust: dict[str, TrustStore] = field(default_factory=dict)
    _seen: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)

    # --- what ends do -------------------------------------------------------------------------------------

    def begin(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Let somebody do something, and go on meanwhile."""
        _ = self._begun(name, errand)

    def _begun(self, name: str, errand: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._run(name, errand), name=name)
        self.errands[task] = name
        task.add_done_callback(self.errands.pop)
        return task

    async def _run(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        try:
            await errand
        except _DOCUMENTED as error:
            self._count(error)
        except Exception as error:  # noqa: BLE001 - that there is no such one is what is tested
            self.truth.violated(f"{name} raised {type(error).__name__}: {error}")
        else:
            self._count(None)

    def _count(self, error: Exception | None) -> None:
        name = "right" if error is None else type(error).__name__
        self.endings[name] = self.endings.get(name, 0) + 1

    async def client(self, name: str) -> Client:
        """Return the client of a team; it is connected when it is needed."""
        if name not in self.clients:
            self.clients[name] = await self._connect(name)
        return self.clients[name]

    async def renew_client(self, name: str) -> None:
        """Let a team call from another process from now on; what the first one waits for, it waits for."""
        self.clients[name] = await self._connect(name)

    async def _connect(self, name: str) -> Client:
        return await self.stack.enter_async_context(await self.teams[name].connect(self.address))

    async def serve(self, name: str, *, transport: Literal["stream", "unary"] = "stream") -> None:
        """Start a worker of a team, in a process of its own."""
        client = await self._connect(name)
        handler = WorkHandler(
            truth=self.truth,
            worker=f"worker {len(self.workers)} of {name}",
            namespace=self.teams[name].namespace,
            numbers=self.numbers,
            release=asyncio.Event(),
        )
        worker = Worker(
            client,
            task_queue=f"{QUEUE}-{self.example}",
            nexus_service_handlers=[handler],
            transport=transport,
            graceful_shutdown_timeout=timedelta(0),
            heartbeat_interval=timedelta(0),
        )
        self.workers.append(Served(team=self.teams[name], worker=worker, handler=handler))
        await self.stack.enter_async_context(worker)

    async def have_a_past(self, *, is_served: bool) -> None:
        """Do one of everything, undisturbed: what a gateway can lie with later."""
        await self.serve("app")
        for name in CALLERS:
            await self.client(name)
        past = [self._begun("the past", self.call(name, "app", "answer", id_=None)) for name in CALLERS]
        past.append(self._begun("the past", self.call("data", "app", "refuse", id_=None)))
        # Two requests of the same operation.
        again = [self.call("data", "app", "answer", id_=1, compares=False) for _ in range(2)]
        past.extend(self._begun("the past", each) for each in again)
        stays = [self._begun("the past", self.call("data", "app", "stay", id_=None)) for _ in range(2)]
        await asyncio.wait(past)
        await self.cheat.quiet()
        await asyncio.gather(self.signal(5, "more"), self.look(5), self.cancel(6), self.contexts(5))
        await self.signal(5, ENOUGH)
        await asyncio.wait(stays)
        if not is_served:
            await self.workers[0].worker.shutdown()

    async def occasion(self, kind: str, index: int, *, about: str = "") -> None:
        """Do something that the gateway has to answer with an item of a kind."""
        name = CALLERS[index % len(CALLERS)]
        owners = [owner for owner in OWNERS if self.teams[owner].namespace == about] or ["app"]
        operation = ("answer", "stay", "refuse")[index // 2 % 3]
        match kind.rpartition(".")[2]:
            case "execute":
                await self.execute(name, "app", operation)
            case "cancel" | "interrupts":
                await self.cancel(-1 - index % 3)
            case "signal" | "signals" | "ReadSignals":
                await self.signal(self._staying(index), "more")
            case "progress":
                await self.look(self._staying(index))
            case "BatchGetOperationStatuses":
                await self.statuses(name)
            case "WhoAmI" | "GetGatewayKey" | "GetKeyset":
                await self.renew_client(name)
                await self.call(name, owners[0], operation, id_=None)
            case "replies" | "wait" if index % 3:
                await self.again(-1 - index % 5)
            case _:
                await self.call(name, "app", operation, id_=None if index % 5 else 1, compares=index % 2 == 0)

    def _staying(self, index: int) -> int:
        """Return the place of a call whose handler reports and listens."""
        known = [place for place, call in enumerate(self.handled()) if call.operation == "stay"]
        return known[-1 - index % min(2, len(known))] if known else index

    def handled(self) -> list[Call]:
        """Return the calls that have a handle."""
        return [call for call in self.calls if call.handle is not None]

    async def let_go(self) -> None:
        """Let all handlers end that stay, and those that come stay again."""
        for served in self.workers:
            served.handler.release.set()
        await self.cheat.quiet()
        for served in self.workers:
            served.handler.release.clear()

    async def rotate(self, name: str, kind: KeyKind) -> None:
        """Rotate a key of a team; the gateway hears of it, as of everything."""
        await self.stage.rotate(self.teams[name], kind)

    def forged_keyset(self, name: str) -> key_service_pb2.SignedKeyset:
        """Return a keyset for a team that nobody but the gateway signed."""
        return signed_keyset_message(self.stage.forged_keyset(self.teams[name].namespace))

    async def execute(self, name: str, owner: str, operation: str) -> None:
        """Call an operation and see it end, in one."""
        client = await self.client(name)
        call = self._new_call(client, name, owner, operation, next(self.numbers))
        work = client.create_nexus_client(call.endpoint, Work)
        called = getattr(Work, operation)
        await self._held_to_truth(
            call, work.execute_operation(called, call.number, schedule_to_close_timeout=LIFE)
        )

    async def call(
        self,
        name: str,
        owner: str,
        operation: str,
        *,
        id_: int | None,
        compares: bool = True,
        restarts: bool = False,
    ) -> None:
        """Start an operation, take a handle of it, and see it end."""
        client = await self.client(name)
        number = next(self.numbers)
        if id_ is not None and compares:
            number = GENERATIONS + id_
        call = self._new_call(client, name, owner, operation, number)
        work = client.create_nexus_client(call.endpoint, Work)
        called = getattr(Work, operation)
        self.calls.append(call)
        call.handle = await work.start_operation(
            called,
            number,
            id=None if id_ is None else f"{operation}-{id_}",
            fingerprint=compares,
            reuse_policy="restart_if_failed" if restarts and id_ is not None else "attach",
            schedule_to_start_timeout=LIFE,
            start_to_close_timeout=LIFE,
            schedule_to_close_timeout=LIFE,
            context=b"%d" % next(self.numbers),
        )
        if not any(each.number == number for each in self.truth.requests(call.handle.operation_id)):
            self.truth.violated(f"a call of {number} returned the handle {call.handle}")
        await self._held_to_truth(call, call.handle.result())

    def _new_call(self, client: Client, name: str, owner: str, operation: str, number: int) -> Call:
        return Call(
            team=self.teams[name],
            client=client,
            endpoint=self.endpoint(owner),
            operation=operation,
            number=number,
        )

    async def again(self, index: int) -> None:
        """Take an operation up by its id alone, from another process, and see it end."""
        known = self._handle(index)
        if known is None:
            return
        name, handle = known[0].team, known[1]
        short = self._short(name)
        if index % 4 == 0:
            await self.renew_client(short)
        client = await self.client(short)
        found = client.get_operation_handle(handle.operation_id, result_type=int)
        call = Call(
            team=name,
            client=client,
            endpoint=known[0].endpoint,
            operation=known[0].operation,
            number=0,
            handle=found,
        )
        self.calls.append(call)
        await self._held_to_truth(call, found.result())

    async def _held_to_truth(self, call: Call, outcome: "Coroutine[Any, Any, int]") -> None:
        try:
            value = await outcome
        except PayloadConversionError:
            # What it signed is its answer, even if nobody can make sense of it.
            if not self.truth.may_say_anything(call.endpoint):
                raise
        except (OperationCanceledError, OperationTimedOutError) as error:
            self._consider_statement(call, error)
        except (AttestedOperationError, AttestedHandlerError) as error:
            self._count(error)
            if not self.truth.may_say_anything(call.endpoint):
                self.truth.believe_failure(str(error), self._digests(call, error.operation_id))
        else:
            if self.truth.may_say_anything(call.endpoint):
                return
            if call.handle is not None:
                self.truth.believe(value, call.handle.operation_id, self._digest(call))
            elif (run := self.truth.runs.get(value)) is None or run.input != call.number:
                self.truth.violated(f"{value} was believed as the result for {call.number}: it is of {run}")

    def _consider_statement(self, call: Call, error: OperationCanceledError | OperationTimedOutError) -> None:
        self._count(error)
        what = f"{error.operation_id} was believed to have ended: {type(error).__name__}"
        if isinstance(error, OperationTimedOutError):
            self.truth.violated(what)
        else:
            self.truth.require_cancel(self._digests(call, error.operation_id), what)

    def _digests(self, call: Call, operation_id: str) -> list[bytes]:
        """Return the digests of the requests that an ending may be about: all that a call sealed, or one."""
        if call.handle is not None:
            return [self._digest(call)]
        asked = self.truth.requests(operation_id)
        return [each.digest for each in asked if each.number == call.number]

    def _digest(self, call: Call) -> bytes:
        """Return the digest of the request that a handle takes its operation for."""
        assert call.handle is not None
        request = call.handle._known._request
        assert request is not None
        asked = self.truth.sealed.get(request.digest)
        shown = call.handle.operation_id
        if asked is None or format_operation_id(asked.header.operation_id) != shown:
            self.truth.violated(f"{shown} was taken for a request that was not made for it")
        return request.digest

    def _handle(self, index: int) -> tuple[Call, OperationHandle[int]] | None:
        known = self.handled()
        call = known[index % len(known)] if known else None
        return None if call is None or call.handle is None else (call, call.handle)

    async def cancel(self, index: int) -> None:
        """Cancel an operation."""
        if (known := self._handle(index)) is not None:
            await known[1].cancel()

    async def signal(self, index: int, name: str) -> None:
        """Send a signal."""
        if (known := self._handle(index)) is not None:
            await known[1].signal(name, next(self.numbers))

    async def look(self, index: int) -> None:
        """Look at the progress of an operation."""
        if (known := self._handle(index)) is None:
            return
        call, handle = known
        value = await handle.progress_now()
        if value is not None and not self.truth.may_say_anything(call.endpoint):
            self.truth.believe_progress(value, self._digest(call), call.progress_seen)

    async def contexts(self, index: int) -> None:
        """Fetch the contexts of an operation."""
        if (known := self._handle(index)) is not None:
            self.truth.believe_contexts(await known[1].contexts(), known[1].operation_id)

    async def statuses(self, name: str) -> None:
        """Ask for the status of everything that a team called."""
        team = self.teams[name]
        ids = {call.handle.operation_id for call in self.calls if call.handle and call.team is team}
        if not ids:
            return
        client = await self.client(name)
        for found in await client.get_operation_statuses(sorted(ids)):
            self._consider_status(found)

    def _consider_status(self, found: OperationStatus) -> None:
        asked_for = self.truth.requests(found.operation_id)
        asked = [each.digest for each in asked_for]
        if found.error is not None and not isinstance(found.error, _IN_STATUSES):
            self.truth.violated(f"a status has the error {found.error!r}")
        if not found.ended:
            return
        if found.attested and any(self.truth.may_say_anything(each.header.endpoint) for each in asked_for):
            return
        if found.attested:
            proven = any(self.truth.has_signed(found.status, digest) for digest in asked)
        else:
            proven = found.status == "canceled" and any(
                self.truth.about(digest, Direction.CANCEL) for digest in asked
            )
        if not proven:
            self.truth.violated(f"{found.operation_id} was believed to have {found.status}")

    def endpoint(self, owner: str) -> str:
        """Return the name of a team's endpoint."""
        return f"of-{owner}-{self.example}"

    def _short(self, team: Team) -> str:
        return next(name for name, each in self.teams.items() if each is team)

    # --- what has to be true ------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if a promise was broken by now."""
        for name, team in self.teams.items():
            store = self._trust.setdefault(name, team.trust())
            for trusted in store.namespaces():
                if (marks := trusted.seen) is None:
                    continue
                now = marks.root.version, marks.delegation.version, marks.keyset.version
                before = self._seen.setdefault((name, trusted.namespace), now)
                if any(old > new for old, new in zip(before, now, strict=True)):
                    self.truth.violated(f"{name} went back from {before} to {now} of {trusted.namespace}")
                self._seen[name, trusted.namespace] = now
        for served in self.workers:
            job = served.worker._background
            if job is not None and job.done() and not job.cancelled():
                failed = job.exception()
                if failed is not None and not isinstance(failed, _DOCUMENTED):
                    self.truth.violated(f"{served.handler.worker} ended: {failed!r}")
        assert not self.truth.violations, "\n".join(self.truth.violations)

    async def end(self) -> None:
        """Be honest again: all that was not acknowledged in vain ends, and ends as it should."""
        self.cheat.become_honest()
        for served in self.workers:
            served.handler.release.set()
        called = [name for name in OWNERS if self.errands or self.truth.is_called(self.endpoint(name))]
        await asyncio.gather(*(self.serve(name) for name in called))
        for served in self.workers:
            served.handler.release.set()
        for name in CALLERS:
            client = await self._connect(name)
            for operation_id in self._honestly_started(self.teams[name]):
                self.begin(f"the end of {operation_id}", self._ends(client, name, operation_id))
        if self.errands:
            await asyncio.wait(self.errands, timeout=LONGEST_DELAY_SECONDS)
        for name in self.errands.values():
            self.truth.violated(f"{name} hangs")
        self.check()

    def _honestly_started(self, team: Team) -> list[str]:
        asked = set(self.truth.called_by(team.namespace))
        return sorted(asked & {format_operation_id(each) for each in self.cheat.started if len(each) == 16})

    async def _ends(self, client: Client, name: str, operation_id: str) -> None:
        handle = client.get_operation_handle(operation_id, result_type=int)
        call = Call(team=self.teams[name], client=client, endpoint="", operation="", number=0, handle=handle)
        try:
            await self._held_to_truth(call, handle.result())
        except _DOCUMENTED as error:
            self.truth.violated(f"{operation_id} does not end although the gateway is honest: {error!r}")
            raise
