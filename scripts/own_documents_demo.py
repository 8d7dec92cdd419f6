"""The embedded cropper learns a kind of page that it is weak at, from questions with answers alone.

    python scripts/own_documents_demo.py --out runs/certificates

Writes 120 certificates of one odd house layout with six questions each and no boxes, and 60 others
with boxes, on which nothing is learned (scripts/own_documents_pages.py). Then every way of learning
runs as `cropvlm train embedded --data` does, on two threads, and each file is measured on the 60
pages: hits with their 95 % interval over pages, beside the weights it started from and another
question's crops. What tesseract@512 answers is each run's own figure, on the 30 of the 120 pages
that it kept back. Runs that were broken off go on. The first run reads the pages, the others find
them read.
"""

import argparse
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

READER, METRIC = "tesseract@512", "contains"
WAYS: dict[str, dict[str, Any]] = {
    "places, then rewards": {},
    "places only": {"warm": 1.0},
    "rewards only": {"locate": False},
    "control: places and rewards dealt out at random": {"shuffle_rewards": True},
    "control: rewards dealt out at random": {"locate": False, "shuffle_rewards": True},
}
"""What differs from the defaults of a run."""

CONTROLS = ("page twice", "centre", "random", "crop alone", "equal cost", "true box")
COLOURS = ((0, 84, 200), (0, 140, 90), (214, 84, 0), (120, 120, 120), (190, 60, 160))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages, learn, measure, tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of each run (default 8)")
    parser.add_argument("--seeds", default="1", help="of the runs, such as 1,2 (default 1)")
    parser.add_argument("--ways", default="", help="numbers of ways, from 1 (default: all)")
    parser.add_argument("--pages", type=int, default=120, help="to learn from (default 120)")
    parser.add_argument("--test-pages", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="by which minutes are counted; processor: of all threads together, for a machine that "
        "does other work besides",
    )
    parser.add_argument("--start", type=Path, help="weight file to start from (default: shipped)")
    given = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    from own_documents_pages import write_certificates

    if not (given.out / "test" / "questions.jsonl").exists():
        write_certificates(given.out / "train", range(given.pages), boxes=False)
        test = range(100_000, 100_000 + given.test_pages)
        write_certificates(given.out / "test", test, boxes=True)
    numbers = [int(one) for one in given.ways.split(",") if one] or range(1, len(WAYS) + 1)
    names = [list(WAYS)[number - 1] for number in numbers]
    rows = [measured(given, "start", given.start)]
    for name in names:
        for seed in given.seeds.split(","):
            run = given.out / f"{list(WAYS).index(name) + 1}-seed-{seed}"
            learned(given, WAYS[name], int(seed), run)
            report = json.loads((run / "report.json").read_text())
            score = report["held_out"]["score"]
            rows[0] |= {"score": score["before"]}
            told = {name: report[name] for name in ("minutes", "steps", "seconds")}
            row = measured(given, run.name, run / "policy.onnx")
            rows.append(row | told | {"way": name, "seed": int(seed), "score": score["after"]})
            print(table(rows), flush=True)
    (given.out / "figures.json").write_text(json.dumps(rows, indent=1))
    draw(given.out, names, given.seeds.split(",")).save(given.out / "curve.png")
    print(f"look at {given.out / 'curve.png'}")


def learned(given: argparse.Namespace, way: dict[str, Any], seed: int, run: Path) -> None:
    """Learn as the command does, unless that is done."""
    if (run / "report.json").exists():
        return
    import torch

    from cropvlm_core.cli.own_documents_report import report_of, to_text, write_report
    from cropvlm_core.embedded import weights
    from cropvlm_core.loading import load_target
    from cropvlm_core.training.own_documents.material import read_own
    from cropvlm_core.training.own_documents.plan import OwnPlan
    from cropvlm_core.training.own_documents.run import learn

    torch.set_num_threads(given.threads)
    run.mkdir(parents=True, exist_ok=True)
    for name in ("words.jsonl", "replies.jsonl"):  # the pages are the same: read them once
        other = next(given.out.glob(f"*-seed-*/{name}"), None)
        if other is not None and not (run / name).exists():
            shutil.copy(other, run / name)
    start = given.start or Path(weights.__file__).with_name(weights.WEIGHTS)
    plan = dataclasses.replace(OwnPlan(READER, METRIC, minutes=given.minutes, seed=seed), **way)
    clock = time.process_time if given.clock == "processor" else time.monotonic
    begun = clock()
    questions = read_own(given.out / "train")
    found = learn(plan, questions, load_target(READER), start, run, print, clock)
    report = report_of(found, start="embedded" if given.start is None else f"embedded:{start}")
    print(to_text(report), flush=True)
    write_report(run / "report.json", report | {"seconds": round(clock() - begun, 1)})


def measured(given: argparse.Namespace, name: str, weights: Path | None) -> dict[str, Any]:
    """What a file does on the pages that nothing was learned from."""
    from cropvlm_core.embedded import EmbeddedCropper
    from cropvlm_core.evaluation.evaluate import evaluate

    found = evaluate(
        given.out / "test",
        {"embedded": EmbeddedCropper(weights)},
        out=given.out / "measured" / name,
        without=CONTROLS,
    )
    figures, shuffled = found.figures("embedded"), found.figures("embedded, shuffled")
    assert figures.hit_rate
    assert shuffled.hit_rate
    return {
        "way": "the weights it started from",
        "hits": dataclasses.asdict(figures.hit_rate),
        "area": figures.area,
        "shuffled": shuffled.hit_rate.mean,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        "| way | seed | minutes | steps | hits | reader right | area | another's crop hits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        hits, score = _span(row["hits"]), _span(row["score"])
        lines.append(
            f"| {row['way']} | {row.get('seed', '')} | {row.get('minutes', '')} "
            f"| {row.get('steps', '')} | {hits} | {score} | {row['area']:.1%} "
            f"| {row['shuffled']:.1%} |"
        )
    return "\n".join(lines)


def _span(interval: dict[str, float | None]) -> str:
    """A mean with its interval, in percent."""
    percent = {
        name: "-" if value is None else f"{100 * value:.1f}" for name, value in interval.items()
    }
    return f"{percent['mean']} % [{percent['low']}, {percent['high']}]"


def draw(out: Path, names: Sequence[str], seeds: Sequence[str]) -> Image.Image:
    """Mean reward of sampled crops over the minutes that learned from rewards, one line a run."""
    wide, high, margin = 640, 400, 50
    picture = Image.new("RGB", (wide, high), "white")
    pen = ImageDraw.Draw(picture)
    curves = {}
    for name in names:
        for seed in seeds:
            file = out / f"{list(WAYS).index(name) + 1}-seed-{seed}" / "log.jsonl"
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            curves[name, seed] = [
                (one["minute"], one["reward"]) for one in lines if "reward" in one
            ]
    last = max((minute for curve in curves.values() for minute, _ in curve), default=1.0)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = high - margin - value * (high - 2 * margin)
        pen.line([(margin, y), (wide - 10, y)], fill=(225, 225, 225))
        pen.text((8, y - 6), f"{value:.2f}", fill="black")
    pen.text((margin, 8), "reward of sampled crops over minutes of training", fill="black")
    for index, ((name, seed), curve) in enumerate(curves.items()):
        colour = COLOURS[list(WAYS).index(name) % len(COLOURS)]
        places = [
            (
                margin + minute / last * (wide - margin - 20),
                high - margin - value * (high - 2 * margin),
            )
            for minute, value in smoothed(curve)
        ]
        if len(places) > 1:
            pen.line(places, fill=colour, width=2)
            pen.text((margin + 6, 24 + 13 * index), f"{name}, seed {seed}", fill=colour)
    pen.text((wide - 60, high - margin + 12), f"{last:.1f} min", fill="black")
    return picture


def smoothed(curve: Sequence[tuple[float, float]], reach: int = 4) -> list[tuple[float, float]]:
    """Each value as the mean of those around it."""
    return [
        (minute, sum(value for _, value in part) / len(part))
        for index, (minute, _) in enumerate(curve)
        for part in [curve[max(0, index - reach) : index + reach + 1]]
    ]


if __name__ == "__main__":
    main()
