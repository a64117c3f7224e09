"""Processes that run jobs as servers do, and that can be killed."""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import contextmanager
from functools import partial

from tests.jobs.steps import plan
from vault import logs
from vault.bootstrap import open_vault
from vault.jobs import store
from vault.jobs import worker as job_worker

TAKEOVER = 1
PATIENCE = 60.0


@contextmanager
def worker(place, *pending):
    """A process that runs the jobs of a vault, with this work always pending; killed at the end of the block."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.jobs.killing", "tests.jobs.workers", "vault.jobs.worker"])
    process = context.Process(target=_work, args=(place, pending), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(PATIENCE)


def _work(place, pending):
    logs.configure("warning")
    job_worker.POLL_SECONDS = store.FIRST_REST = 0.05
    asyncio.run(_tend(place, pending))


async def _tend(place, pending):
    async with open_vault(place.folder, **place.urls, jobs_takeover_seconds=TAKEOVER) as vault:
        run = partial(vault.services.jobs.run_worker, vault.services, plan(*pending), vault.periodic)
        vault.periodic.start("run-jobs", 0.1, run)
        await asyncio.Event().wait()
