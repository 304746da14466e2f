"""Run by the fork tests: forks after a client was used, prints one line a case."""
# ruff: noqa: T201 - the tests read what it prints

import asyncio
import multiprocessing
import os
import sys
import threading

from tests.unit.client.conftest import Charge, Payments, charge
from tests.unit.client.fake_gateway import FakeGateway, serve
from tests.unit.client.teams import Team, trust_in

from isthmus.client import Client, Profile, SyncClient
from isthmus.transport.credentials import StaticToken

ORDER = Charge(order="42", cents=300)


def forked(name: str, work: object) -> None:
    """Fork, run, and report."""
    pid = os.fork()
    if pid == 0:
        try:
            print(name, work(), flush=True)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001
            print(name, type(error).__name__, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


def call(client: SyncClient) -> str:
    """Make one call."""
    receipt = client.create_nexus_client("payments", Payments).execute_operation(Payments.charge, ORDER)
    return f"paid {receipt.paid}"


def sync_cases(address: str, team: Team, handler: Team) -> None:
    """A client that was used before the fork, from a fork and from multiprocessing."""
    client = SyncClient.connect(address, profile=Profile(), keyring=team, trust=trust_in(handler))
    print("parent-before", call(client), flush=True)
    forked("child", lambda: call(client))
    process = multiprocessing.get_context("fork").Process(
        target=lambda: print("multiprocessing", call(client), flush=True)
    )
    process.start()
    process.join()
    threads = [threading.Thread(target=call, args=(client,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forked("child-after-threads", lambda: call(client))
    print("parent-after", call(client), flush=True)


def async_cases(address: str, team: Team, handler: Team) -> None:
    """Async clients before and after a fork."""

    async def connect() -> Client:
        return await Client.connect(
            address, profile=Profile(), keyring=team, trust=trust_in(handler), credentials=StaticToken("t")
        )

    async def once() -> str:
        async with await connect() as client:
            receipt = await client.create_nexus_client("payments", Payments).execute_operation(
                Payments.charge, ORDER
            )
        return f"paid {receipt.paid}"

    def use_inherited(client: Client) -> str:
        asyncio.events._set_running_loop(None)
        coroutine = client.create_nexus_client("payments", Payments).execute_operation(Payments.charge, ORDER)
        return str(asyncio.run(coroutine))

    def connect_anew() -> str:
        asyncio.events._set_running_loop(None)
        return asyncio.run(once())

    async def with_client_open() -> None:
        async with await connect() as client:
            forked("async-inherited", lambda: use_inherited(client))
            forked("async-anew-while-open", connect_anew)
            sync = lambda: call(  # noqa: E731
                SyncClient.connect(address, profile=Profile(), keyring=team, trust=trust_in(handler))
            )
            forked("sync-while-async-open", sync)

    asyncio.run(with_client_open())
    print("parent-async", asyncio.run(once()), flush=True)
    forked("async-anew-after-close", connect_anew)


def clean_cases(address: str, team: Team, handler: Team) -> None:
    """An async client in a child whose parent never had one."""

    async def once() -> str:
        async with await Client.connect(
            address, profile=Profile(), keyring=team, trust=trust_in(handler)
        ) as client:
            payments = client.create_nexus_client("payments", Payments)
            return f"paid {(await payments.execute_operation(Payments.charge, ORDER)).paid}"

    sync = SyncClient.connect(address, profile=Profile(), keyring=team, trust=trust_in(handler))
    print("parent-sync", call(sync), flush=True)
    forked("async-in-child", lambda: asyncio.run(once()))


def main() -> None:
    """Serve in a child that is never forked from, then run the cases against it."""
    team, handler = Team.create("data-team"), Team.create("payments-team")
    ready, announce = os.pipe()
    server_pid = os.fork()
    if server_pid == 0:
        gateway = FakeGateway(caller=team, handler=handler)
        gateway.handlers["charge"] = charge
        _, port = serve(gateway)
        os.write(announce, str(port).encode())
        threading.Event().wait()
    port = int(os.read(ready, 16))
    try:
        {"sync": sync_cases, "async": async_cases, "clean": clean_cases}[sys.argv[1]](
            f"127.0.0.1:{port}", team, handler
        )
    finally:
        os.kill(server_pid, 9)
        os.waitpid(server_pid, 0)


if __name__ == "__main__":
    main()
