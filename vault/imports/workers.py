"""Import chunks of lines, in this process or in several.

Each chunk is checked, sealed and written in one transaction, with the audit entry and a mark. Sealing is CPU work, and
Python runs on one processor per process; so each process opens the vault for itself. Only the positions of chunks and
their outcomes are sent between processes, and no value, key or driver error.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from multiprocessing import util
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry
from vault.errors import Conflict, Unavailable, VaultError
from vault.imports import profiles, records
from vault.imports.store import Noted, find_outcome, mark_done
from vault.imports.task import open_import
from vault.logs import describe_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from typing import Protocol

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.ids import Pseudonym
    from vault.imports.lines import LineFault
    from vault.imports.store import Outcome
    from vault.imports.survey import Chunk
    from vault.imports.task import ImportContext, ImportTask

    class OpenVault(Protocol):
        """An open vault."""

        services: Services

    Opener = Callable[[], AbstractAsyncContextManager[OpenVault]]
    """Opens the vault. It is sent to other processes, so it must be picklable."""

ATTEMPTS = 4
PAUSE = 0.25
"""Seconds before the second attempt; doubled before each further one."""
RESUMES = "it resumes where it stopped"
AHEAD = 2
"""Chunks in progress for each process: one that it works on, and one that waits for it."""
COLLECT_AFTER = 100_000
"""New objects before the garbage collector runs: a chunk creates many objects and no reference cycles."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of another process, reduced to its class and texts: its context may contain values."""

    kind: type[VaultError]
    detail: str
    code: str
    hint: str | None


async def apply_chunk(context: ImportContext, chunk: Chunk) -> Outcome:
    """Import a chunk, unless its mark shows that it was imported.

    Raises:
        Unavailable: a database did not answer, in all attempts.
        Conflict: other writers changed the same subjects, in all attempts.
    """
    run, pause, attempt = context.task.run, PAUSE, 1
    while True:
        try:
            return await _attempt(context, chunk)
        except (IntegrityError, Unavailable) as error:
            if attempt == ATTEMPTS:
                raise await _record_failure(context, error) from None
        await asyncio.sleep(pause)
        pause, attempt = pause * 2, attempt + 1
        # The answer to a commit may have been lost, or another process may have imported the chunk.
        earlier = None if run is None else await find_outcome(context.services.data, context.tenant, run, chunk.number)
        if earlier is not None:
            return earlier


async def _attempt(context: ImportContext, chunk: Chunk) -> Outcome:
    faults: list[LineFault] = []
    notes = Counter[tuple[str, str]]()
    drafts = list(context.parser.drafts(context.reader.read(chunk.span), chunk.duplicates, faults, notes))
    classify = records.classify if context.task.mapping.many else profiles.classify
    batch = await classify(context, drafts, faults)
    faults.sort()
    refused = len({fault.line for fault in faults})
    noted = [Noted(code, field, count) for (code, field), count in sorted(notes.items())]
    outcome = batch.outcome._replace(refused=refused, faults=faults, notes=noted)
    run = context.task.run
    if run is None:
        return outcome
    await batch.seal()
    try:
        async with context.services.data.transaction() as connection:
            pseudonyms = await batch.write(connection)
            if pseudonyms:
                entry = _entry(context, "allowed", subjects=pseudonyms)
                await context.services.audit_log.append_in(connection, [entry])
            await mark_done(connection, context.tenant, run, chunk.number, outcome)
    except IntegrityError:
        # Only now is it certain that nothing was committed, and the new keys may be destroyed. After a lost answer to a
        # commit they may be in use; an unused key does no harm.
        await batch.discard()
        raise
    return outcome


async def _record_failure(context: ImportContext, error: IntegrityError | Unavailable) -> Conflict | Unavailable:
    """Record that a chunk could not be imported, and return the error with a hint how to continue."""
    result: Conflict | Unavailable
    if isinstance(error, Unavailable):
        result = Unavailable(error.detail, code=error.code, hint=f"run the same command again: {RESUMES}")
    else:
        result = Conflict(
            "other writers keep changing the same people at this moment",
            code="import-collides",
            hint=f"run the same command again when they are done: {RESUMES}",
        )
    with suppress(Unavailable):  # nothing was changed, so an entry that is missing hides nothing
        await context.services.audit_log.append(_entry(context, "failed", code=result.code))
    return result


def _entry(context: ImportContext, decision: str, code: str | None = None, subjects: Iterable[Pseudonym] = ()) -> Entry:
    return audit_entry(
        context.services,
        context.caller,
        action="import",
        decision=decision,
        code=code,
        purpose=context.task.purpose,
        fields=context.grant.names,
        subjects=tuple(subjects),
        policy=context.grant.policy,
        target=context.task.run,
    )


async def apply_in_process(
    context: ImportContext, chunks: Iterable[Chunk]
) -> AsyncGenerator[tuple[Chunk, Outcome], None]:
    """Import chunks in order, in this process. While the database writes one chunk, the next is prepared."""
    pending: deque[tuple[Chunk, asyncio.Task[Outcome]]] = deque()
    try:
        for chunk in chunks:
            pending.append((chunk, asyncio.create_task(apply_chunk(context, chunk))))
            if len(pending) == AHEAD:
                first, task = pending.popleft()
                yield first, await task
        while pending:
            first, task = pending.popleft()
            yield first, await task
    finally:
        for _chunk, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _chunk, task in pending), return_exceptions=True)


class Workers:
    """Processes that import chunks. They open their vaults while the first process surveys the file."""

    def __init__(self, opener: Opener, task: ImportTask, processes: int) -> None:
        self.processes = processes
        # Spawned and not forked: a fork would share this process's open databases and keys.
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin, initargs=(opener, task))
        for _process in range(processes):
            self._pool.submit(_open)

    async def apply(self, chunks: Iterable[Chunk]) -> AsyncGenerator[tuple[Chunk, Outcome], None]:
        """Import chunks; yields them as they are completed.

        Raises:
            VaultError: the error of a process; the other processes complete their chunks first.
        """
        loop, waiting = asyncio.get_running_loop(), iter(chunks)
        pending: dict[asyncio.Future[Outcome | Failure], Chunk] = {}
        while True:
            while len(pending) < AHEAD * self.processes and (chunk := next(waiting, None)) is not None:
                pending[loop.run_in_executor(self._pool, _apply, chunk)] = chunk
            if not pending:
                return
            completed, _others = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for future in completed:
                yield pending.pop(future), _outcome(future)

    def close(self) -> None:
        """Wait for the current chunks, and end the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: asyncio.Future[Outcome | Failure]) -> Outcome:
    try:
        result = future.result()
    except BrokenProcessPool:
        raise Unavailable(
            "a process of the import ended before its work was done",
            code="import-stopped",
            hint=f"check whether memory has run out; run the same command again: {RESUMES}",
        ) from None
    if isinstance(result, Failure):
        raise result.kind(result.detail, code=result.code, hint=result.hint)
    return result


class _Process:
    """The state of a worker process: its event loop and its open vault."""

    def __init__(self, opener: Opener, task: ImportTask) -> None:
        self._opener = opener
        self._task = task
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._context: ImportContext | None = None

    def open(self) -> None:
        """Open the vault and the file, unless they are open."""
        self._runner.run(self._open())

    def apply(self, chunk: Chunk) -> Outcome:
        """Import a chunk."""
        return self._runner.run(self._apply(chunk))

    async def _open(self) -> ImportContext:
        if self._context is None:
            vault = await self._stack.enter_async_context(self._opener())
            self._context = await open_import(vault.services, self._task)
            gc.freeze()
            gc.set_threshold(COLLECT_AFTER, 50, 100)
        return self._context

    async def _apply(self, chunk: Chunk) -> Outcome:
        return await apply_chunk(await self._open(), chunk)

    def close(self) -> None:
        """Close the vault."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


_process: _Process | None = None


def _begin(opener: Opener, task: ImportTask) -> None:
    global _process  # noqa: PLW0603 - one per process, created when the process begins
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles Ctrl-C and lets chunks complete
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process = _Process(opener, task)
    util.Finalize(_process, _process.close, exitpriority=10)


def _end_with_parent() -> None:
    """End this process when the first one is killed, because the queue between them is then never closed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _open() -> None:
    """Open the vault before the first chunk arrives. If that fails, the first chunk reports the error."""
    with suppress(Exception):
        if _process is not None:
            _process.open()


def _apply(chunk: Chunk) -> Outcome | Failure:
    assert _process is not None  # noqa: S101 - the pool began this process by _begin
    try:
        return _process.apply(chunk)
    except VaultError as error:
        return Failure(type(error), error.detail, error.code, error.hint)
    except Exception as error:  # noqa: BLE001 - its text may contain a value and must not be sent; class and place may
        summary = describe_error(error)
        return Failure(VaultError, f"internal error ({summary['error']} at {summary['at']})", "internal-error", None)
