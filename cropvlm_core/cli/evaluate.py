"""``cropvlm evaluate``: does zooming help a target, what does it cost, and where does it hurt?"""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.evaluation.run import Progress

_LIVING_SECONDS = 0.2  # between two states of the line of progress in a terminal
_PLAIN_SECONDS = 30.0  # between two lines of progress where there is none


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="measure what zooming does for a target on a question set",
        description="Put each question of DATA to the target with and without crops, beside "
        "controls, and report scores with intervals, who was rescued and harmed, hits, area, cost "
        "and time. Without --target only the boxes are measured. The same command again goes on "
        "where it was broken off.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a JSONL file, a folder with questions.jsonl, a folder of such folders, or a "
        "benchmark, NAME[:SPLIT][=FOLDER_OR_ID] of textvqa, docvqa, infographicvqa, stvqa, vstar, "
        "hrbench4k, hrbench8k, chartqa",
    )
    parser.add_argument(
        "--target",
        metavar="SPEC",
        help="the model that answers: openai:MODEL[@URL] | hf:FOLDER_OR_ID | tesseract@N | "
        "constant:TEXT",
    )
    parser.add_argument(
        "--cropper",
        metavar="SPEC[,SPEC]",
        default="embedded",
        help="the croppers to measure (default: embedded); controls are added",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="anls | contains | contains_exactly | exact_match | mixed_accuracy | multiple_choice "
        "| relaxed_accuracy | vqa_accuracy (default: the benchmark's own; contains for tesseract; "
        "else mixed_accuracy)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for rows.jsonl, results.json and report.html"
    )
    parser.add_argument(
        "--target-size",
        metavar="N",
        type=arguments.positive,
        help="longest edge in pixels at which the target sees each picture (default: as it is)",
    )
    parser.add_argument(
        "--token-rule",
        metavar="NAME",
        help="how the target counts image tokens (default: by its name)",
    )
    parser.add_argument(
        "--without",
        metavar="VIEW[,VIEW]",
        default="",
        help="leave out: page twice, centre, random, shuffled, crop alone, equal cost, true box",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the controls (default: 0)"
    )
    parser.add_argument(
        "--pictures",
        metavar="N",
        type=arguments.positive,
        default=200,
        help="most questions shown with pictures in report.html (default: 200)",
    )
    arguments.add_crop_limits(parser)
    arguments.add_limit(parser)
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Evaluate, and print the figures."""
    from cropvlm_core.evaluation import report
    from cropvlm_core.evaluation.evaluate import evaluate

    watch = _Watch()
    try:
        results = evaluate(
            given.data,
            _names(given.cropper),
            given.target,
            out=given.out,
            metric=given.metric,
            target_size=given.target_size,
            token_rule=given.token_rule,
            without=_names(given.without),
            seed=given.seed,
            max_crops=given.max_crops,
            min_confidence=given.min_confidence,
            limit=given.limit,
            pictures=given.pictures,
            progress=watch,
        )
    except KeyboardInterrupt:
        watch.clear()
        if given.out is not None:
            kept = f"{watch.done} questions are kept in {given.out}; the same command goes on there"
            print(f"cropvlm: {kept}", file=sys.stderr)
        raise
    finally:
        watch.clear()
    print(json.dumps(results.to_dict()) if given.json else report.to_text(results))
    if given.out is not None and not given.json:
        print(f"\n{given.out}: rows.jsonl, results.json, report.html (open it in a browser)")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class _Watch:
    """Progress on stderr: one living line in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.done = 0
        self._living = sys.stderr.isatty()
        self._last = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        self.done = progress.done
        now = time.monotonic()
        if now - self._last < (_LIVING_SECONDS if self._living else _PLAIN_SECONDS):
            return
        self._last = now
        if self._living:
            print(f"\r\x1b[K{_line(progress)}", end="", file=sys.stderr, flush=True)
        else:
            print(_line(progress), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the living line away."""
        if self._living:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _line(progress: "Progress") -> str:
    total = "" if progress.total is None else f"/{progress.total}"
    parts = [f"{progress.done}{total} questions"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.fresh and progress.seconds:
        parts.append(f"{progress.fresh / progress.seconds:.1f} a second")
    if progress.seconds_left is not None:
        parts.append(f"{_time(progress.seconds_left)} to go")
    parts += [f"{name} {100 * gain:+.1f}" for name, gain in progress.gains.items()]
    return ", ".join(parts)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
