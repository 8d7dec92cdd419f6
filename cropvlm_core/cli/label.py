"""``cropvlm label``: a teacher names boxes for a question set, to train a cropper on."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.training.labelling import LabelProgress, LabelReport

_SHEETS = (".png", ".jpg", ".jpeg")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "label",
        help="let a teacher propose boxes for a question set",
        description="Let a teacher, mostly a large model that can point, propose a box for each "
        "question of a set, and grow the boxes as the CropVLM paper does, the smallest the most. "
        "The same command again goes on where a stopped run was.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a JSONL file, a folder with questions.jsonl, or a folder of such folders",
    )
    parser.add_argument(
        "--teacher",
        metavar="SPEC",
        required=True,
        help="who proposes: openai:MODEL[@URL] (any OpenAI-compatible server; the key comes from "
        "OPENAI_API_KEY, the server without @URL from OPENAI_BASE_URL) | hf:FOLDER_OR_ID | any "
        "other cropper",
    )
    parser.add_argument(
        "--out", metavar="FILE.jsonl", type=Path, required=True, help="the question set to write"
    )
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    arguments.add_limit(parser)
    parser.add_argument(
        "--no-growth", action="store_true", help="keep the boxes as the teacher drew them"
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=arguments.positive,
        default=8,
        help="questions at a time, and the most that are asked again after a stop (default: 8)",
    )
    parser.add_argument(
        "--sheet",
        metavar="FILE.png",
        type=Path,
        help="also write small pictures of the first 25 pages with the teacher's box (green) and "
        "the grown one (red)",
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Ask the teacher, grow its boxes, and tell."""
    from cropvlm_core.loading import load_cropper
    from cropvlm_core.questions import read_questions
    from cropvlm_core.training.labelling import grow_labels, label, label_sheet

    _check_outputs(given)
    total = sum(1 for _ in read_questions(given.data, given.limit))  # a bad row shows at once
    teacher = load_cropper(given.teacher, **arguments.cropper_options(given))
    watched = sys.stderr.isatty()
    try:
        label(
            read_questions(given.data, given.limit),
            teacher,
            given.out,
            batch=given.batch,
            progress=_Meter(total) if watched else None,
        )
    finally:
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    report = grow_labels(given.out, growth=not given.no_growth)
    if given.sheet is not None:
        label_sheet(given.out).save(given.sheet)
    print(f"{given.out}: {_to_text(report, not given.no_growth)}")
    return 0


class _Meter:
    """Shows how far labelling is, how fast, and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.start = time.monotonic()

    def __call__(self, progress: "LabelProgress") -> None:
        """Rewrite the line on the terminal."""
        parts = [f"{progress.done} of {self.total}", f"{progress.refused} refused"]
        if progress.asked:
            rate = progress.asked / (time.monotonic() - self.start)
            left = max(0, self.total - progress.done) / rate
            minutes, seconds = divmod(round(left), 60)
            hours, minutes = divmod(minutes, 60)
            parts += [f"{rate:.2g} a second", f"{hours}:{minutes:02}:{seconds:02} left"]
        print(f"\r\x1b[K{', '.join(parts)}", end="", file=sys.stderr, flush=True)


def _to_text(report: "LabelReport", growth: bool) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.refused.items())
    text = f"{report.labelled} labelled, {sum(report.refused.values())} refused"
    text += f" ({reasons})" if reasons else ""
    if report.area_before is None or report.area_after is None:
        return text
    text += f"; median area {report.area_before:.2%} of the page"
    return f"{text}, {report.area_after:.2%} after growth" if growth else text


def _check_outputs(given: argparse.Namespace) -> None:
    """Refuse before anything is asked what could not be written, or should not be."""
    from cropvlm_core.errors import SourceError, shorten
    from cropvlm_core.questions import QUESTIONS_FILE

    data, out = Path(given.data).resolve(), given.out.resolve()
    one_set = (data / QUESTIONS_FILE).is_file()
    sets = out.parent if one_set else out.parent.parent
    if out == data or (out.name == QUESTIONS_FILE and data == sets):
        raise SourceError(
            f"expected a file to write outside of the question set, got {shorten(str(given.out))}"
        )
    for file in filter(None, (given.out, given.sheet)):
        if not file.parent.is_dir():
            raise SourceError(f"expected a folder to write into, got {shorten(str(file.parent))}")
    if given.sheet is not None and given.sheet.suffix.lower() not in _SHEETS:
        raise SourceError(
            f"expected a file to write that ends in {', '.join(_SHEETS)}, "
            f"got {shorten(str(given.sheet))}"
        )
