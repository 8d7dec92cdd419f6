"""Measure time and memory of the embedded cropper on question sets, beside the cropper `ocr`.

    python scripts/embedded_speed.py DATA/sroie DATA/vrdu_ads --pages 30

Processor milliseconds of one thread, decoding apart: the first question about a page, a further one
in a later call, each of eight in one call, and each page of a batch of four. All of it is repeated
on the same pages in turn, so that another program on the machine slows down all columns alike;
compare within a table. `ocr` in the same run, on as many pages as it is given. Then the growth of
resident memory over all pages in one process, with threads as they are by default, and for a huge
page.
"""

import argparse
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cropvlm_core.cropper import Cropper
from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions

TOGETHER = 8
BATCH = 4
HUGE = (6000, 8000)
_KINDS = ("first", "further", f"each of {TOGETHER}", f"page of {BATCH}", "ocr", "first / ocr")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", nargs="+", type=Path, help="question sets")
    parser.add_argument("--weights", type=Path, help="an ONNX file (default: the one shipped)")
    parser.add_argument("--pages", type=int, default=30, help="pages of each set (default 30)")
    parser.add_argument(
        "--ocr", metavar="PAGES", type=int, default=0, help="pages that `ocr` reads (default 0)"
    )
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.memory:
        print(memory(given.data, given.weights, given.pages))
        return
    print("| set, milliseconds | " + " | ".join(_KINDS) + " |")
    print("|---|" + "---|" * len(_KINDS))
    for data in given.data:
        print(times(data, given.weights, given.pages, given.ocr), flush=True)
    again = [sys.executable, __file__, *map(str, given.data), "--memory"]
    again += ["--pages", str(given.pages)]
    again += ["--weights", str(given.weights)] if given.weights else []
    print(subprocess.run(again, check=True, text=True, stdout=subprocess.PIPE).stdout, end="")


def pages_of(data: Path, most: int) -> Iterator[list[VisualQuestion]]:
    """The questions of a set about its first pages, by page, decoded one page at a time."""
    by_page: dict[object, list[AnsweredQuestion]] = {}
    for question in read_questions(data):
        by_page.setdefault(question.shown, []).append(question)
    for asked in list(by_page.values())[:most]:
        page = asked[0].open()
        yield [question.opened(page) for question in asked]


def spent(cropper: Cropper, questions: Sequence[VisualQuestion]) -> float:
    """Processor milliseconds of a call, a program that it starts included."""
    begin = processor_seconds()
    cropper.propose_batch(questions)
    return 1000 * (processor_seconds() - begin)


def processor_seconds() -> float:
    """Of this process and the programs it has run."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


def times(data: Path, weights: Path | None, most: int, read: int) -> str:
    """A line of the table: medians and 95th percentiles over pages."""
    pages = list(pages_of(data, most))
    anew = EmbeddedCropper(weights, threads=1, remembered=0)
    cropper = EmbeddedCropper(weights, threads=1)
    anew.propose_batch(pages[0])
    ocr = load_cropper("ocr") if read else None
    took: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for index, asked in enumerate(pages):
        first = spent(anew, asked[:1])
        cropper.propose_batch(asked[:1])
        together = (asked * TOGETHER)[:TOGETHER]
        several = [page[0] for page in (pages[index:] + pages)[:BATCH]]
        found = [
            first,
            spent(cropper, asked[-1:]),
            spent(anew, together) / TOGETHER,
            spent(anew, several) / BATCH,
        ]
        if ocr is not None and index < read:
            reading = spent(ocr, asked[:1])
            found += [reading, first / reading]
        for kind, value in zip(_KINDS, found, strict=False):
            took[kind].append(value)
    return f"| {data.name} | " + " | ".join(map(summary, took.values())) + " |"


def summary(values: list[float]) -> str:
    """Median and 95th percentile."""
    if not values:
        return "-"
    middle, high = np.percentile(values, [50, 95])
    return f"{middle:.2f}, {high:.2f}" if high < 2 else f"{middle:.0f}, {high:.0f}"


def memory(sets: Sequence[Path], weights: Path | None, most: int) -> str:
    """How resident memory grows over all pages, and what it was at most."""
    cropper = EmbeddedCropper(weights)
    cropper.propose_batch([VisualQuestion(Image.new("RGB", (300, 200), "white"), "What is it?")])
    before, _ = resident()
    for data in sets:
        for asked in pages_of(data, most):
            for _ in range(2):
                cropper.propose_batch(asked[:1])
                cropper.propose_batch((asked * TOGETHER)[:TOGETHER])
    after, highest = resident()
    page = Image.effect_noise(HUGE, 60)
    held, _ = resident()
    cropper.propose_batch([VisualQuestion(page, "What is the total?").opened(page)])
    huge, top = resident()
    return (
        f"\nResident memory, in millions of bytes, decoding included: {before:.0f} when loaded; "
        f"{after - before:+.0f} after all sets, at most {highest - before:+.0f}; for a page of "
        f"{HUGE[0]} x {HUGE[1]} grey pixels {huge - held:+.0f}, at most {top - held:+.0f}.\n"
    )


def resident() -> tuple[float, float]:
    """Resident memory of this process now, and at most since the last call (Linux)."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    now, most = (int(re.findall(rf"{key}:\s+(\d+) kB", told)[0]) for key in ("VmRSS", "VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return now * 1024 / 1e6, most * 1024 / 1e6


if __name__ == "__main__":
    main()
