"""The pages that a run learns from, held on the device that trains."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cropvlm_core.errors import DataError
from cropvlm_core.training.page_store import joined, read_lessons
from cropvlm_core.training.supervision import Lesson

_LOOK_AGAIN = 0.3
_READ_AHEAD = 64


@dataclass(frozen=True)
class _Shelved:
    file: Path
    lessons: Lesson
    shape: tuple[int, int]
    pages: int
    size: int


class PagePool:
    """The lessons of a folder on a device, the newest that fit, to draw batches from.

    A thread reads each file as it appears and moves it into ``folder/held``, where a run that goes
    on finds it. Lessons of the oldest files make room for newer ones, on the device and on disk.

    Args:
        folder: where producers write.
        device: where lessons are held.
        size: bytes of lessons to hold.
        seed: source of all chance; what is drawn also depends on how fast pages come.
        alive: tells whether more pages can come; asked while there are none.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        size: int,
        seed: int,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """Begin to read."""
        self.folder, self.device, self.size, self._alive = folder, device, size, alive
        self._rng = random.Random(seed)
        self._held: deque[_Shelved] = deque()
        self._shelves: dict[tuple[int, int], list[_Shelved]] = defaultdict(list)
        self._pages: Counter[tuple[int, int]] = Counter()
        self._bytes = 0
        self._kept = folder / "held"
        self._kept.mkdir(exist_ok=True)
        for file in self._kept.glob("*.lessons"):  # of the run before
            file.rename(folder / file.name)
        self._read: queue.Queue[_Shelved | Exception] = queue.Queue(_READ_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read no more; the files stay."""
        self._closed.set()
        while self._thread.is_alive():
            while not self._read.empty():  # it may be waiting to hand over
                self._read.get_nowait()
            self._thread.join(0.05)

    @property
    def pages(self) -> int:
        """How many pages are held."""
        return self._pages.total()

    def draw(self, pixels: int) -> dict[str, Tensor]:
        """A batch of one shape of about ``pixels`` input pixels: the arrays of a ``Lesson``.

        Waits while there are no pages at all.

        Raises:
            DataError: there are none and none will come.
        """
        self._take_in()
        # A shape's share of the batches is its share of the pixels: every page is as likely.
        shapes = list(self._shelves)
        weights = [shape[0] * shape[1] * self._pages[shape] for shape in shapes]
        shape = self._rng.choices(shapes, weights)[0]
        shelf = self._shelves[shape]
        files = pixels / (shape[0] * shape[1]) * len(shelf) / self._pages[shape]
        chosen = self._rng.sample(shelf, min(len(shelf), max(1, round(files))))
        return vars(joined([one.lessons for one in chosen]))

    def _take_in(self) -> None:
        """Hold what has been read; let go of the oldest."""
        while not self._held or not self._read.empty():
            try:
                one = self._read.get(timeout=2)
            except queue.Empty:
                if not self._alive():
                    raise DataError(
                        "expected pages to train on, but no process renders any"
                    ) from None
                continue
            if isinstance(one, Exception):
                raise one
            sent = Lesson(**{
                name: values.to(self.device, non_blocking=True)
                for name, values in vars(one.lessons).items()
            })  # fmt: skip
            one = _Shelved(one.file, sent, one.shape, one.pages, one.size)
            self._held.append(one)
            self._shelves[one.shape].append(one)
            self._pages[one.shape] += one.pages
            self._bytes += one.size
            while self._bytes > self.size and len(self._held) > 1:
                self._let_go()

    def _let_go(self) -> None:
        oldest = self._held.popleft()
        shelf = self._shelves[oldest.shape]
        del shelf[0]
        self._pages[oldest.shape] -= oldest.pages
        if not shelf:
            del self._shelves[oldest.shape]
        self._bytes -= oldest.size
        oldest.file.unlink(missing_ok=True)

    def _read_on(self) -> None:
        try:
            while not self._closed.is_set():
                new = [(file.stat().st_mtime_ns, file) for file in self.folder.glob("*.lessons")]
                for _, file in sorted(new):
                    self._read.put(self._shelved(file.rename(self._kept / file.name)))
                    if self._closed.is_set():
                        return
                self._closed.wait(_LOOK_AGAIN)
        except (OSError, ValueError, EOFError, RuntimeError) as error:  # told to whoever draws
            self._read.put(error)

    def _shelved(self, file: Path) -> _Shelved:
        lessons = read_lessons(file)
        if self.device.type == "cuda":  # so that the copy to the device waits for nothing
            lessons = Lesson(
                **{name: values.pin_memory() for name, values in vars(lessons).items()}
            )
        size = sum(values.numel() * values.element_size() for values in vars(lessons).values())
        pages, _, height, width = lessons.pixels.shape
        return _Shelved(file, lessons, (height, width), pages, size)
