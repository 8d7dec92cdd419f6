"""Calls at work: in threads, off the event loop, a few at once, none longer than its deadline."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cropvlm_core.errors import DeadlineError, ModelError

AT_ONCE = min(4, os.cpu_count() or 1)
"""How many calls are worked on at once."""

MOST_CALLS = 32
"""How many calls there may be, at work and waiting; a further one is refused."""

_T = TypeVar("_T")


class Calls:
    """Runs calls in threads of its own.

    A call that is cancelled, or over its deadline, ends for its client at once. Where its work has
    begun it goes on to its own end, in its place among those at work: cancelling frees no place
    before the work is done, so that nobody can pile work up.
    """

    def __init__(self, seconds: float) -> None:
        """Give each call ``seconds``, waiting included."""
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="cropvlm-mcp")
        self._calls = 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` in a thread and return what it returns, or raise what it raises.

        Raises:
            ModelError: there are too many calls already.
            DeadlineError: it took longer than a call may take.
        """
        if self._calls >= MOST_CALLS:
            raise ModelError(f"expected at most {MOST_CALLS} calls at a time; call again later")
        loop = asyncio.get_running_loop()
        self._calls += 1
        future = self._threads.submit(work)
        future.add_done_callback(lambda done: self._settle(loop, done))
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineError(
                    f"expected an answer within {self._seconds:g} s, got none yet"
                ) from error
            raise  # of the work itself

    def close(self) -> None:
        """Start nothing more; what has begun goes on to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _settle(self, loop: asyncio.AbstractEventLoop, done: "Future[_T]") -> None:
        """Count a call out, in the event loop; take note of an error that nobody waits for."""
        if not done.cancelled():
            done.exception()
        try:
            loop.call_soon_threadsafe(self._count_out)
        except RuntimeError:  # the event loop is closed: nobody counts any more
            return

    def _count_out(self) -> None:
        self._calls -= 1
