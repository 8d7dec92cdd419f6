"""``cropvlm batch``: zoom into thousands of pages, into rows and crops that outlive every fault."""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from cropvlm_core.cli import arguments
from cropvlm_core.cli.living_line import LivingLine, time_text
from cropvlm_core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from cropvlm_core.bulk import BulkProgress, BulkReport

_ENGINES = ("processes", "ray")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "batch",
        help="zoom into thousands of pages",
        description="Zoom into every page of a folder for each question, or into those of a "
        "question set. DIR/rows.jsonl gets one object a page and question, DIR/crops the crops "
        "(--engine ray: Parquet files in DIR/rows get both). "
        "The same command again goes on where it was broken off. A page that cannot be read, or "
        "that kills or hangs the process that opens it, is a row that says so, and the rest goes "
        "on.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a folder of images (at any depth), a JSONL file, a folder with questions.jsonl, or a "
        "folder of such folders; with --engine ray also an object store's URI (s3://, gs://, ...), "
        "a Parquet file, or a folder or URI of such",
    )
    parser.add_argument(
        "--question",
        metavar="TEXT",
        action="append",
        default=[],
        help="what to ask about every page of a folder; may be given several times",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        help="folder for rows.jsonl and crops; with --engine ray also an object store's URI",
    )
    parser.add_argument(
        "--engine",
        metavar="NAME",
        choices=_ENGINES,
        default=_ENGINES[0],
        help="who does the work: processes of this machine (processes), or Ray (ray), on this "
        "machine or the cluster of RAY_ADDRESS (default: processes)",
    )
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    parser.add_argument(
        "--workers",
        metavar="N",
        type=arguments.positive,
        help="processes at work (default: one for each core; one for hf: models; with --engine ray "
        "one for each core, on a cluster less one)",
    )
    parser.add_argument(
        "--gpus",
        metavar="N",
        type=_share_of_gpus,
        help="GPUs for each worker of --engine ray, or a share of one (default: none)",
    )
    parser.add_argument(
        "--pages-a-file",
        metavar="N",
        type=arguments.positive,
        help="the most pages whose rows --engine ray writes into one file, at once (default: 64)",
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
    zoom_pages = _on_ray(given) if given.engine == "ray" else _here(given)
    meter = _Meter()
    with _Signals() as signals:
        try:
            report = zoom_pages(
                given.data,
                given.question,
                out=given.out,
                **_cropper(given),
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


def _cropper(given: argparse.Namespace) -> dict[str, Any]:
    """The cropper as both engines take it."""
    if given.checkpoint is None and given.constrain is None:
        names = ("cropper", "notation", "input_size")
        return {name: getattr(given, name) for name in names}
    from cropvlm_core.loading import load_cropper

    return {"cropper": partial(load_cropper, given.cropper, **arguments.cropper_options(given))}


def _here(given: argparse.Namespace) -> "Callable[..., BulkReport]":
    from cropvlm_core.bulk import zoom_pages

    if given.gpus is not None or given.pages_a_file is not None:
        what = "--gpus" if given.gpus is not None else "--pages-a-file"
        raise DataError(f"expected --engine ray for {what}, got --engine {given.engine}")
    return zoom_pages


def _on_ray(given: argparse.Namespace) -> "Callable[..., BulkReport]":
    if any(find_spec(package) is None for package in ("ray", "pyarrow")):
        raise MissingExtraError("--engine ray", "ray")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # nothing starts Ray again at the end
    from cropvlm_core.bulk.ray_engine import zoom_pages

    told = {"gpus": given.gpus, "pages_a_file": given.pages_a_file}

    def zoom(*words: Any, **options: Any) -> "BulkReport":
        with contextlib.redirect_stdout(sys.stderr):  # where a worker died, Ray prints that
            return zoom_pages(*words, **options)

    return partial(zoom, **{name: value for name, value in told.items() if value})


def _share_of_gpus(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return share


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
