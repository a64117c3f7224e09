"""Calls that wait at the same moment travel together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Gathers the items that are submitted while a flight is under way, and sends them as the next one.

    Nobody waits for company: an item that finds no flight under way leaves in the next round of the loop, and under
    load the flights fill by themselves. One flight at a time, so that ``run`` may own a connection. An item whose
    caller has given up before its flight left stays behind.

    Args:
        run: takes the items of a flight and answers one result for each, in order. What it raises reaches every
            caller of that flight. It must end by itself: the batcher sets no deadline.
        most: items in one flight at the most.
    """

    def __init__(self, run: Callable[[list[Item]], Awaitable[Sequence[Result]]], *, most: int = 256) -> None:
        self._run = run
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._pilot: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add an item to the next flight; await the answer for its result."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, answer))
        if self._pilot is None:
            self._pilot = loop.create_task(self._fly())
        return answer

    async def _fly(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever becomes ready in this round of the loop comes along
            while self._waiting:
                present = [each for each in self._waiting if not each[1].done()]
                flight, self._waiting = present[: self._most], present[self._most :]
                if flight:
                    await self._fly_once(flight)
        finally:
            self._pilot = None
            for _item, answer in self._waiting:  # only where the pilot was cancelled: the loop is being shut down
                answer.cancel()
            self._waiting = []

    async def _fly_once(self, flight: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([item for item, _answer in flight])
            if len(results) != len(flight):
                raise RuntimeError("a flight answers with one result for each of its items")  # noqa: TRY301 - as below
        except asyncio.CancelledError:
            for _item, answer in flight:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers who wait
            for _item, answer in flight:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_item, answer), result in zip(flight, results, strict=True):
                if not answer.done():
                    answer.set_result(result)
