"""What runs of the warm start and of GRPO share: their policy, TRL's arguments, their folder.

::

    OUT/settings.yaml      what the run was told
    OUT/checkpoints/       to go on from: checkpoint-N
    OUT/adapter/           the LoRA adapter, for PEFT and for hf:OUT/adapter
    OUT/model/             the whole model, for transformers and for hf:OUT/model
"""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from peft import LoraConfig, PeftModel
from transformers.integrations import get_available_reporting_integrations

from cropvlm_core import __version__
from cropvlm_core.box import BoxNotation
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.journal import write_whole
from cropvlm_core.training.run_settings import RunSettings, to_yaml
from cropvlm_core.training.stopping import checkpoints, whole_folder
from cropvlm_core.transformers_vlm import CropperSettings, TransformersCropper
from cropvlm_core.transformers_vlm.weights import base_of_adapter, choose_device, choose_dtype

LANGUAGE = r".*text_model.*\.(q|k|v|o|gate|up|down)_proj"
"""What LoRA adapts in the language model (paper, training details)."""

VISION = r".*vision_model.*\.(fc1|fc2)|.*connector.*\.proj"
"""What LoRA adapts in the vision tower and the connector (paper, training details)."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where a run writes."""

    path: Path

    @property
    def settings(self) -> Path:
        """What the run was told, as YAML."""
        return self.path / "settings.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of the trainer's checkpoints."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The LoRA adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The whole model."""
        return self.path / "model"

    def checkpoint(self, *, resume: bool) -> Path | None:
        """Return the checkpoint to go on from; None: start anew.

        Raises:
            DataError: there is a run already, and it shall not be resumed.
        """
        found = checkpoints(self.checkpoints)
        if not resume and (found or self.model.exists()):
            raise DataError(
                "expected a folder without a run, or resume (--resume), got "
                f"{shorten(str(self.path))}"
            )
        return found[-1] if found else None


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """How a run ended: after how many steps, whether stopped and by which signal, its figures."""

    steps: int
    stopped: bool
    figures: Mapping[str, float]
    signal: int = signal.SIGTERM


def load_policy(settings: RunSettings) -> TransformersCropper:
    """Load the cropper to train, in fp32, with the settings that its checkpoints will have.

    A model that was never a cropper learns the paper's prompt and notation.

    Raises:
        DataError: the model is an adapter.
        WeightsError: there is no such model.
    """
    if base_of_adapter(settings.model) is not None:
        raise DataError(
            f"expected a whole model to start from, got an adapter: {shorten(settings.model)}"
        )
    loaded = TransformersCropper.from_pretrained(
        settings.model, device="cpu", dtype="float32", input_size=settings.input_size
    )
    given = CropperSettings() if loaded.settings.explain else loaded.settings
    written = settings.notation
    trained = dataclasses.replace(
        given,
        notation=given.notation if written is None else BoxNotation.from_name(written),
        input_size=settings.input_size or given.input_size,
        no_zoom=settings.no_zoom or given.no_zoom,
    )
    return TransformersCropper(loaded.vlm, trained, name=loaded.name)


def lora(settings: RunSettings) -> LoraConfig | None:
    """Return the adapter to train; None: every weight is trained."""
    if settings.lora_rank == 0:
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=f"{LANGUAGE}|{VISION}" if settings.lora_vision else LANGUAGE,
        task_type="CAUSAL_LM",
    )


def trl_arguments(settings: RunSettings, folder: RunFolder, *, held_out: bool) -> dict[str, Any]:
    """Return what TRL's configurations have in common.

    Raises:
        DataError: a logger or a schedule that is not there.
    """
    if missing := sorted(set(settings.report_to) - set(get_available_reporting_integrations())):
        raise DataError(f"expected installed loggers in report_to, got {', '.join(missing)}")
    if settings.schedule not in (known := [each.value for each in transformers.SchedulerType]):
        raise DataError(f"expected a schedule of {known}, got {shorten(settings.schedule)}")
    device = choose_device("cpu" if settings.device_type == "cpu" else None)
    fast = choose_dtype(None, device) is torch.bfloat16
    # transformers renamed it, and warns of the old name
    names = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    new = "activation_checkpointing" in names
    checkpointing = "activation_checkpointing" if new else "gradient_checkpointing"
    return {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup,  # below 1: a share of all steps
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        checkpointing: settings.activation_checkpointing,
        "bf16": settings.precision == "bf16" or (settings.precision == "auto" and fast),
        "use_cpu": settings.device_type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "seed": settings.seed,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": settings.keep_checkpoints,
        "eval_strategy": "steps" if held_out else "no",
        "eval_steps": settings.eval_steps or settings.save_steps,
        "logging_steps": settings.log_steps,
        "report_to": list(settings.report_to) or "none",
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,  # every batch has pages
        "disable_tqdm": not sys.stderr.isatty(),
    }


def draw_no_bars() -> None:
    """Have transformers draw no progress bars, for the rest of this process."""
    transformers.utils.logging.disable_progress_bar()


def write_settings(settings: RunSettings, folder: RunFolder) -> None:
    """Write what the run is told, whole or not at all: a run is gone on with by it."""
    folder.path.mkdir(parents=True, exist_ok=True)
    write_whole(folder.settings, to_yaml(settings))


def write_result(
    trainer: Any, cropper: TransformersCropper, folder: RunFolder, trained: str
) -> None:
    """Write the adapter, where there is one, and the whole model; the first process does.

    Args:
        trainer: whose training is over; its adapter is merged into the model.
        cropper: what it trained.
        folder: of the run.
        trained: a paragraph of the model card on how the weights were made.
    """
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        if isinstance(model, PeftModel):
            with whole_folder(folder.adapter) as place:
                model.save_pretrained(place)
                cropper.settings.save(place)
            model.merge_and_unload()  # into the cropper's model
        by = (
            f"cropvlm {__version__}, transformers {transformers.__version__}, trl {trl.__version__}"
        )
        with whole_folder(folder.model) as place:
            cropper.save_pretrained(place, trained=f"{trained} Made with {by}.")
    trainer.accelerator.wait_for_everyone()
