"""What an import shows while it runs: a bar on a terminal, and a file of refused lines. Neither holds a value."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vault.errors import Misconfigured
from vault.imports.run import Watcher

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from vault.imports.lines import LineFault

MODE = 0o600


class Rate(ProgressColumn):
    """Lines a second."""

    def render(self, task: Task) -> Text:
        """Draw."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class Screen(Watcher):
    """Draws the bar where a terminal looks on, and writes refused lines to a file as they come.

    Args:
        path: the file that is imported; only its size is looked at.
        title: which part of a larger import it is.
        errors: where to write; nothing is written, and no file made, where every line is right.
        quiet: draw nothing.
    """

    def __init__(self, path: Path, title: str, errors: Path | None, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._title = f"{title}: " if title else ""
        self._bytes = path.stat().st_size if path.suffix.lower() != ".parquet" else None
        self._errors = errors
        self._file: TextIO | None = None
        self._bar = self._progress.add_task(f"{self._title}looking through", total=self._bytes)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()

    def surveying(self, done: int) -> None:
        """Show how far the first pass is."""
        self._progress.update(self._bar, completed=done)

    def began(self, lines: int, *, resumed: bool) -> None:
        """Begin the bar of the import itself."""
        self._progress.remove_task(self._bar)
        doing = "going on" if resumed else "importing"
        self._bar = self._progress.add_task(f"{self._title}{doing}", total=lines)

    def advanced(self, lines: int) -> None:
        """Move the bar."""
        self._progress.advance(self._bar, lines)

    def refused(self, fault: LineFault) -> None:
        """Write down what is wrong with a line: its number, a code, a field, a sentence."""
        if self._errors is None:
            return
        if self._file is None:
            self._file = _create(self._errors)
        self._file.write(json.dumps(fault._asdict()) + "\n")


def _create(path: Path) -> TextIO:
    """Make a file that only its owner reads: which of whose values are wrong is nobody else's business."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE)
    except OSError as error:
        raise Misconfigured(
            f"the file for refused lines cannot be written: {error.strerror}", hint="name another by --errors"
        ) from None
    return os.fdopen(opened, "w", encoding="utf-8")
