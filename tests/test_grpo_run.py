"""A whole GRPO run: the command, its rewards, what it starts from, and what the settings change."""

import dataclasses
import json
import logging
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.errors import DataError
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import read_questions, write_questions
from tests.chat_server import ChatServer, fails, says
from tests.cli_calls import KEYS, one_line_error, run
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from transformers import TrainerCallback  # noqa: E402

from cropvlm_core.training import grpo_run  # noqa: E402
from cropvlm_core.training.grpo import CropGRPOTrainer  # noqa: E402
from cropvlm_core.training.grpo_run import load_rewards, train_grpo  # noqa: E402
from cropvlm_core.training.held_out import measure  # noqa: E402
from cropvlm_core.training.rewards import AnswerLikelihood, AnswerScore, CropArea  # noqa: E402
from cropvlm_core.training.rollouts import Rollout  # noqa: E402
from cropvlm_core.training.run_settings import (  # noqa: E402
    GRPOSettings,
    SFTSettings,
    read_settings,
)
from cropvlm_core.training.sft import train_sft  # noqa: E402
from cropvlm_core.transformers_vlm import TransformersCropper, TransformersVLM  # noqa: E402
from tests.grpo_runs import GROUP, figures, logged, pages, policy, told  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[CropGRPOTrainer]:
    """Those of the runs of a test, to look into."""
    kept: list[CropGRPOTrainer] = []

    class Kept(CropGRPOTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            kept.append(self)

    monkeypatch.setattr(grpo_run, "CropGRPOTrainer", Kept)
    return kept


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run tells the world: names looked up, addresses called, telemetry sent."""
    from huggingface_hub import constants
    from trl.trainer import base_trainer

    made: list[str] = []

    def note(*args: Any, **kwargs: Any) -> None:
        made.append(f"{args} {kwargs}")
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda *args, **_: made.append(str(args)))
    monkeypatch.setattr(socket, "getaddrinfo", note)
    monkeypatch.setattr(socket.socket, "connect", note)
    return made


def steps_measured(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "held_out.jsonl").read_text().splitlines()]


# ---- the command


def test_the_command_trains_a_cropper_from_answers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    bare = [dataclasses.replace(question, boxes=()) for question in read_questions(pages())]
    write_questions(tmp_path / "bare.jsonl", bare)
    out = tmp_path / "out"
    words = ["--model", policy(), "--data", tmp_path / "bare.jsonl", "--held-out", pages()]
    words += ["--reward-model", f"hf:{policy()}", "--out", out, "--device-type", "cpu"]
    words += ["--max-steps", "3", "--batch-size", "1", "--gradient-accumulation", "2"]
    words += ["--set", "log_steps=1", "--set", "sample_steps=2", "--set", "eval_steps=2"]
    assert run("train", "grpo", *words) == 0
    said = capsys.readouterr().out
    assert f"{out / 'model'}: 3 steps, reward " in said
    assert f"cropvlm zoom IMAGE QUESTION --cropper hf:{out / 'model'}" in said
    assert calls == []

    with Image.open(out / "samples" / "step-000002.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100
    assert steps_measured(out) == [0, 2, 3]
    last = json.loads((out / "held_out.jsonl").read_text().splitlines()[-1])
    assert last["answer_likelihood"] < 0 < last["confidence"] < 1
    assert last["valid_box"] == 1  # greedy boxes are always ones
    assert 0 < last["area"] < 1
    assert 0 <= last["hit_rate"] <= 1

    lines = logged(out)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all("reward" in line and "health/area" in line for line in lines)
    settings = read_settings(GRPOSettings, out / "settings.yaml")
    assert (settings.model, settings.max_steps) == (str(policy()), 3)
    card = (out / "model" / "README.md").read_text()
    assert "GRPO (dr_grpo) from " in card
    assert "3 steps of 2 questions with 6 boxes each, LoRA of rank 128" in card
    assert "Reward: answer_likelihood, valid_box (by hf:" in card
    assert str(policy().parent) not in card  # folders are nobody's business

    whole, adapted = (load_cropper(f"hf:{out / name}") for name in ("model", "adapter"))
    asked = bare[:3]
    assert [each.boxes for each in whole.propose_batch(asked)] == [
        each.boxes for each in adapted.propose_batch(asked)
    ]
    page, question = bare[0].image, bare[0].question
    assert run("zoom", page, question, "--cropper", f"hf:{out / 'model'}", "--json") == 0
    zoom = json.loads(capsys.readouterr().out)
    assert zoom.keys() == KEYS
    assert zoom["zoomed"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "expected a setting reward_model"),
        (
            ["--reward-model", "openai:gpt"],
            "expected reward_model hf:FOLDER_OR_ID for a likelihood",
        ),
        (["--reward-model", "hf:nowhere/at-all"], "nowhere/at-all"),
        (["--reward-model", "ocr"], "expected a target of"),
        (["--reward-model", "hf:x", "--reward", "bleu"], "expected reward as likelihood or "),
        (["--reward-model", "hf:x", "--set", "group=3"], "expected a setting such as group_size"),
        (["--reward-model", "hf:x", "--group-size", "1"], "expected group_size >= 2, got 1"),
        (["--reward-model", "constant:x", "--reward", "anls"], "expected at least 16 questions"),
    ],
)
def test_bad_settings_are_one_line_and_2(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", policy(), "--data", pages(), "--out", tmp_path / "out"]
    assert run("train", "grpo", *given, "--device-type", "cpu", *words) == 2
    assert expected in one_line_error(capsys)
    assert not (tmp_path / "out" / "settings.yaml").exists()


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    train_grpo(told(max_steps=1), tmp_path)
    with pytest.raises(DataError, match="expected a folder without a run, or resume"):
        train_grpo(told(max_steps=1), tmp_path)


# ---- what a box is worth


def test_a_server_that_judges_is_asked_about_each_view_once(tmp_path: Path) -> None:
    with ChatServer(says("read"), says("red")) as server:
        judged = {"reward": "anls", "reward_model": f"openai:judge@{server.url}"}
        settings = told(**judged, max_steps=2, held_out=str(pages()))
        train_grpo(settings, tmp_path / "first")
        asked = len(server.requests)
        kept = (tmp_path / "first" / "answers.jsonl").read_text().split()
        assert asked == kept.count('"reply":') > 8
        (tmp_path / "second").mkdir()
        shutil.copy(tmp_path / "first" / "answers.jsonl", tmp_path / "second")
        train_grpo(settings, tmp_path / "second")
        assert len(server.requests) == asked
    assert figures(tmp_path / "second") == figures(tmp_path / "first")
    card = (tmp_path / "first" / "model" / "README.md").read_text()
    assert "answer_score_anls, valid_box (by openai:judge, without box labels)" in card


def test_a_server_that_fails_at_times_costs_no_box_its_reward(
    tmp_path: Path, trainers: list[CropGRPOTrainer]
) -> None:
    """No value is not 0, not even in a sum with others."""
    with ChatServer(*[says("red"), fails(400)] * 20) as server:
        judged = {"reward": "anls", "reward_model": f"openai:judge@{server.url}"}
        train_grpo(told(**judged, area_price=0.5, max_steps=1), tmp_path)
    (trainer,) = trainers
    scores = trainer.reward_values["answer_score_anls"]
    missing = [place for place, score in enumerate(scores) if score is None]
    assert missing
    assert 1.0 in scores
    assert [trainer.advantages[place] for place in missing] == [0.0] * len(missing)
    for start in range(0, len(scores), GROUP):  # what is left is compared with itself alone
        assert sum(trainer.advantages[start : start + GROUP]) == pytest.approx(0, abs=1e-5)
    assert logged(tmp_path)[0]["health/missing_rewards"] == len(missing) / len(scores)


def test_a_server_that_always_fails_is_told_of_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ChatServer(fails(400, "out of order")) as server:
        judged = {"reward": "anls", "reward_model": f"openai:judge@{server.url}"}
        outcome = train_grpo(told(**judged, max_steps=2, held_out=str(pages())), tmp_path)
    assert outcome.steps == 2
    assert (tmp_path / "answers.jsonl").read_text() == ""
    first = json.loads((tmp_path / "held_out.jsonl").read_text().splitlines()[0])
    assert "valid_box" in first
    assert "answer_score_anls" not in first
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert any("8 of 8 conversations got no reply" in each for each in said)


def test_settings_name_the_rewards(tmp_path: Path) -> None:
    score, valid, area = load_rewards(told(reward="anls", area_price=0.2), tmp_path, device="cpu")
    assert isinstance(score, AnswerScore)
    assert (score.__name__, valid.__name__) == ("answer_score_anls", "valid_box")
    assert area == CropArea(0.2)
    (likely,) = load_rewards(
        told(valid_box=0, per_token=True, reward_input_size=32, precision="bf16"),
        tmp_path,
        device="cpu",
    )
    assert isinstance(likely, AnswerLikelihood)
    assert likely.per_token
    assert isinstance(likely.vlm, TransformersVLM)
    assert likely.vlm.input_size == 32
    weights = list(likely.vlm.model.parameters())
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in weights)


def test_rewards_of_ones_own_take_the_place_of_the_settings(
    tmp_path: Path, trainers: list[CropGRPOTrainer]
) -> None:
    def left(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [each.zoom.box.left if each.zoom.box else None for each in rollouts]

    def wide(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [
            each.zoom.box.right - each.zoom.box.left if each.zoom.box else None for each in rollouts
        ]

    settings = told(reward_model="hf:not/asked", valid_box=0.5, max_steps=1)
    train_grpo(settings, tmp_path, rewards=[left, wide])
    assert trainers[0].reward_weights.tolist() == [1, 1]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Reward: left, wide." in card
    assert "not/asked" not in card


# ---- what it starts from


def test_a_warm_start_is_gone_on_with_and_is_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm = read_settings(
        SFTSettings,
        None,
        {"model": str(policy()), "data": str(pages()), "device_type": "cpu", "max_steps": 2}
        | {"learning_rate": 1e-2, "notation": "per_mille", "lora_rank": 4, "lora_alpha": 8},
    )
    train_sft(warm, tmp_path / "sft")
    capsys.readouterr()
    start = tmp_path / "sft" / "model"
    words = ["--model", tmp_path / "sft" / "adapter", "--data", pages(), "--reward-model", "hf:x"]
    words += ["--out", tmp_path / "no", "--device-type", "cpu"]
    assert run("train", "grpo", *words) == 2
    assert "expected a whole model to start from, got an adapter" in one_line_error(capsys)
    for rank in (4, 0):
        out = tmp_path / f"rank-{rank}"
        train_grpo(told(model=str(start), lora_rank=rank, max_steps=2), out)
        distances = [line["kl"] for line in logged(out)]
        assert distances[0] == pytest.approx(0, abs=1e-6)
        assert distances[1] > 1e-4
        assert (out / "adapter").exists() == (rank > 0)
        cropper = load_cropper(f"hf:{out / 'model'}")
        assert isinstance(cropper, TransformersCropper)
        assert cropper.notation.name == "per_mille"


# ---- what settings change


def test_settings_reach_the_trainer(tmp_path: Path, trainers: list[CropGRPOTrainer]) -> None:
    settings = told(
        advantage="std", kl=0, valid_box=0.5, area_price=0.25, lora_dropout=0.5, max_steps=1
    )
    train_grpo(settings, tmp_path)
    (trainer,) = trainers
    assert dict(zip(trainer.reward_func_names, trainer.reward_weights.tolist(), strict=True)) == {
        "answer_likelihood": 1.0,
        "valid_box": 0.5,
        "crop_area": 1.0,
    }
    assert trainer.ref_model is None
    assert "kl" not in logged(tmp_path)[0]
    sums = sums_of(trainer)
    expected = (sums - sums.mean(1, keepdim=True)) / (sums.std(1, keepdim=True) + 1e-4)
    found = torch.tensor(trainer.advantages).view(-1, GROUP)
    assert torch.allclose(found, expected, atol=1e-3)
    assert float(found.abs().max()) > 0.5


def sums_of(trainer: CropGRPOTrainer) -> Any:
    """The weighted rewards of the last batch, (groups, rollouts)."""
    values = torch.tensor([trainer.reward_values[name] for name in trainer.reward_func_names])
    return (values * trainer.reward_weights.view(-1, 1)).sum(0).view(-1, GROUP)


def test_advantages_of_the_papers_code_are_not_scaled(
    tmp_path: Path, trainers: list[CropGRPOTrainer]
) -> None:
    train_grpo(told(max_steps=1), tmp_path)
    (trainer,) = trainers
    sums = sums_of(trainer)
    found = torch.tensor(trainer.advantages).view(-1, GROUP)
    assert torch.allclose(found, sums - sums.mean(1, keepdim=True), atol=1e-4)
    assert "kl" in logged(tmp_path)[0]


class Doubts(TrainerCallback):  # type: ignore[misc]
    """Computes the loss of one batch three times, the last time with dropout."""

    def __init__(self, trainers: Sequence[CropGRPOTrainer]) -> None:
        self.trainers = trainers
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        assert model.training
        dropouts = [each for each in model.modules() if isinstance(each, torch.nn.Dropout)]
        for chance in (None, None, 0.5):
            for dropout in dropouts:
                dropout.p = dropout.p if chance is None else chance
            with torch.no_grad():
                batch = self.trainers[0]._buffered_inputs[0]
                self.losses.append(self.trainers[0]._compute_loss(model, batch).item())


def test_no_dropout_between_drawing_and_learning(
    tmp_path: Path, trainers: list[CropGRPOTrainer]
) -> None:
    doubts = Doubts(trainers)
    train_grpo(told(lora_dropout=0.5, max_steps=1), tmp_path, callbacks=[doubts])
    assert doubts.losses[0] == doubts.losses[1] != doubts.losses[2]


def test_held_out_figures_are_those_of_the_cropper(tmp_path: Path) -> None:
    train_grpo(told(max_steps=1, held_out=str(pages())), tmp_path)
    saved = load_cropper(f"hf:{tmp_path / 'model'}")
    assert isinstance(saved, TransformersCropper)
    again = measure(saved, list(read_questions(pages())), load_rewards(told(), tmp_path))
    last = json.loads((tmp_path / "held_out.jsonl").read_text().splitlines()[-1])
    assert last == pytest.approx({"step": 1} | again, abs=1e-3)
