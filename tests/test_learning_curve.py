"""The learning demonstration: its policy, its careless teacher, and the command in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.programs import require_package

for _package in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from cropvlm_core.training.demonstration.policy import (  # noqa: E402
    careless_questions,
    lone_card_questions,
)

ROOT = Path(__file__).parents[1]
READER = ROOT / "scripts" / "demonstration_reader"


def test_the_teacher_slips_off_the_card() -> None:
    pairs = list(zip(lone_card_questions(40), careless_questions(40), strict=True))
    for true, _ in pairs:
        assert true.hit(true.boxes)
    inside = [true.boxes[0].covered_by(taught.boxes[0]) for true, taught in pairs]
    assert max(inside) < 0.9  # no hit to be copied
    assert 0.5 < sum(inside) / len(inside) < 0.85
    for true, taught in pairs:
        assert taught.boxes[0].centre[0] > true.boxes[0].centre[0] - 0.01
        assert (taught.question, taught.answers, taught.id) == (
            true.question,
            true.answers,
            true.id,
        )


@pytest.mark.slow
def test_the_command_in_small(tmp_path: Path) -> None:
    """Random weights, SFT, two seeds of GRPO, and figures of each."""
    words = ["--pages", "32", "--sft-steps", "2", "--grpo-steps", "2", "--held-out", "4"]
    done = subprocess.run(
        [sys.executable, "scripts/learning_curve.py", "--out", str(tmp_path / "out"), *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    for seed in ("1", "2"):
        curve = figures["held_out"][seed]
        assert [line["step"] for line in curve] == [0, 1, 2]
        assert {"hit_rate", "area", "answer_likelihood"} <= curve[0].keys()
    with Image.open(tmp_path / "out" / "curve.png") as picture:
        assert picture.width > 1000
    trained = (tmp_path / "out" / "grpo" / "questions.jsonl").read_text()
    assert '"boxes"' not in trained
