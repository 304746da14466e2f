"""A client as the chosen profile says, for commands that seal or verify something."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer

from isthmus.cli.invocation import invocation
from isthmus.cli.keyring_file import open_keyring
from isthmus.client.client import Client

T = TypeVar("T")


@asynccontextmanager
async def connected(ctx: typer.Context) -> AsyncGenerator[Client]:
    """Connect; a passphrase that nothing says is asked for.

    Raises:
        CliError, ConfigurationError: a setting is missing. KeyringError, GatewayError: see Client.connect.
    """
    keyring = open_keyring(ctx)
    client = await Client.connect(profile=invocation(ctx).load_profile(), keyring=keyring)
    async with client:
        yield client


def run_with_client(ctx: typer.Context, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Connect, do the work, and close. Raises what the work raises, and what ``connected`` does."""

    async def whole() -> T:
        async with connected(ctx) as client:
            return await work(client)

    return asyncio.run(whole())
