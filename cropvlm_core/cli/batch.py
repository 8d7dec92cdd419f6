"""``cropvlm batch``: zoom into thousands of pages, into rows and crops that outlive every fault."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from cropvlm_core.cli import arguments
from cropvlm_core.cli.living_line import LivingLine, time_text

if TYPE_CHECKING:
    from cropvlm_core.bulk import BulkProgress, BulkReport


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "batch",
        help="zoom into thousands of pages",
        description="Zoom into every page of a folder for each question, or into those of a "
        "question set. DIR/rows.jsonl gets one object a page and question, DIR/crops the crops. "
        "The same command again goes on where it was broken off. A page that cannot be read, or "
        "that kills or hangs the process that opens it, is a row that says so, and the rest goes "
        "on.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a folder of images (at any depth), a JSONL file, a folder with questions.jsonl, or a "
        "folder of such folders",
    )
    parser.add_argument(
        "--question",
        metavar="TEXT",
        action="append",
        default=[],
        help="what to ask about every page of a folder; may be given several times",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for rows.jsonl and crops"
    )
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    parser.add_argument(
        "--workers",
        metavar="N",
        type=arguments.positive,
        help="processes at work (default: one for each core; one for hf: models)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=arguments.positive,
        default=60,
        help="how long a page may take for each question about it (default: 60)",
    )
    parser.add_argument(
        "--memory",
        metavar="MIB",
        type=arguments.positive,
        default=2048,
        help="how much memory a page may take beyond the cropper (default: 2048; Linux)",
    )
    parser.add_argument("--no-crops", action="store_true", help="write no crops, only rows")
    parser.add_argument(
        "--overlay", action="store_true", help="also write each page with its crop outlined"
    )
    parser.add_argument(
        "--again", action="store_true", help="try failed and quarantined pages again"
    )
    parser.add_argument(
        "--limit", metavar="N", type=arguments.positive, help="only the first N pages"
    )
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Do the job, and tell what came of it."""
    from cropvlm_core.bulk import zoom_pages

    meter = _Meter()
    with _Signals() as signals:
        try:
            report = zoom_pages(
                given.data,
                given.question,
                out=given.out,
                cropper=given.cropper,
                notation=given.notation,
                input_size=given.input_size,
                max_crops=given.max_crops,
                min_confidence=given.min_confidence,
                crops=not given.no_crops,
                overlays=given.overlay,
                workers=given.workers,
                timeout=given.timeout,
                memory=given.memory,
                limit=given.limit,
                again=given.again,
                progress=meter,
                stop=lambda: signals.heard is not None,
            )
        except KeyboardInterrupt:
            if signals.heard == signal.SIGTERM:
                return 128 + signal.SIGTERM
            raise
        finally:
            meter.line.clear()
    if report.missing and signals.heard is not None:
        kept = f"{report.rows} rows are kept in {given.out}; the same command goes on there"
        print(f"cropvlm: {kept}", file=sys.stderr)
        if signals.heard == signal.SIGINT:
            raise KeyboardInterrupt
        return 128 + signals.heard
    print(json.dumps(report.to_dict()) if given.json else f"{given.out}: {_to_text(report)}")
    return 0


def _to_text(report: "BulkReport") -> str:
    parts = [f"{report.ok} ok ({report.zoomed} with a crop)"]
    parts += [f"{report.failed} failed"] if report.failed else []
    parts += [f"{report.quarantined} quarantined"] if report.quarantined else []
    return f"{report.rows} rows: {', '.join(parts)}; {report.fresh} in {time_text(report.seconds)}"


class _Meter:
    """How far the job is, how fast, and how long it will take."""

    def __init__(self) -> None:
        self.line = LivingLine()

    def __call__(self, progress: "BulkProgress") -> None:
        if not self.line.due:
            return
        parts = [f"{progress.done} of {progress.total}"]
        parts += [f"{progress.failed} failed"] if progress.failed else []
        parts += [f"{progress.quarantined} quarantined"] if progress.quarantined else []
        if progress.fresh and progress.seconds:
            parts.append(f"{progress.fresh / progress.seconds:.3g} a second")
        if progress.seconds_left is not None:
            parts.append(f"{time_text(progress.seconds_left)} to go")
        self.line.show(", ".join(parts))


class _Signals:
    """Hears Ctrl-C and SIGTERM, so that finished rows are written first; a second one means now."""

    def __init__(self) -> None:
        self.heard: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.heard is not None:
            raise KeyboardInterrupt
        self.heard = number
