"""Measure how many pages a second the embedded cropper does, beside the bare network.

    python scripts/embedded_throughput.py                    # rendered pages, needs fonts
    python scripts/embedded_throughput.py DATA/sroie --workers 2

The floor is what ONNX Runtime takes for the same graph: `propose_batch` is called for 16 decoded
pages with a question each, then the very inputs that it gave the network go through the same
session again, and nothing else; by turns one or the other comes first. So another program on the
machine slows both alike. `share of the floor` is the floor's time over the cropper's, the median
over batches. Workers are processes of one thread each that measure at the same time. Pages are
decoded before, and every batch finds pages that the cropper does not remember: a pixel is drawn on
each.

Then where the time goes, in processor milliseconds a page, and the resident memory of one process
after 1, 10 and 100 batches (Linux).
"""

import argparse
import functools
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from embedded_speed import pages_of, resident
from PIL import Image

from cropvlm_core.embedded import EmbeddedCropper, page_input
from cropvlm_core.embedded import cropper as cropping
from cropvlm_core.embedded.remembered import RememberedPages
from cropvlm_core.embedded.session import usual_threads
from cropvlm_core.questions import VisualQuestion

BATCH = 16
PRINTED = ("receipt", "invoice", "order", "statement", "form", "letter", "table", "label")
"""The kinds of rendered pages: those that need fonts only."""
AFTER = (1, 10, 100)
Batch = list[VisualQuestion]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", nargs="?", type=Path, help="a question set")
    parser.add_argument("--weights", type=Path, help="an ONNX file (default: the one shipped)")
    parser.add_argument("--pages", type=int, default=64, help="pages of a worker (default 64)")
    parser.add_argument("--rounds", type=int, default=4, help="how often (default 4)")
    parser.add_argument(
        "--workers", type=int, default=usual_threads(), help="at most (default: one a core)"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory")
    given = parser.parse_args(argv)
    told = given.data, given.weights, given.pages
    print("| workers | pages a second | share of the floor | a core: pages a processor second |")
    print("|---|---|---|---|", flush=True)
    for workers in range(1, given.workers + 1):
        print(at_once(workers, *told, given.rounds), flush=True)
    print("\n| processor milliseconds a page | |\n|---|---|")
    for stage, spent in apart(stages, *told):
        print(f"| {stage} | {spent:.2f} |")
    if not given.no_memory:
        grown = ", ".join(f"{most:.0f} after {after}" for after, most in apart(memory, *told))
        print(f"\nResident memory in millions of bytes after so many batches: {grown}.")


def apart(measure: Callable[..., Any], *told: Any) -> Any:
    """What ``measure`` returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, told)


def batches(data: Path | None, most: int, seed: int = 0) -> list[Batch]:
    """Batches of ``BATCH`` decoded pages, a question each."""
    pages = rendered(most, seed) if data is None else pages_of(data, most)
    asked = [page[number % len(page)] for number, page in enumerate(pages)]
    if len(asked) < BATCH:
        raise SystemExit(f"expected at least {BATCH} pages, got {len(asked)}")
    return [asked[start : start + BATCH] for start in range(0, len(asked) - BATCH + 1, BATCH)]


def rendered(most: int, seed: int) -> Iterator[Batch]:
    """Pages of the page factory."""
    from cropvlm_core.training.pages import render_page

    for number, kind in enumerate(islice(cycle(PRINTED), most)):
        page = render_page(1000 * seed + number, kind)
        image = page.image.convert("RGB")
        yield [VisualQuestion(image, asked.question) for asked in page.asked]


def anew(batch: Batch) -> Batch:
    """The batch, a pixel of each page changed, so that none of them is remembered."""
    for question in batch:
        image = question.open()
        image.putpixel((0, 0), tuple(random.randbytes(3)) if image.mode == "RGB" else 0)
    return batch


class Watched:
    """The session of a cropper: runs it, and keeps what went in."""

    def __init__(self, cropper: EmbeddedCropper) -> None:
        """Step between the cropper and ONNX Runtime."""
        self.bare = cropper._session._session
        self.runs: list[tuple[Any, Any]] = []
        cropper._session._session = self

    def run(self, names: Any, feeds: Any) -> Any:
        """A run of the network."""
        self.runs.append((names, feeds))
        return self.bare.run(names, feeds)

    def again(self) -> None:
        """The same runs, and nothing else."""
        for names, feeds in self.runs:
            self.bare.run(names, feeds)


@dataclass
class Took:
    """Seconds of the clock and of the processor, of some calls."""

    clock: list[float]
    processor: list[float]

    def time(self, call: Callable[[], object]) -> None:
        """Add a call."""
        clock, processor = time.perf_counter(), time.process_time()
        call()
        self.processor.append(time.process_time() - processor)
        self.clock.append(time.perf_counter() - clock)


def work(
    data: Path | None, weights: Path | None, pages: int, rounds: int, seed: int, start: Barrier
) -> tuple[Took, Took]:
    """What a worker's batches took, and the bare network for them."""
    cropper, own = EmbeddedCropper(weights, threads=1), batches(data, pages, seed)
    watched = Watched(cropper)
    cropper.propose_batch(anew(own[-1]))
    ours, floor = Took([], []), Took([], [])
    start.wait()
    for turn in range(rounds * len(own)):
        batch = anew(own[turn % len(own)])
        watched.runs.clear()
        if turn % 2:  # the network first: its inputs come from a call that is not timed
            cropper.propose_batch(batch)
            floor.time(watched.again)
            ours.time(functools.partial(cropper.propose_batch, anew(batch)))
        else:
            ours.time(functools.partial(cropper.propose_batch, batch))
            floor.time(watched.again)
    return ours, floor


def at_once(workers: int, data: Path | None, weights: Path | None, pages: int, rounds: int) -> str:
    """A line of the first table."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(workers) as pool:
        start = manager.Barrier(workers)
        told = [(data, weights, pages, rounds, seed, start) for seed in range(workers)]
        took = pool.starmap(work, told, chunksize=1)
    clock = sum(BATCH / np.median(ours.clock) for ours, _ in took)
    bare = sum(BATCH / np.median(floor.clock) for _, floor in took)
    core = np.mean([BATCH / np.median(ours.processor) for ours, _ in took])
    core_bare = np.mean([BATCH / np.median(floor.processor) for _, floor in took])
    shares = [
        np.median(np.concatenate([np.divide(floor.clock, ours.clock) for ours, floor in took])),
        np.median(
            np.concatenate([np.divide(floor.processor, ours.processor) for ours, floor in took])
        ),
    ]
    return (
        f"| {workers} | {clock:.1f}, floor {bare:.1f} | {shares[0]:.1%} by the clock, "
        f"**{shares[1]:.1%}** by processor time | {core:.1f}, floor {core_bare:.1f} |"
    )


def stages(data: Path | None, weights: Path | None, pages: int) -> list[tuple[str, float]]:
    """Where the time goes: processor milliseconds a page, medians over batches."""
    cropper, own = EmbeddedCropper(weights, threads=1), batches(data, pages)
    watched = Watched(cropper)
    cropper.propose_batch(anew(own[-1]))
    found: dict[str, list[float]] = defaultdict(list)
    for batch in own * 3:
        spent: dict[str, float] = dict.fromkeys(_STAGES, 0.0)
        watched.runs.clear()
        anew(batch)
        with ExitStack() as changed:
            for stage, (owner, name) in (_STAGES | {"network": (watched, "run")}).items():
                call = timed(getattr(owner, name), stage, spent)
                changed.enter_context(mock.patch.object(owner, name, call))
            begin = time.process_time()
            cropper.propose_batch(batch)
            whole = time.process_time() - begin
        spent["the rest"] = whole - sum(spent.values())
        for stage, seconds in (spent | {"all": whole}).items():
            found[stage].append(1000 * seconds / BATCH)
    return [(stage, float(np.median(values))) for stage, values in found.items()]


_STAGES: dict[str, tuple[Any, str]] = {
    "colours to grey": (cropping, "to_grey"),
    "telling pages apart (SHA-256)": (RememberedPages, "key"),
    "trimming to the ink": (page_input, "ink_extent"),
    "scaling, once or twice": (Image.Image, "resize"),
    "evening out, once or twice": (page_input, "even_out"),
    "height of lines": (page_input, "line_height"),
    "whether it is a photograph": (page_input, "photographic"),
    "words of the question": (cropping, "question_input"),
    "boxes": (cropping, "propose"),
}


def timed(call: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The same function; its processor seconds are added to ``spent``."""

    @functools.wraps(call)
    def run(*given: Any, **named: Any) -> Any:
        begin = time.process_time()
        try:
            return call(*given, **named)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.process_time() - begin

    return run


def memory(data: Path | None, weights: Path | None, pages: int) -> list[tuple[int, float]]:
    """Resident memory after so many batches, in millions of bytes."""
    cropper, own = EmbeddedCropper(weights, threads=1), batches(data, pages)
    found = []
    for number, batch in enumerate(islice(cycle(own), AFTER[-1]), 1):
        cropper.propose_batch(anew(batch))
        if number in AFTER:
            found.append((number, resident()[0]))
    return found


if __name__ == "__main__":
    main()
