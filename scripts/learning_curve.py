"""GRPO learns where to look, shown on a CPU: a small random SmolVLM, no box label after the start.

    python scripts/learning_curve.py --out runs/learning

Pages with a card somewhere; the number on it is too small to read at the 64 pixels that both models
see, and readable in a crop. The policy, built from random weights, first copies a careless teacher
(cropvlm train sft: its boxes are too large and slip off the card), then learns from what the frozen
reader makes of its crops, and from 1 for a well-formed box (cropvlm train grpo). Two seeds of GRPO
from the same start. Figures are of the likeliest box on held-out pages; the true boxes are used for
these figures only.

The reader is the one in this repository (scripts/train_reader.py makes it).
"""

import argparse
import dataclasses
import functools
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from cropvlm_core.questions import AnsweredQuestion, write_questions

SEEDS = (1, 2)
COLOURS = ((0, 84, 200), (214, 84, 0))
READER = Path(__file__).parent / "demonstration_reader"


def main() -> None:
    """Write the pages, train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="a new folder, or that of a stopped run"
    )
    parser.add_argument("--reader", type=Path, default=READER, help="the frozen reader's folder")
    parser.add_argument("--pages", type=int, default=8000, help="pages of each half (default 8000)")
    parser.add_argument("--sft-steps", type=int, default=3000)
    parser.add_argument("--grpo-steps", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=256)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("cropvlm_core.training").setLevel(logging.INFO)
    clock = given.out / "minutes.json"
    minutes: dict[str, float] = json.loads(clock.read_text()) if clock.exists() else {}

    def stage(name: str, work: Callable[[], None]) -> None:
        if name not in minutes:  # else done by a run that was stopped later
            start = time.monotonic()
            work()
            minutes[name] = round((time.monotonic() - start) / 60, 1)
            clock.write_text(json.dumps(minutes))
        print(f"{name}: {minutes[name]} minutes", flush=True)

    from cropvlm_core.training.demonstration.cards import HELD_OUT_SEED
    from cropvlm_core.training.demonstration.policy import (
        build_policy,
        careless_questions,
        lone_card_questions,
    )

    out: Path = given.out
    pages = given.pages

    def write_pages() -> None:
        written(out / "sft", careless_questions(pages))
        unboxed = (dataclasses.replace(q, boxes=()) for q in lone_card_questions(pages, 10 * pages))
        written(out / "grpo", unboxed)
        written(out / "held-out", lone_card_questions(given.held_out, HELD_OUT_SEED))
        build_policy(out / "random")

    stage("pages", write_pages)
    stage("SFT", lambda: warm_start(given))
    for seed in SEEDS:
        stage(f"GRPO, seed {seed}", functools.partial(grpo, given, seed))
    curves = {seed: lines(out / f"grpo-{seed}" / "held_out.jsonl") for seed in SEEDS}
    (out / "figures.json").write_text(json.dumps({"minutes": minutes, "held_out": curves}))
    draw(curves).save(out / "curve.png")
    print(table(curves))
    print(f"look at {out / 'curve.png'} and {out / f'grpo-{SEEDS[0]}' / 'samples'}")


def written(folder: Path, questions: Iterable[AnsweredQuestion]) -> None:
    """Write pages as PNG beside their questions, one at a time."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)

    def saved(question: AnsweredQuestion) -> AnsweredQuestion:
        file = images / f"{question.id}.png"
        question.open().save(file, compress_level=1)
        return dataclasses.replace(question, image=file)

    write_questions(folder / "questions.jsonl", map(saved, questions))


def warm_start(given: argparse.Namespace) -> None:
    """Copy the poor teacher, from random weights: what `cropvlm train sft` does."""
    from cropvlm_core.training.run_settings import SFTSettings, read_settings
    from cropvlm_core.training.sft import train_sft

    told = common() | {
        "model": str(given.out / "random"),
        "data": str(given.out / "sft"),
        "learning_rate": 1e-3,
        "batch_size": 16,
        "max_steps": given.sft_steps,
        "weight_decay": 0.01,
        "warmup": 0.04,
        "log_steps": 100,
    }
    done = train_sft(read_settings(SFTSettings, None, told), given.out / "warm", resume=True)
    if done.stopped:
        raise SystemExit(143)


def grpo(given: argparse.Namespace, seed: int) -> None:
    """Learn from the reader: what `cropvlm train grpo` does."""
    from cropvlm_core.training.grpo_run import train_grpo
    from cropvlm_core.training.run_settings import GRPOSettings, read_settings

    told = common() | {
        "model": str(given.out / "warm" / "model"),
        "data": str(given.out / "grpo"),
        "held_out": str(given.out / "held-out"),
        "reward_model": f"hf:{given.reader}",
        "reward_batch_size": 64,
        "learning_rate": 2e-4,
        "warmup": 0.02,
        "batch_size": 8,
        "group_size": 8,
        "temperature": 1.0,
        "max_new_tokens": 24,
        "kl": 0.0,
        "max_steps": given.grpo_steps,
        "eval_steps": max(1, given.grpo_steps // 20),
        "log_steps": 20,
        "sample_steps": max(1, given.grpo_steps // 4),
        "seed": seed,
    }
    settings = read_settings(GRPOSettings, None, told)
    if train_grpo(settings, given.out / f"grpo-{seed}", resume=True).stopped:
        raise SystemExit(143)


def common() -> dict[str, Any]:
    """Settings of both: the CPU, all weights, steps of one batch."""
    return {
        "device_type": "cpu",
        "precision": "fp32",
        "lora_rank": 0,
        "gradient_accumulation": 1,
        "max_grad_norm": 1.0,
        "save_steps": 10_000,
    }


def lines(file: Path) -> list[dict[str, float]]:
    """The figures that a run wrote, step by step."""
    return [json.loads(line) for line in file.read_text().splitlines()]


FIGURES = (
    ("answer_likelihood", "log-likelihood of the answer, nats", -3.0, 0.0),
    ("hit_rate", "hit rate", 0.0, 1.0),
    ("area", "area of the crop, share of the page", 0.0, 0.1),
)
"""Names, what they are called in the picture, and the ends of their axes."""


def table(curves: dict[int, list[dict[str, float]]]) -> str:
    """First and last figures of each seed, in Markdown."""
    shown = [
        "| seed | step | " + " | ".join(label for _, label, *_ in FIGURES) + " |",
        "|---|---|---|---|---|",
    ]
    for seed, curve in curves.items():
        for figures in (curve[0], curve[len(curve) // 2], curve[-1]):
            values = " | ".join(f"{figures[name]:.3f}" for name, *_ in FIGURES)
            shown.append(f"| {seed} | {figures['step']} | {values} |")
    return "\n".join(shown)


def draw(curves: dict[int, list[dict[str, float]]]) -> Image.Image:
    """The figures over the steps, one panel each."""
    wide, high, margin = 420, 300, 48
    picture = Image.new("RGB", (wide * len(FIGURES), high), "white")
    pen = ImageDraw.Draw(picture)
    last = max(curve[-1]["step"] for curve in curves.values()) or 1
    for panel, (name, label, low, top) in enumerate(FIGURES):
        left = panel * wide + margin

        def at(
            step: float, value: float, left: int = left, low: float = low, top: float = top
        ) -> tuple[float, float]:
            x = left + step / last * (wide - margin - 16)
            share = min(max((top - value) / (top - low), 0.0), 1.0)
            return x, margin + share * (high - 2 * margin)

        pen.rectangle((*at(0, top), *at(last, low)), outline=(190, 190, 190))
        pen.text((left, 16), label, "black")
        for value in (low, top):
            pen.text((left - 34, at(0, value)[1] - 6), f"{value:g}", (90, 90, 90))
        pen.text((left, high - margin + 6), "step 0", (90, 90, 90))
        pen.text((at(last, low)[0] - 44, high - margin + 6), f"{last:.0f}", (90, 90, 90))
        for (seed, curve), colour in zip(curves.items(), COLOURS, strict=True):
            points = [at(figures["step"], figures[name]) for figures in curve]
            pen.line(points, fill=colour, width=3, joint="curve")
            pen.text((left + 60 * seed - 50, 30), f"seed {seed}", colour)
    return picture


if __name__ == "__main__":
    main()
