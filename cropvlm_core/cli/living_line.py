"""Progress on stderr: one living line in a terminal, else a line now and then."""

import sys
import time

_LIVING_SECONDS = 0.2  # between two states of the line in a terminal
_PLAIN_SECONDS = 30.0  # between two lines where there is none


class LivingLine:
    """Shows what it is told, as often as suits who reads it."""

    def __init__(self) -> None:
        """Look at stderr: is it a terminal?"""
        self._living = sys.stderr.isatty()
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to show something again."""
        pause = _LIVING_SECONDS if self._living else _PLAIN_SECONDS
        return time.monotonic() - self._last >= pause

    def show(self, text: str) -> None:
        """Show a line of text."""
        self._last = time.monotonic()
        if self._living:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the living line away."""
        if self._living:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def time_text(seconds: float) -> str:
    """Seconds as 3:05 or 1:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
