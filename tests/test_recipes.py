"""Every recipe is read by the real settings; each kind runs with a tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.training.run_settings import GRPOSettings, SFTSettings, read_settings
from tests import small_models
from tests.chat_server import ChatServer, says
from tests.cli_calls import run
from tests.programs import require_package

for _package in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from cropvlm_core.loading import load_cropper  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

RECIPES = Path(__file__).parents[1] / "recipes"
NAMES = {
    *(f"paper-{size}-{kind}" for size in (512, 1024, 2048) for kind in ("sft", "grpo")),
    "own-documents-api",
}
TINY = {
    "max_steps": 1,
    "batch_size": 1,
    "gradient_accumulation": 1,
    "lora_rank": 2,
    "device_type": "cpu",
}


def test_every_recipe_is_read_here() -> None:
    assert {file.stem for file in RECIPES.glob("*")} == NAMES


@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_the_papers_warm_start(size: int) -> None:
    settings = read_settings(SFTSettings, RECIPES / f"paper-{size}-sft.yaml")
    assert settings.model == "HuggingFaceTB/SmolVLM-256M-Instruct"
    assert settings.input_size == size
    assert settings.batch_size * settings.gradient_accumulation == 2 * 8
    assert (settings.learning_rate, settings.schedule, settings.warmup) == (5e-5, "cosine", 0.03)
    assert (settings.lora_rank, settings.lora_alpha, settings.lora_dropout) == (128, 256, 0.05)
    assert (settings.epochs, settings.lora_vision) == (1.0, True)


@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_the_papers_grpo(size: int) -> None:
    settings = read_settings(GRPOSettings, RECIPES / f"paper-{size}-grpo.yaml")
    assert settings.model == f"runs/paper-{size}-sft/model"
    assert settings.input_size is None  # that of the warm start, which its checkpoint tells
    assert settings.batch_size * settings.gradient_accumulation == 1 * 16
    assert (settings.group_size, settings.temperature, settings.kl) == (6, 0.8, 0.01)
    assert (settings.learning_rate, settings.max_grad_norm) == (5e-6, 0.1)
    assert (settings.schedule, settings.warmup, settings.epochs) == ("cosine", 0.03, 1.0)
    assert (settings.max_new_tokens, settings.advantage) == (32, "dr_grpo")
    assert (settings.reward, settings.valid_box) == ("likelihood", 1.0)


def test_own_documents() -> None:
    settings = read_settings(GRPOSettings, RECIPES / "own-documents-api.yaml")
    assert settings.reward == "anls"
    assert settings.reward_model.startswith("openai:")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for number in range(4):
        small_models.page(90, 60, number).save(tmp_path / f"{number}.png")
        row = {"image": f"{number}.png", "question": "Who?", "answers": ["NASA"]}
        rows.append(json.dumps(row | {"boxes": [[10, 10, 40 + number, 30]]}))
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(rows))
    return file


def train(recipe: str, out: Path, **changed: Any) -> None:
    """Run a recipe's own command with other settings."""
    kind = "sft" if recipe.endswith("sft") else "grpo"
    pairs = [f"--set={name}={value}" for name, value in {**TINY, **changed}.items()]
    command = ["train", kind, "--config", RECIPES / f"{recipe}.yaml", "--out", out, *pairs]
    assert run(*command) == 0


@pytest.mark.slow
def test_the_papers_two_runs(tmp_path: Path, data: Path) -> None:
    model = small_models.whole_vlm()
    train("paper-512-sft", tmp_path / "sft", model=model, data=data, input_size=64)
    policy = tmp_path / "sft" / "model"
    train(
        "paper-512-grpo",
        tmp_path / "grpo",
        model=policy,
        data=data,
        reward_model=f"hf:{model}",
        reward_input_size=64,
    )
    cropper = load_cropper(f"hf:{tmp_path / 'grpo' / 'model'}")
    assert cropper.name == f"hf:{tmp_path / 'grpo' / 'model'}"
    settings = json.loads((tmp_path / "grpo" / "model" / "cropvlm.json").read_text())
    assert (settings["input_size"], settings["explain"]) == (64, False)


@pytest.mark.slow
def test_own_documents_with_a_server(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_package("openai")
    with ChatServer(says("NASA")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = small_models.whole_vlm()
        train("own-documents-api", tmp_path / "out", model=model, data=data, held_out=data)
    assert (tmp_path / "out" / "model" / "cropvlm.json").exists()
    kept = (tmp_path / "out" / "answers.jsonl").read_text()
    assert len(server.requests) == kept.count('"reply"') > 0
    first, *_ = map(json.loads, (tmp_path / "out" / "held_out.jsonl").read_text().splitlines())
    assert first["answer_score_anls"] == 1.0
