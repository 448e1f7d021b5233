"""Dynamic batching: requests that arrive within a few milliseconds are processed together.

One batch runs at a time, on its own thread, and requests that arrive meanwhile wait for the next batch, so batches grow
with load. Requests are rejected immediately while the queue is full.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class OverloadedError(Exception):
    """Rejected request: the queue is full or the server is stopping; retry after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Batcher(Generic[Q, A]):
    """Batches requests to a function; used from one event loop, as an async context manager.

    An exception in `answer` is raised for every request of its batch; later batches are unaffected. Requests of
    disconnected clients are skipped.

    Args:
        answer: maps requests to one answer each, in order; runs on one thread, one call at a time.
        size: maximum number of requests in a batch.
        window: maximum time the first request of a batch waits for others, in seconds.
        queue: maximum number of waiting requests; further ones are rejected.
        on_batch: called with the size of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A]],
        *,
        size: int,
        window: float,
        queue: int,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.answer, self.size, self.window, self.queue, self.on_batch = answer, size, window, queue, on_batch
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._worker: asyncio.Task[None] | None = None
        self._running_since: float | None = None
        self._seconds_each = 0.0  # per request, exponential moving average

    async def __aenter__(self) -> "Batcher[Q, A]":
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish the running batch and reject all waiting requests."""
        assert self._worker is not None
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        self._worker = None
        for _request, future in self._waiting:
            if not future.done():
                future.set_exception(OverloadedError("the server is stopping"))
        self._waiting.clear()
        self._thread.shutdown()

    async def ask(self, request: Q) -> A:
        """Return the answer to a request; raise OverloadedError immediately if the queue is full."""
        if self._worker is None:
            raise OverloadedError("the server is stopping")
        if len(self._waiting) >= self.queue:
            raise OverloadedError(
                f"the queue is full ({self.queue} requests are waiting)",
                max(1, math.ceil(self.queue * self._seconds_each)),
            )
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._arrived.set()
        if len(self._waiting) >= self.size:
            self._full.set()
        return await future

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def busy_for(self) -> float:
        """Seconds since the running batch started; 0 between batches."""
        return 0.0 if self._running_since is None else time.monotonic() - self._running_since

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self.window)
            batch = self._take()
            if batch:
                await self._answer(batch)

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(batch) < self.size:
            request, future = self._waiting.popleft()
            if not future.done():
                batch.append((request, future))
        if not self._waiting:
            self._arrived.clear()
        if len(self._waiting) < self.size:
            self._full.clear()
        return batch

    async def _answer(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        self.on_batch(len(batch))
        self._running_since = started = time.monotonic()
        requests = [request for request, _ in batch]
        call = asyncio.get_running_loop().run_in_executor(self._thread, self.answer, requests)
        try:
            # A batch that has started is finished even if the server is stopped meanwhile.
            answers = await asyncio.shield(call)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                self._deliver(batch, await call)
            raise
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            self._deliver(batch, answers)
        finally:
            self._running_since = None
            each = (time.monotonic() - started) / len(batch)
            self._seconds_each += 0.1 * (each - self._seconds_each)

    def _deliver(self, batch: list[tuple[Q, asyncio.Future[A]]], answers: Sequence[A]) -> None:
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
