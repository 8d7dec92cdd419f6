"""The line in front of the proxy: so many requests and bytes at once, the others in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cropvlm_core.proxy.refusals import RefusedError

_SOON = 1  # seconds after which a refused client may try again


class Place:
    """A request's place behind the gate; :meth:`free` gives back the bytes of its body early."""

    def __init__(self, gate: "Gate", size: int) -> None:
        self._gate = gate
        self._size = size

    def free(self) -> None:
        """The body is gone: let others use its memory."""
        size, self._size = self._size, 0
        self._gate.give(0, size)


class Gate:
    """Lets ``most`` requests and ``memory`` bytes of their bodies in; for one event loop."""

    def __init__(self, most: int, memory: int, line: int, seconds: float) -> None:
        """At most ``line`` requests wait, each at most so many ``seconds``."""
        self._requests = most
        self._memory = self._all_memory = memory
        self._line = line
        self._seconds = seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.inside_now = 0

    @property
    def waiting_now(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def inside(self, size: int) -> AsyncIterator[Place]:
        """Wait for a place, with ``size`` bytes of memory, and give it back in the end.

        Raises:
            RefusedError: the line is too long (429), or does not move (503).
        """
        size = min(size, self._all_memory)
        await self._enter(size)
        place = Place(self, size)
        try:
            yield place
        finally:
            place.free()
            self.give(1, 0)

    def give(self, requests: int, memory: int) -> None:
        """Give back what a request had, and let in who waits."""
        self.inside_now -= requests
        self._memory += memory
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self._take(size)
            turn.set_result(None)

    async def _enter(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._take(size)
            return
        if len(self._waiting) >= self._line:
            raise RefusedError(
                429, "queue_full", "too many requests are waiting", retry_after=_SOON
            )
        turn = asyncio.get_running_loop().create_future()
        waiting = (size, turn)
        self._waiting.append(waiting)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._seconds)
        except BaseException as error:
            if turn.done():  # let in just now
                self.give(1, size)
            else:
                self._waiting.remove(waiting)
                turn.cancel()
                self.give(0, 0)  # a smaller one behind it may fit
            if isinstance(error, TimeoutError):
                raise RefusedError(
                    503, "queue_slow", "the line does not move", retry_after=_SOON
                ) from None
            raise

    def _fits(self, size: int) -> bool:
        return self.inside_now < self._requests and size <= self._memory

    def _take(self, size: int) -> None:
        self.inside_now += 1
        self._memory -= size
