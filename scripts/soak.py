"""Show that zooming for a long time stays as fast, and takes no more memory.

    python scripts/soak.py [--minutes 10] [--at-once 2]

Zooms into pages of many kinds, some of them damaged, through `ZoomPipeline.azoom` and the embedded
cropper, so many at once. Prints, for each kind of page, the median of the first minute and the 99th
percentile of the last one, and what memory the process held. The exit code is 1 where a kind took
more than twice as long at the end (99th percentile over median), or memory grew by more than 30 MB
after the first minute. Linux.
"""

import argparse
import asyncio
import itertools
import random
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cropvlm_core import ZoomPipeline
from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.errors import ImageError

KINDS = {
    "receipt.png": (420, 1100),
    "letter.jpg": (1240, 1754),
    "photo.jpg": (3000, 2000),
    "form.webp": (1000, 1400),
    "scan.tiff": (1654, 2339),
    "strip.png": (2400, 120),
    "icon.gif": (64, 48),
    "torn.png": (800, 600),
}
QUESTIONS = ("What is the total?", "Which date is printed?", "Who signed?", "What is the number?")
MINUTE = 60.0
MOST_GROWTH = 30.0  # MB
PAGE = resource.getpagesize()


def main(argv: Sequence[str] | None = None) -> int:
    """Zoom, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        for name, size in KINDS.items():
            write_page(Path(folder, name), size)
        took, memory = asyncio.run(soak(Path(folder), given.minutes * MINUTE, given.at_once))
    return tell(took, memory, given.minutes * MINUTE)


def write_page(file: Path, size: tuple[int, int]) -> None:
    """Write a page full of lines of words and numbers."""
    dice = random.Random(file.name)
    page = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=18)
    for top in range(8, size[1] - 20, 30):
        words = [str(dice.randint(1, 99_999)) for _ in range(max(1, size[0] // 120))]
        pen.text((10, top), " Total ".join(words), "black", font)
    page.save(file)
    if file.stem == "torn":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


async def soak(
    folder: Path, seconds: float, at_once: int
) -> tuple[dict[str, list[tuple[float, float]]], list[tuple[float, float]]]:
    """Zoom for so long.

    Returns:
        of each kind, when a call began and how long it took; and the memory (MB) now and then.
    """
    pipeline = ZoomPipeline(EmbeddedCropper(threads=1))
    pages = _pages(folder)
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    memory: list[tuple[float, float]] = []
    start = time.monotonic()

    async def caller() -> None:
        while (begun := time.monotonic()) < start + seconds:
            file, question = next(pages)
            try:
                await pipeline.azoom(file, question)
            except ImageError:
                if not file.stem.startswith("torn"):
                    raise
            took[file.name].append((begun - start, time.monotonic() - begun))

    async def watcher() -> None:
        while time.monotonic() < start + seconds:
            memory.append((time.monotonic() - start, held()))
            await asyncio.sleep(2)

    await asyncio.gather(watcher(), *(caller() for _ in range(at_once)))
    return took, memory


def _pages(folder: Path) -> Iterator[tuple[Path, str]]:
    """Endless pages, each kind as often, in an order of chance."""
    dice = random.Random(0)
    for questions in itertools.cycle(QUESTIONS):
        for name in dice.sample(sorted(KINDS), len(KINDS)):
            yield folder / name, questions


def held() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def tell(
    took: dict[str, list[tuple[float, float]]], memory: list[tuple[float, float]], seconds: float
) -> int:
    """Print the tables; return the exit code."""
    print("| page | calls | median of the first minute | 99 % of the last minute | ratio |")
    print("|---|---|---|---|---|")
    worst = 0.0
    for name in KINDS:
        first = [took_ for begun, took_ in took[name] if begun < MINUTE]
        last = [took_ for begun, took_ in took[name] if begun >= seconds - MINUTE]
        if not first or not last:
            raise SystemExit(f"too slow a machine, or too few minutes, to say of {name}")
        median, slow = statistics.median(first), sorted(last)[int(0.99 * (len(last) - 1))]
        worst = max(worst, slow / median)
        calls, ratio = len(took[name]), slow / median
        print(f"| {name} | {calls} | {median * 1e3:.1f} ms | {slow * 1e3:.1f} ms | {ratio:.2f} |")
    after = max(value for when, value in memory if when < MINUTE)
    end = max(value for when, value in memory if when >= seconds - MINUTE)
    peaks: dict[int, float] = defaultdict(float)
    for when, value in memory:
        peaks[int(when // MINUTE)] = max(peaks[int(when // MINUTE)], value)
    print(
        f"\nmemory, the most of each minute: {', '.join(f'{peaks[one]:.0f}' for one in peaks)} MB"
    )
    return 0 if worst <= 2 and end - after <= MOST_GROWTH else 1


if __name__ == "__main__":
    raise SystemExit(main())
