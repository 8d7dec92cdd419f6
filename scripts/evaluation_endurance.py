"""Show that a long evaluation keeps its memory flat, and loses no row when it is killed.

    python scripts/evaluation_endurance.py [--questions 10000] [--kills 10] [--seed 0]

Renders small pages with text, puts all questions about them to ``constant:TEXT``, once in one piece
and once killed (SIGKILL) at random moments, and compares: every question has one row, and the rows
are the same. Memory is the peak of the process, as the kernel tells it.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

QUESTIONS_A_PAGE = 10
COMMAND = (sys.executable, "-c", "from cropvlm_core.cli import main; raise SystemExit(main())")


def main(argv: Sequence[str] | None = None) -> None:
    """Run both, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_set(folder / "data", given.questions)
        print("| questions | seconds | peak memory, MB |\n|---|---|---|")
        for limit in dict.fromkeys((given.questions // 10, given.questions)):
            out = folder / f"whole-{limit}"
            start = time.monotonic()
            peak = finish(command(data, out, limit))
            print(f"| {limit} | {time.monotonic() - start:.0f} | {peak:.0f} |", flush=True)
        whole = rows(folder / f"whole-{given.questions}")
        broken = folder / "killed"
        at = kill_now_and_then(command(data, broken, given.questions), broken, given)
        print(f"killed {len(at)} times, with {', '.join(map(str, at))} rows on the disk")
        again = rows(broken)
        numbers = [row["number"] for row in again]
        lost, doubled = given.questions - len(set(numbers)), len(numbers) - len(set(numbers))
        same = [facts(row) for row in again] == [facts(row) for row in whole]
        print(f"rows lost {lost}, doubled {doubled}, other than without kills: {not same}")
        if lost or doubled or not same or len(at) < given.kills:
            raise SystemExit(1)


def write_set(folder: Path, count: int) -> Path:
    """Write pages of 200 x 280 pixels and ten questions a page."""
    folder.mkdir()
    lines = []
    for number in range(count):
        page, place = divmod(number, QUESTIONS_A_PAGE)
        if place == 0:
            picture = Image.new("RGB", (200, 280), "white")
            for row in range(QUESTIONS_A_PAGE):
                ImageDraw.Draw(picture).text((20, 10 + 26 * row), f"{page} {row}", fill="black")
            picture.save(folder / f"{page}.png")
        top = 100 * (10 + 26 * place) / 280
        asked = {
            "id": str(number),
            "doc": str(page),
            "image": f"{page}.png",
            "question": f"What stands in line {place}?",
            "answers": [f"{page} {place}"],
            "boxes": [[10, top, 50, top + 4]],
        }
        lines.append(json.dumps(asked))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def command(data: Path, out: Path, limit: int) -> list[str]:
    """The evaluation, with all its controls."""
    words = ["evaluate", str(data), "--target", "constant:12 3", "--cropper", "centre"]
    return [*COMMAND, *words, "--limit", str(limit), "--pictures", "20", "--out", str(out)]


def finish(words: Sequence[str]) -> float:
    """Run to the end; return the peak of memory in MB."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words[3:])} ended with {process.returncode}")
    return usage.ru_maxrss / 1024


def kill_now_and_then(words: Sequence[str], out: Path, given: argparse.Namespace) -> list[int]:
    """Kill at random numbers of rows, then let it finish; return the numbers."""
    dice = random.Random(given.seed)
    marks = sorted(dice.sample(range(1, given.questions), given.kills))
    file = out / "rows.jsonl"
    at = []
    for mark in marks:
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                if file.exists() and (there := count_lines(file)) >= mark:
                    process.send_signal(signal.SIGKILL)
                    at.append(there)
                    break
                time.sleep(dice.uniform(0.001, 0.02))
    finish(words)
    return at


def count_lines(file: Path) -> int:
    """Number of whole lines."""
    return file.read_bytes().count(b"\n")


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of an evaluation."""
    with (folder / "rows.jsonl").open() as stream:
        return [json.loads(line) for line in stream]


def facts(row: dict[str, Any]) -> Any:
    """A row without its times."""
    views = {
        name: {key: value for key, value in cell.items() if "seconds" not in key}
        for name, cell in row["views"].items()
    }
    return row | {"views": views}


if __name__ == "__main__":
    main()
