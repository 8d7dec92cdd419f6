"""A GRPO run can be stopped and gone on with, and several processes train one model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli_calls import run
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from transformers import TrainerCallback  # noqa: E402

from cropvlm_core.training.grpo_run import train_grpo  # noqa: E402
from cropvlm_core.training.run_settings import to_yaml  # noqa: E402
from cropvlm_core.training.stopping import checkpoints  # noqa: E402
from tests.grpo_runs import figures, logged, pages, told  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


class Sends(TrainerCallback):  # type: ignore[misc]
    """Sends this process SIGTERM in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("rank", [4, 0], ids=["LoRA", "every weight"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, rank: int) -> None:
    """Bit for bit, in the second epoch, with an evaluation that the stopped run left out."""
    common = {"gradient_accumulation": 3, "eval_steps": 3, "sample_steps": 2}
    settings = told(lora_rank=rank, held_out=str(pages()), **common)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert not train_grpo(settings, straight).stopped
    first = train_grpo(settings, stopped, callbacks=[Sends(3)])
    assert (first.steps, first.stopped) == (3, True)
    assert [each.name for each in checkpoints(stopped / "checkpoints")] == ["checkpoint-3"]
    assert not (stopped / "model").exists()
    assert len((stopped / "held_out.jsonl").read_text().splitlines()) == 1
    second = train_grpo(settings, stopped, resume=True)
    assert (second.steps, second.stopped) == (4, False)
    lines = figures(straight)
    assert [line["loss"] for line in lines] == [line["loss"] for line in figures(stopped)]
    assert lines == figures(stopped)
    assert len({line["reward"] for line in lines}) == 4
    assert lines[-1]["kl"] > 0
    files = ["model/model.safetensors", "held_out.jsonl", "samples/step-000004.png"]
    for file in [*files, *(["adapter/adapter_model.safetensors"] if rank else [])]:
        assert (stopped / file).read_bytes() == (straight / file).read_bytes()
    measured = [json.loads(line) for line in (stopped / "held_out.jsonl").read_text().splitlines()]
    assert [line["step"] for line in measured] == [0, 3, 4]


def test_measuring_and_drawing_pictures_change_nothing(tmp_path: Path) -> None:
    looked = told(max_steps=3, held_out=str(pages()), eval_steps=1, sample_steps=1)
    train_grpo(looked, tmp_path / "looked")
    train_grpo(told(max_steps=3), tmp_path / "blind")
    assert figures(tmp_path / "looked") == figures(tmp_path / "blind")
    assert logged(tmp_path / "looked")[1].keys() == logged(tmp_path / "blind")[1].keys()
    assert not (tmp_path / "blind" / "held_out.jsonl").exists()


def test_a_finished_run_can_be_gone_on_with(tmp_path: Path) -> None:
    settings = told(max_steps=2, held_out=str(pages()))
    train_grpo(settings, tmp_path)
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    again = train_grpo(settings, tmp_path, resume=True)
    assert again.steps == 2
    assert "held_out/area" in again.figures
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert train_grpo(told(max_steps=3), tmp_path, resume=True).steps == 3


def test_figures_after_the_last_checkpoint_are_measured_anew(tmp_path: Path) -> None:
    class Dies(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                raise RuntimeError("out of power")

    settings = told(held_out=str(pages()), eval_steps=1, save_steps=1, max_steps=3)
    with pytest.raises(RuntimeError, match="out of power"):
        train_grpo(settings, tmp_path, callbacks=[Dies()])
    assert len((tmp_path / "held_out.jsonl").read_text().splitlines()) == 3
    (checkpoint, newer) = checkpoints(tmp_path / "checkpoints")
    newer.rename(tmp_path / "lost")
    train_grpo(settings, tmp_path, resume=True)
    lines = (tmp_path / "held_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]
    assert checkpoint.name == "checkpoint-1"


PROGRAM = "import sys; from cropvlm_core.cli import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize("told_by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_as_shells_count(
    told_by: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "run.yaml").write_text(to_yaml(told(max_steps=100_000)))
    command = [sys.executable, "-u", "-c", PROGRAM, "train", "grpo"]
    command += ["--config", str(tmp_path / "run.yaml"), "--out", str(out)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("step ") for line in process.stderr)
        os.killpg(process.pid, told_by)  # all there is, as schedulers do
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + told_by
    (checkpoint,) = checkpoints(out / "checkpoints")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert f"cropvlm: stopped by {told_by.name} after step {step}; --resume goes on" in complaint
    assert run("train", "grpo", "--out", out, "--resume", "--max-steps", step + 1) == 0
    assert f"{out / 'model'}: {step + 1} steps" in capsys.readouterr().out


TWO_PROCESSES = """
import hashlib, json, os, sys
from pathlib import Path
import torch
from torch import distributed
from transformers import TrainerCallback
from cropvlm_core.training import grpo_run
from cropvlm_core.training.run_settings import GRPOSettings, read_settings
from cropvlm_core.training.stopping import leave_group

rank, out = os.environ["RANK"], Path(sys.argv[1])
torch.set_num_threads(1)
told = {}

class Kept(grpo_run.CropGRPOTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        watches.trainer = self

class Watches(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model, **_):
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        exchanged = [weight.grad.clone() for weight in learned]
        for weight in learned:
            weight.grad = None
        (batch,) = self.trainer._buffered_inputs
        self.trainer._compute_loss(model, batch).backward()  # of this process alone
        alone = torch.cat([weight.grad.flatten() for weight in learned])
        mean = alone / args.world_size
        distributed.all_reduce(mean)
        for weight, gradient in zip(learned, exchanged, strict=True):
            weight.grad = gradient
        exchanged = torch.cat([gradient.flatten() for gradient in exchanged])
        told["off"] = float((exchanged - mean).norm() / mean.norm())
        told["alone"] = float((alone - mean).norm() / mean.norm())
        told["texts"] = [rollout.text for rollout in self.trainer.rollouts]

    def on_train_end(self, args, state, control, model, **_):
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        told["weights"] = digest.hexdigest()
        told["processes"] = args.world_size

watches = Watches()
grpo_run.CropGRPOTrainer = Kept
for name in ("language", "every"):
    settings = read_settings(GRPOSettings, out / f"{name}.yaml")
    grpo_run.train_grpo(settings, out / name, callbacks=[watches])
    (out / f"{name}-{rank}.json").write_text(json.dumps(told))
leave_group()
"""


@pytest.mark.slow
def test_two_processes_of_accelerate_train_one_model(tmp_path: Path) -> None:
    """Each draws boxes for its own questions; the gradient is the mean of both."""
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    runs: dict[str, dict[str, Any]] = {
        "language": {"lora_vision": False},
        "every": {"lora_rank": 0},
    }
    for name, changed in runs.items():
        settings = told(**changed, gradient_accumulation=1, max_steps=2, held_out=str(pages()))
        (tmp_path / f"{name}.yaml").write_text(to_yaml(settings))
    # of several processes, accelerate starts those of --multi_gpu only; the settings say CPU
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    command += [str(tmp_path / "two.py"), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    for name in runs:
        first, second = (
            json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in (0, 1)
        )
        assert first["processes"] == 2
        assert first["weights"] == second["weights"]
        assert first["texts"] != second["texts"]
        for each in (first, second):
            assert each["off"] < 1e-3 < 1e-1 < each["alone"]
        assert (tmp_path / name / "model" / "model.safetensors").is_file()
        lines = (tmp_path / name / "held_out.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [0, 2]
