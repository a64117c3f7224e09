"""Progress bars on standard error, drawn only on a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime


@contextmanager
def _drawn(*columns: ProgressColumn, quiet: bool = False) -> Iterator[Progress]:
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        yield progress


@contextmanager
def counter(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Draw a count without a known total. Yields a function that adds to it."""
    columns = (SpinnerColumn(), TextColumn(what), MofNCompleteColumn(), TimeElapsedColumn())
    with _drawn(*columns, quiet=quiet) as progress:
        task = progress.add_task(what, total=None)
        yield lambda count: progress.advance(task, count)


@contextmanager
def people_bar(*, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Draw the number of processed people. Yields a function of that number and of the total, if known."""
    columns = (TextColumn("people"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _drawn(*columns, quiet=quiet) as progress:
        task = progress.add_task("people", total=None)
        yield lambda people, of: progress.update(task, completed=people, total=of if of is None else max(of, people))


@contextmanager
def bytes_bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Draw the number of processed bytes. Yields a function that adds to it."""
    with _drawn(TextColumn(what), BarColumn(), DownloadColumn()) as progress:
        task = progress.add_task(what, total=size)
        yield lambda count: progress.advance(task, count)


@contextmanager
def time_bar(begin: datetime, end: datetime, text: str) -> Iterator[Callable[[int, datetime], None]]:
    """Draw the covered part of a period. Yields a function of a count and the time reached."""
    columns = (TextColumn(text), BarColumn(), TimeRemainingColumn())
    with _drawn(*columns) as progress:
        task = progress.add_task("", total=(end - begin).total_seconds(), count=0)
        yield lambda count, reached: progress.update(task, completed=(reached - begin).total_seconds(), count=count)


@contextmanager
def transfers(*, in_bytes: bool) -> Iterator[Callable[[str, int], None]]:
    """Draw a line for each name. Yields a function of a name and its processed amount."""
    amount = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (TextColumn("{task.completed:,}"),)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *amount, TimeElapsedColumn())
    with _drawn(*columns) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=done)

        yield show
