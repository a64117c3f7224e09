"""Calls that wait at the same moment travel together."""

from __future__ import annotations

import asyncio

import pytest

from vault.storage.batcher import Batcher


class Flights:
    """What a batcher runs: notes each flight and holds it until it is let go."""

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


async def test_items_of_one_moment_are_one_flight_and_each_gets_its_own_result():
    flights = Flights()
    batcher = Batcher(flights)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(100))) == [n * 10 for n in range(100)]
    assert flights.seen == [list(range(100))]


async def test_those_who_come_during_a_flight_share_the_next_one():
    flights = Flights(hold=True)
    batcher = Batcher(flights)
    first = asyncio.ensure_future(batcher.submit(0))
    await flights.departed.wait()
    later = [batcher.submit(n) for n in range(1, 50)]
    flights.gate.set()
    assert await asyncio.gather(first, *later) == [n * 10 for n in range(50)]
    assert flights.seen == [[0], list(range(1, 50))]
    assert flights.most_under_way == 1


async def test_a_flight_takes_no_more_than_it_may():
    flights = Flights()
    batcher = Batcher(flights, most=7)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(20))) == [n * 10 for n in range(20)]
    assert [len(flight) for flight in flights.seen] == [7, 7, 6]
    assert flights.most_under_way == 1


async def test_an_error_reaches_everybody_of_its_flight_and_nobody_else():
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


async def test_who_gives_up_during_the_flight_harms_nobody():
    flights = Flights(hold=True)
    batcher = Batcher(flights)
    callers = [asyncio.create_task(_ask(batcher, n)) for n in range(3)]
    await flights.departed.wait()
    callers[1].cancel()
    flights.gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers[0] == 0
    assert answers[2] == 20
    assert isinstance(answers[1], asyncio.CancelledError)


async def test_who_gives_up_before_the_flight_stays_behind():
    flights = Flights(hold=True)
    batcher = Batcher(flights)
    first = asyncio.create_task(_ask(batcher, 0))
    await flights.departed.wait()
    waiting = [asyncio.create_task(_ask(batcher, n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    flights.gate.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert flights.seen == [[0], [1, 3]]


async def test_a_flight_of_nobody_is_not_flown():
    flights = Flights(hold=True)
    batcher = Batcher(flights)
    first = asyncio.create_task(_ask(batcher, 0))
    await flights.departed.wait()
    alone = asyncio.create_task(_ask(batcher, 1))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.sleep(0)
    flights.gate.set()
    await first
    assert await batcher.submit(2) == 20
    assert flights.seen == [[0], [2]]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_a_run_with_too_few_or_too_many_results_is_an_error_for_all_and_not_a_wait_without_end(answers):
    async def run(_items):
        await asyncio.sleep(0)
        return answers

    batcher = Batcher(run)
    async with asyncio.timeout(5):
        told = await asyncio.gather(batcher.submit("a"), batcher.submit("b"), return_exceptions=True)
    assert all(isinstance(each, RuntimeError) for each in told)


async def test_when_the_loop_is_shut_down_all_who_wait_are_told():
    flights = Flights(hold=True)
    batcher = Batcher(flights)
    first = asyncio.create_task(_ask(batcher, 0))
    await flights.departed.wait()
    second = asyncio.create_task(_ask(batcher, 1))
    await asyncio.sleep(0)
    batcher._pilot.cancel()
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)


async def _ask(batcher, item):
    return await batcher.submit(item)
