"""A whole GRPO run: rewards, trainer, what watches it, and the cropper that comes out.

Beside what every run writes (see :mod:`cropvlm_core.training.runs`)::

    OUT/samples/           pages with the boxes of a group, coloured by advantage
    OUT/held_out.jsonl     figures of the likeliest boxes on held-out questions
    OUT/answers.jsonl      what a reward model behind a server said, so that nobody pays twice
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.loading import load_target
from cropvlm_core.questions import read_questions
from cropvlm_core.training.grpo import CropGRPOTrainer
from cropvlm_core.training.held_out import HeldOut
from cropvlm_core.training.rewards import (
    AnswerLikelihood,
    AnswerScore,
    CropArea,
    Reward,
    valid_box,
)
from cropvlm_core.training.run_settings import GRPOSettings
from cropvlm_core.training.runs import (
    RunFolder,
    RunOutcome,
    load_policy,
    lora,
    trl_arguments,
    write_result,
    write_settings,
)
from cropvlm_core.training.stopping import StopOnSignal
from cropvlm_core.training.watch import HealthAlarms, SamplePictures
from cropvlm_core.transformers_vlm import TransformersVLM, shared
from cropvlm_core.transformers_vlm.weights import is_folder
from cropvlm_core.vlm import ScoringVLM


def train_grpo(
    settings: GRPOSettings,
    out: Path,
    *,
    resume: bool = False,
    rewards: Sequence[Reward] | None = None,
    callbacks: Sequence[Any] = (),
) -> RunOutcome:
    """Run GRPO: everything that ``cropvlm train grpo`` does.

    Args:
        settings: of the run.
        out: its folder.
        resume: go on from the newest checkpoint in ``out``, where there is one.
        rewards: instead of those that the settings name.
        callbacks: of the Hugging Face trainer.

    Raises:
        DataError: the data or a setting does not fit, or ``out`` holds a run already.
        WeightsError, SpecError: there is no such model.
        ModelError: the policy is not of the SmolVLM family, or the reward model failed.
    """
    folder = RunFolder(out)
    settings = settings.located()
    checkpoint = folder.checkpoint(resume=resume)
    questions = list(read_questions(settings.data))
    held_out = list(read_questions(settings.held_out)) if settings.held_out else []
    arguments = GRPOConfig(
        **trl_arguments(settings, folder, held_out=False) | _grpo_arguments(settings)
    )
    cropper = load_policy(settings)
    judge = ""
    if rewards is None:
        rewards = load_rewards(settings, out, device=arguments.device)
        judge = f" (by {_shown(settings.reward_model)}, without box labels)"
    arguments.reward_weights = [
        settings.valid_box if reward is valid_box else 1.0 for reward in rewards
    ]
    listener = StopOnSignal()
    trainer = CropGRPOTrainer(
        cropper,
        questions,
        rewards,
        arguments,
        peft_config=lora(settings),
        callbacks=[listener, *callbacks],
    )
    if judge:  # a reward model of our own, which nobody uses after the run
        for reward in rewards:
            if isinstance(vlm := getattr(reward, "vlm", None), TransformersVLM):
                shared.keep_once(cropper.vlm.model, vlm.model)
    trainer.add_callback(SamplePictures(trainer, out, every=settings.sample_steps))
    trainer.add_callback(HealthAlarms(trainer))
    if held_out:
        trainer.add_callback(
            HeldOut(
                trainer,
                held_out,
                rewards,
                every=settings.eval_steps or settings.save_steps,
                file=out / "held_out.jsonl",
                stopping=lambda: listener.stopped,
            )
        )
    if trainer.is_world_process_zero():
        write_settings(settings, folder)
    with listener:
        trainer.go_on(checkpoint)
    history: dict[str, float] = {}
    for figures in trainer.state.log_history:
        history |= figures
    if not listener.stopped:
        write_result(trainer, cropper, folder, _trained(trainer, settings, judge))
    return RunOutcome(trainer.state.global_step, listener.stopped, history, listener.signal)


def load_rewards(
    settings: GRPOSettings, out: Path, *, device: str | torch.device | None = None
) -> list[Reward]:
    """Build the rewards that the settings name.

    Args:
        settings: of the run.
        out: its folder, where the answers of a reward model are kept.
        device: where an ``hf:`` reward model computes; None: CUDA, then MPS, then the CPU.

    Raises:
        DataError: a likelihood of a model that gives none.
        WeightsError, SpecError: there is no such model.
    """
    local: dict[str, Any] = {}
    identity = None
    if settings.reward_model.startswith("hf:"):
        local = {
            "device": device,
            "dtype": None if settings.precision == "auto" else settings.precision,
            "input_size": settings.reward_input_size,
            "batch_size": settings.reward_batch_size,
        }
        identity = f"{settings.reward_model} {settings.reward_input_size}"
    target = load_target(settings.reward_model, **local)
    if identity is None and (version := getattr(target, "version", None)):
        identity = f"{settings.reward_model} {version}"
    if isinstance(target, TransformersVLM):
        target.model.requires_grad_(False)
    rewards: list[Reward] = []
    if settings.reward != "likelihood":
        rewards.append(
            AnswerScore(target, settings.reward, cache=out / "answers.jsonl", identity=identity)
        )
    elif isinstance(target, ScoringVLM):
        rewards.append(AnswerLikelihood(target, per_token=settings.per_token))
    else:
        raise DataError(
            "expected reward_model hf:FOLDER_OR_ID for a likelihood, which servers do not tell, "
            f"got {shorten(settings.reward_model)}"
        )
    if settings.valid_box:
        rewards.append(valid_box)
    if settings.area_price:
        rewards.append(CropArea(settings.area_price))
    return rewards


def _grpo_arguments(settings: GRPOSettings) -> dict[str, Any]:
    """What TRL's GRPO takes beside the common arguments."""
    std = settings.advantage == "std"
    return {
        "loss_type": "grpo" if std else "dr_grpo",
        "scale_rewards": "group" if std else "none",
        "beta": settings.kl,
        "temperature": settings.temperature,
        "num_generations": settings.group_size,
        "per_device_train_batch_size": settings.batch_size * settings.group_size,
        "max_completion_length": settings.max_new_tokens,
        # Dropout would make the policy's log-probabilities differ from those it sampled by.
        "disable_dropout": True,
    }


def _trained(trainer: CropGRPOTrainer, settings: GRPOSettings, judge: str) -> str:
    questions = settings.batch_size * settings.gradient_accumulation * trainer.args.world_size
    how = f"LoRA of rank {settings.lora_rank}" if settings.lora_rank else "all weights trained"
    rewards = ", ".join(trainer.reward_func_names) + judge
    return (
        f"GRPO ({settings.advantage}) from {_shown(settings.model)}: {trainer.state.global_step} "
        f"steps of {questions} questions with {settings.group_size} boxes each, {how}, learning "
        f"rate {settings.learning_rate:g} ({settings.schedule}), KL weight {settings.kl:g}, "
        f"temperature {settings.temperature:g}. Reward: {rewards}."
    )


def _shown(name: str) -> str:
    """A model's name without the folder or server that it is in, which are nobody's business."""
    _, kind, path = name.partition("@http")[0].rpartition("hf:")
    return kind + (Path(path).name if is_folder(path) else path)
