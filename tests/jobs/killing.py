"""Run a job's steps in a process of its own, and kill that process (SIGKILL) at a named point.

A first run over a fresh vault tells which points a job passes; then one vault after the other dies at one of them::

    job = Killable(place, "vault.erasure.workflow:ERASURE_STEPS", request_id)
    for point in await job.points():  # runs to the end
        job = ...  # over a fresh vault, for this one is used up
        assert await job.killed_at(point)
        await job.run()  # the restart: to the end, in a new process
        ...  # nothing may be missing, nothing may be there twice

Points, in the order in which they are passed (the number counts how often; each is met once):

- ``begin.before#1``, ``begin.after#1``: around the job's step ``begin``
- ``data.commit#3``: in the 3rd transaction of the main database, all is written and nothing is committed
- ``data.committed#3``: right after its commit; ``keys.commit#1`` and ``keys.committed#1`` are the key store's
- ``data.append#2``, ``data.appended#2``: around an append outside a transaction, as of an audit entry; the ledger's of
  tombstones are ``ledger.append#1`` and ``ledger.appended#1``
- ``scrub.before#1``, ``scrub.after#1``: around a function that was named by ``also=("vault.x.y:scrub",)``, or a method:
  ``also=("vault.x.y:Class.method",)`` makes ``method.before#1``

A process that is forked from one which has all modules loaded already starts in a few milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support import FixedClock
from tests.vaults import Place
from vault.bootstrap import open_vault
from vault.ids import TenantId
from vault.jobs.workflow import Workflow
from vault.storage.database import Database

PATIENCE = 60.0
"""Seconds for one run; generous, because a loaded machine must not fail a test."""
_AGAIN = 20
"""How often a step may ask to be called again before a run ends."""


@dataclass
class Killable:
    """A job that can be run to any of its points."""

    place: Place
    steps: str
    """``module:NAME`` of a Workflow or of a tuple of steps, or ``module:NAMES[key]`` of one in a dict."""
    id: UUID
    tenant: str = "default"
    moment: datetime = field(default_factory=lambda: FixedClock().now())
    also: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    async def points(self) -> list[str]:
        """Run the job to its end and return all points that it passed."""
        with tempfile.NamedTemporaryFile() as log:
            await self._run(None, log.name)
            return Path(log.name).read_text(encoding="utf-8").split()

    async def killed_at(self, point: str) -> bool:
        """Run the job to a point and kill it there; returns whether it reached the point."""
        return await self._run(point, os.devnull) == -signal.SIGKILL

    async def run(self) -> None:
        """Run the job to its end."""
        await self._run(None, os.devnull)

    async def _run(self, point: str | None, log: str) -> int:
        code = await asyncio.to_thread(in_a_process, _child, self, point, log)
        if point is None:
            assert code == 0, f"the job ended with {code}; its process says why on standard error"
        assert code in {0, -signal.SIGKILL}, f"the job ended with {code} before it came to {point}"
        return code


def in_a_process(child: Callable[..., None], *args: object, warm: str = "tests.jobs.warm") -> int:
    """Run a function in a process of its own, forked from one with a module loaded; returns its exit status."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.jobs.killing", warm])
    process = context.Process(target=child, args=args)
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("the process did not end in time")
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _child(job: Killable, point: str | None, log: str) -> None:
    asyncio.run(_work(job, _Points(point, log)))


async def _work(job: Killable, points: _Points) -> None:
    for name in job.also:
        _watch_named(name, points)
    clock = FixedClock(job.moment)
    async with open_vault(job.place.folder, clock=clock, **{**job.place.urls, **job.settings}) as vault:
        _watch_databases(vault, points)
        for name, step in _steps(job.steps):
            points.at(f"{name}.before")
            for _ in range(_AGAIN):
                seconds = await step(vault.services, TenantId(job.tenant), job.id)
                if seconds is None:
                    break
                clock.advance(seconds=seconds)
            points.at(f"{name}.after")


def _steps(path: str) -> Any:
    module, _, name = path.partition(":")
    name, _, key = name.removesuffix("]").partition("[")
    result = getattr(import_module(module), name)
    if key:
        result = result[key]
    return result.steps if isinstance(result, Workflow) else result


class _Points:
    """Counts and logs the points that are passed, and kills the process at one of them."""

    def __init__(self, deadly: str | None, log: str) -> None:
        self._deadly = deadly
        self._log = log
        self._passed: Counter[str] = Counter()

    def at(self, point: str) -> None:
        self._passed[point] += 1
        name = f"{point}#{self._passed[point]}"
        with Path(self._log).open("a", encoding="utf-8") as log:
            log.write(f"{name}\n")
        if name == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def _watch_databases(vault: Any, points: _Points) -> None:
    names = {id(database): which for which, database in vault.databases().items()}
    transaction, append = Database.transaction, Database.append

    @asynccontextmanager
    async def watched(self):
        async with transaction(self) as connection:
            yield connection
            points.at(f"{names[id(self)]}.commit")
        points.at(f"{names[id(self)]}.committed")

    async def appending(self, batch):
        points.at(f"{names[id(self)]}.append")
        await append(self, batch)
        points.at(f"{names[id(self)]}.appended")

    Database.transaction, Database.append = watched, appending  # type: ignore[method-assign]


def _watch_named(path: str, points: _Points) -> None:
    module, _, name = path.partition(":")
    *owners, last = name.split(".")
    owner = attrgetter(".".join(owners))(import_module(module)) if owners else import_module(module)
    real = getattr(owner, last)

    @functools.wraps(real)
    async def awaited(*args, **kwargs):
        points.at(f"{last}.before")
        result = await real(*args, **kwargs)
        points.at(f"{last}.after")
        return result

    @functools.wraps(real)
    def called(*args, **kwargs):
        points.at(f"{last}.before")
        result = real(*args, **kwargs)
        points.at(f"{last}.after")
        return result

    setattr(owner, last, awaited if inspect.iscoroutinefunction(real) else called)


def every(points: list[str], most: int) -> list[str]:
    """Choose at most this many points, spread evenly, including the first and the last one."""
    if len(points) <= most:
        return points
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]
