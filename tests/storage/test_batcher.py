"""Calls that wait at the same moment share one batch."""

from __future__ import annotations

import asyncio

import pytest

from vault.storage.batcher import Batcher


class Batches:
    """The function of a batcher: records each batch and blocks until it is released."""

    def __init__(self, *, hold=False, answer=lambda item: item * 10):
        self.seen = []
        self.under_way = 0
        self.most_under_way = 0
        self.answer = answer
        self.gate = asyncio.Event()
        self.departed = asyncio.Event()
        if not hold:
            self.gate.set()

    async def __call__(self, items):
        self.seen.append(list(items))
        self.departed.set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            return [self.answer(item) for item in items]
        finally:
            self.under_way -= 1


async def test_concurrent_items_are_one_batch_and_each_gets_its_own_result():
    batches = Batches()
    batcher = Batcher(batches)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(100))) == [n * 10 for n in range(100)]
    assert batches.seen == [list(range(100))]


async def test_items_submitted_during_a_batch_share_the_next_one():
    batches = Batches(hold=True)
    batcher = Batcher(batches)
    first = asyncio.ensure_future(batcher.submit(0))
    await batches.departed.wait()
    later = [batcher.submit(n) for n in range(1, 50)]
    batches.gate.set()
    assert await asyncio.gather(first, *later) == [n * 10 for n in range(50)]
    assert batches.seen == [[0], list(range(1, 50))]
    assert batches.most_under_way == 1


async def test_a_batch_is_not_larger_than_its_limit():
    batches = Batches()
    batcher = Batcher(batches, most=7)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(20))) == [n * 10 for n in range(20)]
    assert [len(batch) for batch in batches.seen] == [7, 7, 6]
    assert batches.most_under_way == 1


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other():
    async def run(items):
        await asyncio.sleep(0)
        if 3 in items:
            raise ValueError("three")
        return items

    batcher = Batcher(run, most=4)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(answer, ValueError) for answer in answers[:4])
    assert answers[4:] == [4, 5, 6, 7]
    assert await batcher.submit(9) == 9


async def test_a_caller_cancelled_during_the_batch_does_not_affect_others():
    batches = Batches(hold=True)
    batcher = Batcher(batches)
    callers = [asyncio.create_task(_ask(batcher, n)) for n in range(3)]
    await batches.departed.wait()
    callers[1].cancel()
    batches.gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers[0] == 0
    assert answers[2] == 20
    assert isinstance(answers[1], asyncio.CancelledError)


async def test_an_item_of_a_caller_cancelled_before_the_batch_is_skipped():
    batches = Batches(hold=True)
    batcher = Batcher(batches)
    first = asyncio.create_task(_ask(batcher, 0))
    await batches.departed.wait()
    waiting = [asyncio.create_task(_ask(batcher, n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    batches.gate.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert batches.seen == [[0], [1, 3]]


async def test_an_empty_batch_is_not_run():
    batches = Batches(hold=True)
    batcher = Batcher(batches)
    first = asyncio.create_task(_ask(batcher, 0))
    await batches.departed.wait()
    alone = asyncio.create_task(_ask(batcher, 1))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.sleep(0)
    batches.gate.set()
    await first
    assert await batcher.submit(2) == 20
    assert batches.seen == [[0], [2]]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_a_run_with_too_few_or_too_many_results_fails_all_callers(answers):
    async def run(_items):
        await asyncio.sleep(0)
        return answers

    batcher = Batcher(run)
    async with asyncio.timeout(5):
        answer = await asyncio.gather(batcher.submit("a"), batcher.submit("b"), return_exceptions=True)
    assert all(isinstance(item, RuntimeError) for item in answer)


async def test_all_waiting_callers_are_cancelled_when_the_loop_shuts_down():
    batches = Batches(hold=True)
    batcher = Batcher(batches)
    first = asyncio.create_task(_ask(batcher, 0))
    await batches.departed.wait()
    second = asyncio.create_task(_ask(batcher, 1))
    await asyncio.sleep(0)
    batcher._task.cancel()
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)


async def _ask(batcher, item):
    return await batcher.submit(item)
