"""Kept: what was read stays in memory, the latest so many, and nothing is read twice at a time."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Kept(Generic[_Key, _Value]):
    """Values by key, of which the ``most`` lately used stay; safe to share between threads."""

    def __init__(self, most: int) -> None:
        """Keep at most ``most`` values, at least 1."""
        self._most = most
        self._values: OrderedDict[_Key, Future[_Value]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._values)

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return the value of ``key``, made by ``make`` where it is not kept.

        Who asks while it is being made waits for it. What fails is not kept: everyone who waited
        gets the error, and the next one tries again.
        """
        mine: Future[_Value] = Future()
        with self._lock:
            found = self._values.setdefault(key, mine)
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        if found is not mine:
            return found.result()
        try:
            mine.set_result(make())
        except BaseException as error:
            with self._lock:
                if self._values.get(key) is mine:
                    del self._values[key]
            mine.set_exception(error)
            raise
        return mine.result()
