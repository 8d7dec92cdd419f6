"""SIGTERM and Ctrl-C end a run after its step; the run says where that is."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Stopped(Exception):  # noqa: N818  it is no error
    """SIGTERM or Ctrl-C came, and all is saved.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        """Remember the signal's number."""
        super().__init__(f"signal {number}")
        self.number = number


class Listener:
    """Hears SIGTERM and Ctrl-C inside ``with``; a second Ctrl-C does not wait.

    Attributes:
        heard: the number of the signal that came last; None: none did.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.heard: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Start to listen; outside of the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the signals to who had them before."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal came."""
        if self.heard is not None:
            raise Stopped(self.heard)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.heard is not None and number == signal.SIGINT:  # a second one means now
            raise KeyboardInterrupt
        self.heard = number
