"""``cropvlm train grpo``: training on the success of a frozen model, without box labels."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from cropvlm_core.cli import training_flags
from cropvlm_core.training.run_settings import GRPOSettings

if TYPE_CHECKING:
    from cropvlm_core.training.runs import RunOutcome

_FLAGS = (
    "model",
    "data",
    "held_out",
    "reward",
    "reward_model",
    "reward_input_size",
    "per_token",
    "group_size",
    "temperature",
    "kl",
    "advantage",
    "area_price",
    "input_size",
    "no_zoom",
    "epochs",
    "max_steps",
    "learning_rate",
    "batch_size",
    "gradient_accumulation",
    "lora_rank",
    "lora_vision",
    "seed",
    "report_to",
    "device_type",
)


def add_parser(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-command and its flags."""
    parser = kinds.add_parser(
        "grpo",
        help="train a cropper by the success of a frozen model, without box labels",
        description="Train a cropper (mostly what `cropvlm train sft` made) with GRPO: draw boxes, "
        "show a frozen model the page with each crop, and follow what makes the right answer "
        "likelier. Needs questions with answers, no boxes. Writes DIR/model (and DIR/adapter with "
        "LoRA), DIR/samples with pictures, DIR/held_out.jsonl with figures. SIGTERM and Ctrl-C "
        "save a checkpoint; --resume goes on. Needs the extra train. Several "
        'GPUs: accelerate launch --num_processes N "$(command -v cropvlm)" train grpo ...',
    )
    training_flags.add_flags(parser, GRPOSettings, _FLAGS)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Train, and tell what came out."""
    return training_flags.carry_out(given, GRPOSettings, "GRPO", _trainer, _FIGURES)


def _trainer() -> "Callable[..., RunOutcome]":
    from cropvlm_core.training.grpo_run import train_grpo

    return train_grpo


_FIGURES = {
    "reward": "reward {:.3f}",
    "kl": "KL {:.4f}",
    "held_out/hit_rate": "held-out hits {:.1%}",
    "held_out/area": "of {:.1%} of the page",
}
