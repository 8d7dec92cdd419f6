"""``cropvlm train sft``: the warm start, on a teacher's boxes."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from cropvlm_core.cli import training_flags
from cropvlm_core.training.run_settings import SFTSettings

if TYPE_CHECKING:
    from cropvlm_core.training.runs import RunOutcome

_FLAGS = (
    "model",
    "data",
    "held_out",
    "notation",
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
        "sft",
        help="warm start: teach a small model to write a teacher's boxes",
        description="Fine-tune a model of the SmolVLM family to write the boxes of a question set "
        "that `cropvlm label` made. Writes DIR/model (and DIR/adapter with LoRA): a cropper that "
        "`--cropper hf:DIR/model` names. SIGTERM and Ctrl-C save a checkpoint; "
        "--resume goes on. Needs the extra train. Several GPUs: accelerate launch "
        '--num_processes N "$(command -v cropvlm)" train sft ...',
    )
    training_flags.add_flags(parser, SFTSettings, _FLAGS)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Train, and tell what came out."""
    return training_flags.carry_out(given, SFTSettings, "the warm start", _trainer, _FIGURES)


def _trainer() -> "Callable[..., RunOutcome]":
    from cropvlm_core.training.sft import train_sft

    return train_sft


_FIGURES = {
    "loss": "loss {:.3f}",
    "eval_loss": "held-out loss {:.3f}",
    "eval_iou": "IoU with the teacher's boxes {:.2f}",
    "eval_hit_rate": "these hit {:.1%}",
}
