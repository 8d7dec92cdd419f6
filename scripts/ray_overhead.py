"""Measure `cropvlm batch` on Ray beside the plain engine and a simple loop, on the same pages.

    python scripts/ray_overhead.py                     # rendered pages, needs fonts
    python scripts/ray_overhead.py FOLDER --workers 2

Three ways by turns, so that whatever else the machine does meets all of them: a loop that opens,
zooms and encodes crops in one process of one thread, without isolation, retries, keys or rows; the
plain engine; and Ray, started anew for each job. Rows a second are from the first row on, starts
apart: the loop's time has its cropper loaded, an engine's is from its first row to its last. Start
is from the call to the first row. Processor milliseconds a row are of all processes of an engine
(Linux), its start apart too: on a machine that is busy they are what can be compared. Medians over
the rounds, and the load of the machine.
"""

import argparse
import contextlib
import os
import re
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cropvlm_core.bulk import BulkProgress, ray_engine, zoom_pages
from cropvlm_core.bulk.pages import image_files
from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.images import encode_png, open_image
from cropvlm_core.zoom import ZoomPipeline

PRINTED = ("receipt", "invoice", "order", "statement", "form", "letter", "table", "label")
QUESTION = "What is the total?"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="page images")
    parser.add_argument("--pages", type=int, default=160, help="rendered pages (default 160)")
    parser.add_argument("--workers", type=int, default=2, help="of an engine (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default 3)")
    told = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ray-overhead-") as scratch:
        folder = told.folder or rendered(Path(scratch), told.pages)
        files = list(image_files(folder, without=Path(scratch, "out")))
        size = sum(file.stat().st_size for file in files) / len(files) / 1024
        print(f"{len(files)} pages of {size:.0f} KiB on average, {told.workers} workers")
        figures: dict[str, list[Figures]] = defaultdict(list)
        for turn in range(told.rounds):
            figures["loop, one process"].append(of_loop(files))
            for name, zoom in (("plain", zoom_pages), ("ray", ray_engine.zoom_pages)):
                out = Path(scratch, f"out-{name}-{turn}")
                figures[name].append(of_engine(zoom, folder, out, told.workers))
            print(f"round {turn + 1}: load {os.getloadavg()[0]:.1f}", flush=True)
        print_table(figures)
        written(Path(scratch), len(files))


def rendered(scratch: Path, count: int) -> Path:
    """Write so many rendered pages, of the kinds that need fonts only."""
    from cropvlm_core.training.pages import render_page

    folder = scratch / "pages"
    folder.mkdir()
    for number in range(count):
        render_page(number, PRINTED[number % len(PRINTED)]).image.save(folder / f"{number}.png")
    return folder


class Figures(NamedTuple):
    """Rows a second, processor seconds a row, seconds to start and in all; the most memory, MiB."""

    rate: float
    work: float
    start: float
    whole: float
    memory: float


class Processes(threading.Thread):
    """Looks at this process and all below it: processor seconds so far, and the most memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.spent: dict[int, float] = {}
        self.memory = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Look five times a second, at the memory every four."""
        turn = 0
        while not self.over.wait(0.2):
            self.look()
            turn += 1
            if turn % 20 == 0:
                self.memory = max(self.memory, sum(map(shared_out, below(os.getpid()))))

    def look(self) -> float:
        """Return the processor seconds so far, of processes that ended as they last were."""
        for process in [os.getpid(), *below(os.getpid())]:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks = int(fields[11]) + int(fields[12])
                self.spent[process] = ticks / os.sysconf("SC_CLK_TCK")
        return sum(self.spent.values())


def shared_out(process: int) -> float:
    """A process's memory in MiB, what it shares with others divided among them."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(map(int, re.findall(r"^Pss: +(\d+)", rollup, re.MULTILINE))) / 1024


def below(process: int) -> list[int]:
    """The processes below a process, at any depth."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *below(child)]
    return found


def of_loop(files: Sequence[Path]) -> Figures:
    """The figures of a loop in this process."""
    began = time.perf_counter()
    pipeline = ZoomPipeline(EmbeddedCropper(threads=1))
    pipeline.zoom(open_image(files[0]), QUESTION)
    loaded, spent = time.perf_counter(), time.process_time()
    for file in files:
        zoom = pipeline.zoom(open_image(file), QUESTION)
        for crop in zoom.crops:
            encode_png(crop.image)
    end, work = time.perf_counter(), time.process_time() - spent
    rows = len(files)
    return Figures(rows / (end - loaded), work / rows, loaded - began, end - began, 0)


def of_engine(zoom: Callable[..., Any], folder: Path, out: Path, workers: int) -> Figures:
    """The same of a job of an engine."""
    began = time.perf_counter()
    marks: list[tuple[float, int, float]] = []
    processes = Processes()
    processes.start()

    def mark(progress: BulkProgress) -> None:
        if progress.fresh and (not marks or marks[-1][1] < progress.fresh):
            marks.append((time.perf_counter(), progress.fresh, processes.look()))

    more = {"pages_a_file": 8} if zoom is ray_engine.zoom_pages else {}
    report = zoom(folder, [QUESTION], out=out, workers=workers, progress=mark, **more)
    end = time.perf_counter()
    assert report.ok == report.rows, report
    processes.over.set()
    processes.join()
    (first, some, before), (last, all_, after) = marks[0], marks[-1]
    rows = all_ - some
    return Figures(
        rows / (last - first),
        (after - before) / rows,
        first - began,
        end - began,
        processes.memory,
    )


def print_table(figures: dict[str, list[Figures]]) -> None:
    """Medians, and the processor time beside that of the plain engine in the same round."""
    heads = ("rows/s", "CPU ms/row", "of the plain", "start, s", "in all, s", "memory, MiB")
    print("\n" + " " * 20 + "".join(f"{head:>13}" for head in heads))
    for name, rounds in figures.items():
        rate, work, start, whole, memory = (
            statistics.median(each) for each in zip(*rounds, strict=True)
        )
        pairs = zip(rounds, figures["plain"], strict=True)
        share = statistics.median(ours.work / plain.work for ours, plain in pairs)
        print(
            f"{name:20}{rate:13.2f}{1000 * work:13.0f}{share:13.2f}{start:13.1f}{whole:13.1f}"
            f"{memory:13.0f}"
        )


def written(scratch: Path, pages: int) -> None:
    """What the engines left on the disk."""
    for name in ("plain", "ray"):
        files = [each for each in (scratch / f"out-{name}-0").rglob("*") if each.is_file()]
        size = sum(each.stat().st_size for each in files)
        print(f"{name}: {len(files)} files, {size / pages / 1024:.1f} KiB a page")


if __name__ == "__main__":
    main()
