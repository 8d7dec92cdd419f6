"""Show that a long bulk job keeps its memory flat, and loses no row when it is killed.

    python scripts/bulk_endurance.py [--rows 100000] [--kills 10] [--workers 2] [--no-crops]

Writes small pages, no two alike, and among them pages that do harm: files that are no image, and
pages at which the cropper crashes, stops for ever, or fails with a bug. Zooms into all of them for
four questions, once in one piece and once killed (SIGKILL) at random moments, then counts: every
question about every page has one whole row, with the outcome that its page should have, and every
crop is whole. Memory is that of the main process and of its largest worker, as the kernel tells it
now and then. Linux.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.bulk import zoom_pages
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.questions import VisualQuestion

QUESTIONS = ["What is the total?", "What is the date?", "Who sent it?", "Is it signed?"]
RED, LIME, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
HARMFUL = {"crash": RED, "stop": LIME, "bug": BLUE}
EACH = 3  # harmful pages of each kind
SPOILT = (b"", b"Dear reader, this is a letter.", b"\x89PNG\r\n\x1a\n" + b"\0" * 100)


class TouchyCropper(FixedCropper):
    """The middle of a page; harm at pages of one colour."""

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Look at the colour first."""
        for question in questions:
            colour = question.open().getpixel((0, 0))
            if colour == RED:
                os.kill(os.getpid(), signal.SIGSEGV)
            elif colour == LIME:
                os.kill(os.getpid(), signal.SIGSTOP)
            elif colour == BLUE:
                raise ZeroDivisionError
        return super().propose_batch(questions)


def cropper() -> Cropper:
    """What each worker calls."""
    return TouchyCropper(Box(0.25, 0.25, 0.75, 0.75), name="touchy")


def main(argv: Sequence[str] | None = None) -> None:
    """Run both, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-crops", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.job:
        zoom_pages(
            given.job[0],
            QUESTIONS,
            out=given.job[1],
            cropper=cropper,
            workers=given.workers,
            crops=not given.no_crops,
            timeout=2,
        )
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = given.rows // len(QUESTIONS)
        expected = write_pages(folder / "pages", pages, random.Random(given.seed))
        print("| rows | seconds | main process, MB | largest worker, MB |\n|---|---|---|---|")
        watch(command(given, folder / "pages", folder / "whole"), folder / "whole", given.rows)
        bad = check(folder / "whole", expected)
        at = kill_now_and_then(given, folder / "pages", folder / "killed")
        print(f"killed {len(at)} times, with {', '.join(map(str, at))} rows on the disk")
        bad += check(folder / "killed", expected)
        if bad or len(at) < given.kills:
            raise SystemExit(1)


def write_pages(folder: Path, count: int, dice: random.Random) -> dict[str, str]:
    """Write pages of 40 x 60 pixels, and return the status that the rows of each shall have."""
    kinds = [kind for kind in HARMFUL for _ in range(EACH)] + list(SPOILT)
    harmful = dict(zip(dice.sample(range(count), len(kinds)), kinds, strict=True))
    expected = {}
    for number in range(count):
        file = folder / str(number // 1000) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = harmful.get(number)
        if isinstance(kind, bytes):
            file.write_bytes(kind)
            status = "failed"
        else:
            picture = Image.new("RGB", (40, 60), HARMFUL[kind] if kind else "white")
            picture.putpixel((1, 1), (number >> 16 & 255, number >> 8 & 255, number & 255))
            picture.save(file)
            status = "quarantined" if kind else "ok"
        expected[str(file.relative_to(folder))] = status
    return expected


def command(given: argparse.Namespace, pages: Path, out: Path) -> list[str]:
    """This script as the job itself."""
    words = [sys.executable, __file__, "--workers", str(given.workers)]
    words += ["--no-crops"] if given.no_crops else []
    return [*words, "--job", str(pages), str(out)]


def watch(words: Sequence[str], out: Path, rows: int) -> None:
    """Run to the end, and print the memory at some numbers of rows."""
    start = time.monotonic()
    marks = [mark for mark in (1000, *range(10_000, rows, 10_000)) if mark < rows]
    main_process = largest = 0.0
    with subprocess.Popen(words) as job:
        while job.poll() is None:
            time.sleep(0.2)
            largest = max([largest, *map(memory, workers_of(job.pid))])
            if marks and count_lines(out) >= marks[0]:
                print_memory(marks.pop(0), start, memory(job.pid), largest)
                largest = 0.0
            main_process = memory(job.pid) or main_process
    print_memory(count_lines(out), start, main_process, largest)
    if job.returncode:
        raise SystemExit(f"the job ended with {job.returncode}")


def print_memory(rows: int, start: float, main_process: float, largest: float) -> None:
    """Print a line of the table."""
    seconds = time.monotonic() - start
    print(f"| {rows} | {seconds:.0f} | {main_process:.1f} | {largest:.1f} |", flush=True)


def memory(process: int) -> float:
    """Resident memory in MB; 0 of a process that has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def workers_of(process: int) -> list[int]:
    """The processes below a process, at any depth."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *workers_of(child)]
    return found


def kill_now_and_then(given: argparse.Namespace, pages: Path, out: Path) -> list[int]:
    """Kill at random numbers of rows, then let it finish; return the numbers."""
    dice = random.Random(given.seed)
    words = command(given, pages, out)
    at = []
    for mark in sorted(dice.sample(range(1, given.rows - given.rows // 50), given.kills)):
        with subprocess.Popen(words) as job:
            while job.poll() is None:
                time.sleep(dice.uniform(0.001, 0.05))
                if (there := count_lines(out)) >= mark:
                    job.kill()
                    at.append(there)
                    break
    subprocess.run(words, check=True)
    return at


def count_lines(out: Path) -> int:
    """Number of whole rows."""
    file = out / "rows.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def check(out: Path, expected: dict[str, str]) -> int:
    """Count what is wrong with the rows and crops of a job, and print it."""
    found: Counter[tuple[str, str]] = Counter()
    keys: set[str] = set()
    torn = other = broken = files = 0
    for line in (out / "rows.jsonl").read_bytes().split(b"\n")[:-1]:
        try:
            row: dict[str, Any] = json.loads(line)
        except ValueError:
            torn += 1
            continue
        found[row["image"], row["question"]] += 1
        keys.add(row["key"])
        other += row["status"] != expected[row["image"]]
        for crop in row["crops"]:
            if crop["file"] is not None:
                files += 1
                broken += not is_whole(out / crop["file"])
    lost = len(expected) * len(QUESTIONS) - len(found)
    doubled = sum(found.values()) - len(found)
    same_key = sum(found.values()) - len(keys)
    statuses = Counter(expected.values())
    print(
        f"{out.name}: {sum(found.values())} rows; lost {lost}, doubled {doubled}, torn {torn}, "
        f"of the same key {same_key}, with another outcome than their page's {other}; {files} "
        f"crops, not whole {broken}; pages {dict(statuses)}",
        flush=True,
    )
    return lost + doubled + torn + same_key + other + broken


def is_whole(file: Path) -> bool:
    """Whether a PNG file is there to its end."""
    try:
        return file.read_bytes().endswith(b"IEND\xaeB`\x82")
    except OSError:
        return False


if __name__ == "__main__":
    main()
