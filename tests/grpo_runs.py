"""Short GRPO runs on the CPU: pages, a tiny policy that writes boxes, settings, and the log."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from cropvlm_core.box import Box
from cropvlm_core.questions import AnsweredQuestion, read_questions, write_questions
from cropvlm_core.training.run_settings import GRPOSettings, read_settings
from cropvlm_core.training.sft import SFTCollator, SFTRow
from cropvlm_core.training.small_vlm import SmallVLM, build_small_vlm
from cropvlm_core.training.stopping import checkpoints
from cropvlm_core.transformers_vlm import TransformersCropper, TransformersVLM
from tests.small_models import built

GROUP = 4
FIGURES = ("loss", "grad_norm", "learning_rate", "reward", "reward_std", "kl", "entropy")


@built
def pages(folder: Path) -> None:
    """A question set of eight pages, each with something red on it."""
    dice = random.Random(0)
    rows = []
    for number in range(8):
        size = ((120, 90), (64, 128))[number % 2]
        page = Image.new("RGB", size, "white")
        left, top = dice.randrange(size[0] - 30), dice.randrange(size[1] - 20)
        ImageDraw.Draw(page).rectangle((left, top, left + 29, top + 19), fill="red")
        page.save(folder / f"{number}.png")
        box = Box.from_pixels((left, top, left + 30, top + 20), size)
        asked = AnsweredQuestion(
            folder / f"{number}.png", "Where is it?", answers=("red",), boxes=(box,)
        )
        rows.append(asked)
    write_questions(folder / "questions.jsonl", rows)


@built
def policy(folder: Path) -> None:
    """A tiny cropper that writes boxes, anywhere; drawn ones can mostly be read."""
    build_small_vlm(folder, SmallVLM(image_size=32, vision_layers=1))
    cropper = TransformersCropper(TransformersVLM.from_pretrained(folder, device="cpu"))
    dice = random.Random(0)
    rows = []
    for question in [*read_questions(pages()), *read_questions(pages())][:12]:
        left, top, width, height = (dice.randrange(0, 60) / 100 for _ in range(4))
        box = Box(left, top, left + 0.2 + width / 3, top + 0.2 + height / 3)
        rows.append(SFTRow(question, box))
    batch = SFTCollator(cropper, rows)([{"row": number} for number in range(len(rows))])
    model = cropper.vlm.model
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    cropper.save_pretrained(folder)


def told(**overrides: Any) -> GRPOSettings:
    """Settings of a run of four steps, each with two questions."""
    given = {
        "model": str(policy()),
        "data": str(pages()),
        "reward_model": f"hf:{policy()}",
        "device_type": "cpu",
        "batch_size": 1,
        "gradient_accumulation": 2,
        "group_size": GROUP,
        "max_new_tokens": 24,
        "max_grad_norm": 10.0,
        "learning_rate": 5e-3,
        "schedule": "constant",
        "warmup": 0,
        "lora_rank": 4,
        "lora_alpha": 8,
        "max_steps": 4,
        "log_steps": 1,
    }
    return read_settings(GRPOSettings, None, given | overrides)


def logged(out: Path) -> list[Mapping[str, float]]:
    """What the trainer logged for each step, as its newest checkpoint holds it."""
    newest = checkpoints(out / "checkpoints")[-1]
    state = json.loads((newest / "trainer_state.json").read_text())
    return [figures for figures in state["log_history"] if "loss" in figures]


def figures(out: Path) -> list[dict[str, float]]:
    """Those of :data:`FIGURES`, step by step."""
    return [{name: line[name] for name in FIGURES if name in line} for line in logged(out)]
