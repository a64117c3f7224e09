"""Several processes, each with the vault open for itself: sealing is a processor's work, and Python has one a process.

Only the places of chunks and what became of them travel between processes: no value, no key, no driver's error.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from multiprocessing import util
from typing import TYPE_CHECKING, Any, NamedTuple

from vault.errors import Unavailable, VaultError
from vault.imports.chunk import apply_chunk
from vault.imports.task import make_ready
from vault.logs import describe_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from vault.imports.store import Outcome
    from vault.imports.survey import Chunk
    from vault.imports.task import Task, Work

    Opener = Callable[[], AbstractAsyncContextManager[Any]]
    """Opens the vault anew, as something that has a ``house``; a function that may travel to another process."""

AHEAD = 2
"""Chunks for each process that are on their way: one at work and one that waits for it."""
COLLECT_AFTER = 100_000
"""New objects before the garbage collector looks for rings: a chunk makes many objects and no rings."""


class Failure(NamedTuple):
    """An error on its way home, without what it may hold beside its own words."""

    kind: type[VaultError]
    detail: str
    code: str
    hint: str | None


async def in_this_process(work: Work, chunks: Iterable[Chunk]) -> AsyncGenerator[tuple[Chunk, Outcome], None]:
    """Bring chunks in, one after the other; while the database writes one, the next is made ready."""
    under_way: deque[tuple[Chunk, asyncio.Task[Outcome]]] = deque()
    try:
        for chunk in chunks:
            under_way.append((chunk, asyncio.create_task(apply_chunk(work, chunk))))
            if len(under_way) == AHEAD:
                first, ended = under_way.popleft()
                yield first, await ended
        while under_way:
            first, ended = under_way.popleft()
            yield first, await ended
    finally:
        for _chunk, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _chunk, task in under_way), return_exceptions=True)


class Workers:
    """Processes that bring chunks in. They open their vaults at once, while the first process surveys the file."""

    def __init__(self, opener: Opener, task: Task, processes: int) -> None:
        self.processes = processes
        # Not forked: a copy of a process with open databases and keys is good for nothing.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(opener, task))
        for _process in range(processes):
            self._pool.submit(_open)

    async def bring_in(self, chunks: Iterable[Chunk]) -> AsyncGenerator[tuple[Chunk, Outcome], None]:
        """Bring chunks in; they come back in whatever order they are done.

        Raises:
            VaultError: what a process raised; the others end their chunks first.
        """
        loop, waiting = asyncio.get_running_loop(), iter(chunks)
        under_way: dict[asyncio.Future[Outcome | Failure], Chunk] = {}
        while True:
            while len(under_way) < AHEAD * self.processes and (chunk := next(waiting, None)) is not None:
                under_way[loop.run_in_executor(self._pool, _apply, chunk)] = chunk
            if not under_way:
                return
            ended, _others = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                yield under_way.pop(each), _outcome(each)

    def close(self) -> None:
        """Let chunks that are at work end, and then the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _outcome(ended: asyncio.Future[Outcome | Failure]) -> Outcome:
    try:
        found = ended.result()
    except BrokenProcessPool:
        raise Unavailable(
            "a process of the import ended before its work was done",
            code="import-stopped",
            hint="look whether memory has run out; run the same command again: it goes on where it stopped",
        ) from None
    if isinstance(found, Failure):
        raise found.kind(found.detail, code=found.code, hint=found.hint)
    return found


class _Process:
    """What one process keeps from chunk to chunk: its event loop and its open vault."""

    def __init__(self, opener: Opener, task: Task) -> None:
        self._opener = opener
        self._task = task
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._work: Work | None = None

    def open(self) -> None:
        """Open the vault and the file, unless that is done."""
        self._runner.run(self._open())

    def apply(self, chunk: Chunk) -> Outcome:
        """Bring a chunk in."""
        return self._runner.run(self._apply(chunk))

    async def _open(self) -> Work:
        if self._work is None:
            vault = await self._stack.enter_async_context(self._opener())
            self._work = await make_ready(vault.services, self._task)
            gc.freeze()
            gc.set_threshold(COLLECT_AFTER, 50, 100)
        return self._work

    async def _apply(self, chunk: Chunk) -> Outcome:
        return await apply_chunk(await self._open(), chunk)

    def close(self) -> None:
        """Close the vault."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


_process: _Process | None = None


def _begin(opener: Opener, task: Task) -> None:
    global _process  # noqa: PLW0603 - one a process, made as the process begins
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's business; it lets chunks end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process = _Process(opener, task)
    util.Finalize(_process, _process.close, exitpriority=10)


def _end_with_parent() -> None:
    """End when the first process is killed: nobody would ever ask for more, and nobody would close the queue."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _open() -> None:
    """Open the vault before the first chunk is there; should that fail, the first chunk will tell of it."""
    with suppress(Exception):
        if _process is not None:
            _process.open()


def _apply(chunk: Chunk) -> Outcome | Failure:
    assert _process is not None  # noqa: S101 - the pool began this process by _begin
    try:
        return _process.apply(chunk)
    except VaultError as error:
        return Failure(type(error), error.detail, error.code, error.hint)
    except Exception as error:  # noqa: BLE001 - its text may hold a value and must not travel; its kind and place may
        what = describe_error(error)
        return Failure(VaultError, f"internal error ({what['error']} at {what['at']})", "internal-error", None)
