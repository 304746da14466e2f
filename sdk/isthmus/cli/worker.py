"""``isthmus worker``: serve operations of your namespace."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.moment import parse_duration

if TYPE_CHECKING:
    from isthmus.worker import Worker

app = typer.Typer(no_args_is_help=True, help="Workers: serve operations.")


@app.command()
def run(
    ctx: typer.Context,
    handlers: Annotated[
        list[str], typer.Argument(help="What to serve: module:Handler.", metavar="MODULE:HANDLER...")
    ],
    *,
    task_queue: Annotated[str, typer.Option(help="The queue to poll.")],
    max_concurrent_tasks: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 100,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="Serve calls of this endpoint only. Repeatable.")
    ] = None,
    version: Annotated[str, typer.Option(help="The version that the worker announces.")] = "",
    grace: Annotated[
        str, typer.Option(help="How long running tasks may take after SIGTERM.", metavar="TIME")
    ] = "30s",
) -> None:
    """Serve until SIGTERM or Ctrl-C, which lets running tasks finish; a second one interrupts them."""
    import asyncio
    import logging

    from isthmus.cli.handler_path import load_handler

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    instances = [load_handler(path) for path in handlers]
    grace_time = parse_duration(grace)

    async def serve() -> None:
        from isthmus.cli.client_session import connected
        from isthmus.worker import Worker

        async with connected(ctx) as client:
            worker = Worker(
                client,
                task_queue=task_queue,
                nexus_service_handlers=instances,
                max_concurrent_tasks=max_concurrent_tasks,
                endpoints=endpoint or None,
                version=version,
                graceful_shutdown_timeout=grace_time,
            )
            stopping = _stop_on_signals(worker)
            await worker.run()
            await asyncio.gather(*stopping)

    asyncio.run(serve())


def _stop_on_signals(worker: "Worker") -> set[Any]:
    """Shut the worker down at the first signal, interrupt it at the second; return the shutdowns."""
    import asyncio
    import signal

    stopping: set[Any] = set()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.add(loop.create_task(worker.shutdown()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping
