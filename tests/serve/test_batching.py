"""Batching: requests share batches, are refused at once if too many wait, and failures do not spread."""

import asyncio
import threading
import time
from collections import deque
from types import SimpleNamespace

import pytest

from jaxrec.serve import batching
from jaxrec.serve.batching import Batcher, OverloadedError


class Doubling:
    """Returns twice the numbers of a batch once `go` is set; records its batches."""

    def __init__(self) -> None:
        self.batches, self.go, self.begun = [], threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, numbers):
        self.begun.set()
        assert self.go.wait(10)
        self.batches.append(list(numbers))
        if -1 in numbers:
            raise ArithmeticError("no such number")
        return [2 * number for number in numbers]

    async def busy(self, batcher, number=0):
        """Start a request whose batch is processed until `go` is set."""
        self.go.clear()
        self.begun.clear()
        task = asyncio.create_task(batcher.ask(number))
        while not self.begun.is_set():
            await asyncio.sleep(0.001)
        return task


def batcher(answer, **changes):
    return Batcher(answer, **{"size": 4, "window": 0.0, "queue": 100, **changes})


def test_requests_that_arrive_during_a_batch_are_the_next_batch():
    async def main():
        doubling, sizes = Doubling(), []
        async with batcher(doubling, on_batch=sizes.append) as batches:
            first = await doubling.busy(batches, 10)
            others = [asyncio.create_task(batches.ask(number)) for number in range(6)]
            await asyncio.sleep(0.01)
            assert batches.waiting == 6
            assert batches.busy_for > 0.005
            doubling.go.set()
            assert await asyncio.gather(first, *others) == [20, 0, 2, 4, 6, 8, 10]
            assert batches.busy_for == 0
        assert doubling.batches == [[10], [0, 1, 2, 3], [4, 5]]
        assert sizes == [1, 4, 2]

    asyncio.run(main())


def test_the_first_request_waits_for_others_until_the_batch_is_full():
    async def main():
        doubling = Doubling()
        async with batcher(doubling, window=0.2) as batches:
            started = time.monotonic()
            await asyncio.gather(*map(batches.ask, range(4)))
            assert time.monotonic() - started < 0.15  # the batch was full
            await asyncio.gather(batches.ask(7), batches.ask(8))
            assert time.monotonic() - started >= 0.2
        assert doubling.batches == [[0, 1, 2, 3], [7, 8]]

    asyncio.run(main())


def test_what_is_left_of_a_full_queue_waits_for_others_again():
    async def main():
        doubling = Doubling()
        async with batcher(doubling, size=2, window=0.1) as batches:
            left = [asyncio.create_task(batches.ask(number)) for number in range(3)]
            await left[0]
            await asyncio.sleep(0.02)
            await asyncio.gather(*left, batches.ask(3))
        assert doubling.batches == [[0, 1], [2, 3]]

    asyncio.run(main())


def test_a_refused_request_may_come_back_when_the_queue_has_been_answered(monkeypatch):
    """A batch of 4 takes 8 seconds, 2 each, a tenth of which is the first average: 10 requests take 2 seconds."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(batching, "time", clock)

    def answer(numbers):
        clock.now += 8
        return numbers

    async def main():
        async with batcher(answer, queue=10) as batches:
            await asyncio.gather(*map(batches.ask, range(4)))
            batches.queue = 0  # full
            with pytest.raises(OverloadedError) as at_least_a_second:
                await batches.ask(9)
            batches.queue, batches._waiting = 10, [None] * 10
            with pytest.raises(OverloadedError) as refused:
                await batches.ask(9)
            batches._waiting = deque()
        return at_least_a_second.value.retry_after, refused.value.retry_after

    assert asyncio.run(main()) == (1, 2)


def test_one_request_too_many_is_refused_at_once():
    async def main():
        doubling = Doubling()
        async with batcher(doubling, queue=5) as batches:
            first = await doubling.busy(batches)
            waiting = [asyncio.create_task(batches.ask(number)) for number in range(5)]
            await asyncio.sleep(0.001)
            started = time.monotonic()
            with pytest.raises(OverloadedError, match="5 requests are waiting") as turned_away:
                await batches.ask(9)
            assert time.monotonic() - started < 0.05
            assert turned_away.value.retry_after >= 1
            doubling.go.set()
            assert await asyncio.gather(first, *waiting) == [0, 0, 2, 4, 6, 8]
            assert await batches.ask(9) == 18  # the queue has room again

    asyncio.run(main())


def test_a_failed_batch_does_not_affect_others():
    async def main():
        doubling = Doubling()
        async with batcher(doubling) as batches:
            first = await doubling.busy(batches)
            together = asyncio.gather(batches.ask(-1), batches.ask(1), return_exceptions=True)
            await asyncio.sleep(0.001)
            doubling.go.set()
            failed = await together
            assert [type(error) for error in failed] == [ArithmeticError] * 2
            assert await first == 0
            assert await batches.ask(4) == 8

    asyncio.run(main())


def test_canceled_requests_are_skipped():
    async def main():
        doubling = Doubling()
        async with batcher(doubling) as batches:
            first = await doubling.busy(batches)
            gone, stays = asyncio.create_task(batches.ask(1)), asyncio.create_task(batches.ask(2))
            await asyncio.sleep(0.001)
            gone.cancel()
            await asyncio.sleep(0.001)
            doubling.go.set()
            assert await asyncio.gather(first, stays) == [0, 4]
        assert doubling.batches == [[0], [2]]

    asyncio.run(main())


def test_at_the_end_running_requests_are_completed_and_waiting_ones_refused():
    async def main():
        doubling = Doubling()
        batches = batcher(doubling)
        async with batches:
            first = await doubling.busy(batches, 3)
            waits = asyncio.create_task(batches.ask(4))
            await asyncio.sleep(0.001)
            asyncio.get_running_loop().call_later(0.05, doubling.go.set)
        assert await first == 6
        with pytest.raises(OverloadedError, match="stopping"):
            await waits
        with pytest.raises(OverloadedError, match="stopping"):
            await batches.ask(5)

    asyncio.run(main())
