"""Batch calls that wait at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items that are submitted while a batch runs, and runs them as the next batch.

    No item waits to be batched: if no batch is running, an item starts one in the next iteration of the event loop;
    under load, batches fill by themselves. One batch runs at a time, so ``run`` may own a connection. An item is
    skipped if its caller was cancelled before the batch started.

    Args:
        run: takes the items of a batch and returns one result for each, in order. An exception reaches every caller
            of the batch. It must end by itself: the batcher sets no deadline.
        most: the largest number of items in a batch.
    """

    def __init__(self, run: Callable[[list[Item]], Awaitable[Sequence[Result]]], *, most: int = 256) -> None:
        self._run = run
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add an item to the next batch. Await the returned future for its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run_batches())
        return future

    async def _run_batches(self) -> None:
        try:
            await asyncio.sleep(0)  # items of this iteration of the loop join the batch
            while self._waiting:
                pending = [(item, future) for item, future in self._waiting if not future.done()]
                batch, self._waiting = pending[: self._most], pending[self._most :]
                if batch:
                    await self._run_batch(batch)
        finally:
            self._task = None
            for _item, future in self._waiting:  # only if the task was cancelled: the loop is shutting down
                future.cancel()
            self._waiting = []

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([item for item, _future in batch])
            if len(results) != len(batch):
                raise RuntimeError("a batch returns one result for each of its items")  # noqa: TRY301 - as below
        except asyncio.CancelledError:
            for _item, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - any error belongs to the waiting callers
            for _item, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_item, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
