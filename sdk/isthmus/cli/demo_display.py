"""Shows the demonstration: progress on stderr while it runs, the accounts on stdout at its end."""

import dataclasses
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from isthmus.cli.exit_code import ExitCode
from isthmus.cli.output import Output, printable
from isthmus.demo.runner import DemoResult, Progress, run_demo

_SHOWN_CHARS = 96


def show_demo(*, input_: Path | None, batch_rows: int, keep: Path | None, output: Output) -> None:
    """Run the demonstration and print its result; exits with 1 when the accounts do not agree."""
    with _display() as watch, _interruptible():
        result = run_demo(input_=input_, batch_rows=batch_rows, keep=keep, watch=watch)
    if output.is_json:
        output.json(_document(result))
    else:
        _print(result, output)
    if not result.accounts.sound:
        output.note("The accounts do not agree: something was lost, repeated or altered.")
        raise typer.Exit(ExitCode.FAILED)


def _document(result: DemoResult) -> dict[str, Any]:
    document = dataclasses.asdict(result)
    document["sound"] = result.accounts.sound
    document["directory"] = None if result.directory is None else str(result.directory)
    document["elapsed_seconds"] = round(result.elapsed_seconds, 1)
    return document


def _print(result: DemoResult, output: Output) -> None:
    accounts, exposure = result.accounts, result.exposure
    totals = accounts.totals
    rows = [
        (
            "batches that the data team had placed",
            f"{accounts.batches} ({accounts.rows} rows of {result.dataset})",
        ),
        ("results that it has", str(accounts.results)),
        ("operations that the gateway recorded, each ended once", str(accounts.recorded)),
        ("worker killed with -9 while calls were under way", str(result.killed_with)),
        ("tasks that the gateway handed out again", str(accounts.redeliveries)),
        ("times that the handler ran", str(accounts.handler_runs)),
        ("lost / repeated / altered", f"{accounts.lost} / {accounts.repeated} / {accounts.altered}"),
        ("calls the other way (application asks data team)", str(accounts.answered_back)),
        ("busiest hubs", ", ".join(f"{name} {count}" for name, count in totals["busiest_hubs"].items())),
        (
            "mean distance to the nearest hub",
            f"{totals['mean_km_to_hub']} km" if totals["mean_km_to_hub"] else "",
        ),
        (
            "groups; the largest",
            f"{totals['groups']}; " + ", ".join(f"{n} {c}" for n, c in totals["largest_groups"].items()),
        ),
        ("digest of the outcome", accounts.outcome_digest),
        ("took", f"{result.elapsed_seconds:.1f} s"),
    ]
    output.rows([{"what": what, "how_many": value} for what, value in rows], ("what", "how_many"))
    typer.echo("One payload, as the two ends saw it:")
    typer.echo(f"  {printable(exposure.plaintext)[:_SHOWN_CHARS]} …")
    typer.echo(f"and as it lies in the gateway's database ({exposure.sealed_bytes} bytes sealed):")
    typer.echo(f"  {exposure.ciphertext} …")
    typer.echo(
        "The gateway knows: " + ", ".join(f"{name} {value}" for name, value in exposure.clear.items()) + "."
    )
    # Short values prove nothing: a tiny file may have no other.
    if exposure.values_sought:
        typer.echo(
            f"Of {exposure.values_sought} values of the rows, {exposure.values_found} can be found in its "
            f"{exposure.database_bytes} bytes."
        )
    if result.directory is not None:
        typer.echo(f"Kept: {result.directory}")


@contextmanager
def _display() -> Generator[Callable[[Progress], None]]:
    if not sys.stderr.isatty():
        yield _print_steps()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("", total=None)

        def watch(progress: Progress) -> None:
            bar.update(shown, description=progress.step)
            if progress.total:
                bar.update(shown, completed=progress.done, total=progress.total)

        yield watch


def _print_steps() -> Callable[[Progress], None]:
    """Print each step once: what a log file wants."""
    last = ""

    def watch(progress: Progress) -> None:
        nonlocal last
        if progress.step != last:
            last = progress.step
            sys.stderr.write(f"{progress.step} …\n")
            sys.stderr.flush()

    return watch


@contextmanager
def _interruptible() -> Generator[None]:
    """Let SIGTERM and SIGHUP stop the demonstration as Ctrl-C does, so that no process is left behind."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
