"""The warm start: a VLM learns to write the teacher's boxes (SFT), on TRL's trainer.

The paper (CropVLM, arXiv 2511.19820, section on the warm start) fine-tunes the policy on *(image,
question)* and the box that a teacher named, grown. Prompts, pictures and replies are made by the
code of inference, and the loss is on the reply alone: the box's text and the token that ends it.

Pages never enter the training set's table: a row is a number, and pages are opened a batch at a
time.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from cropvlm_core.box import NO_ZOOM_NEEDED, Box
from cropvlm_core.cropper import VLMCropper
from cropvlm_core.errors import DataError, ModelError, shorten
from cropvlm_core.questions import AnsweredQuestion, read_questions
from cropvlm_core.training.run_settings import SFTSettings
from cropvlm_core.training.runs import (
    RunFolder,
    RunOutcome,
    load_policy,
    lora,
    trl_arguments,
    write_result,
    write_settings,
)
from cropvlm_core.training.stopping import StopOnSignal, WholeCheckpoints
from cropvlm_core.transformers_vlm import TransformersCropper
from cropvlm_core.transformers_vlm.inputs import SharedInputs
from cropvlm_core.vlm import ConstantVLM

logger = logging.getLogger(__name__)

_TOLD = ("loss", "learning_rate", "mean_token_accuracy", "eval_loss", "eval_iou", "eval_hit_rate")

IGNORED = -100
"""The label of tokens that are not learned."""


@dataclass(frozen=True)
class SFTRow:
    """One thing to learn: the ``box`` for a question; None: that no zoom is needed."""

    question: AnsweredQuestion
    box: Box | None


def sft_rows(questions: Sequence[AnsweredQuestion], *, no_zoom: bool = False) -> list[SFTRow]:
    """Return what can be learned from labelled questions.

    The first box of a row is its teacher's. A row without one is left out, unless ``no_zoom`` and
    its ``reason`` is ``no_zoom_needed``.
    """
    rows = []
    for question in questions:
        if question.targets:
            rows.append(SFTRow(question, question.targets[0]))
        elif no_zoom and question.extra.get("reason") == "no_zoom_needed":
            rows.append(SFTRow(question, None))
    return rows


class SFTCollator:
    """Makes batches: opens pages and renders prompts and replies as at inference.

    ``input_ids``, ``attention_mask`` and ``labels`` are (rows, tokens), padded on the right;
    ``pixel_values`` is (rows, tiles, 3, height, width) and ``pixel_attention_mask`` (rows, tiles,
    height, width), padded with tiles of zeros, which the model leaves out.
    """

    def __init__(self, cropper: TransformersCropper, rows: Sequence[SFTRow]) -> None:
        """Make batches of ``rows``, which a batch names by their numbers."""
        # The same questions without the model, so that this can go to other processes.
        self.asking = VLMCropper(
            ConstantVLM(""),
            cropper.notation,
            cropper.rules,
            explain=cropper.explain,
            input_size=cropper.input_size,
        )
        self.inputs = SharedInputs(cropper.vlm.processor)
        self.rows = rows
        tokenizer = cropper.vlm.processor.tokenizer
        pad = tokenizer.pad_token_id
        self.pad = tokenizer.eos_token_id if pad is None else pad

    def __call__(self, chosen: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch of the rows that ``chosen`` names."""
        if torch.utils.data.get_worker_info() is not None:
            # a signal for the whole group is for the trainer to answer, which still needs batches
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        rows = [self.rows[each["row"]] for each in chosen]
        conversations = [self.asking.conversation(row.question) for row in rows]
        texts = [
            NO_ZOOM_NEEDED
            if row.box is None
            else self.asking.notation.write(row.box, size=conversation.images[0].size)
            for row, conversation in zip(rows, conversations, strict=True)
        ]
        prompts = self.inputs.prompts(conversations)
        replies = self.inputs.replies(conversations, texts)
        length = max(len(p.ids) + len(r) for p, r in zip(prompts, replies, strict=True))
        ids = torch.full((len(rows), length), self.pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for number, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
            start, end = len(prompt.ids), len(prompt.ids) + len(reply)
            ids[number, :end] = torch.tensor([*prompt.ids, *reply])
            mask[number, :end] = 1
            labels[number, start:end] = torch.tensor(reply)
        pictures = [prompt.pictures[0] for prompt in prompts]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            "pixel_values": _stacked([picture.pixels for picture in pictures]),
            "pixel_attention_mask": _stacked([picture.mask for picture in pictures]),
        }


def _stacked(tiles: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack tensors that differ in their first side, filled up with zeros."""
    return torch.nn.utils.rnn.pad_sequence(list(tiles), batch_first=True)


class CropSFTTrainer(WholeCheckpoints, SFTTrainer):
    """TRL's ``SFTTrainer`` for a policy of the SmolVLM family that learns to write boxes.

    Attributes:
        cropper: the policy; its prompt and notation are those of inference.
        rows: what is learned; ``held_out``: what is not.
    """

    def __init__(
        self,
        cropper: TransformersCropper,
        questions: Sequence[AnsweredQuestion],
        args: SFTConfig,
        *,
        held_out: Sequence[AnsweredQuestion] = (),
        eval_boxes: int = 64,
        peft_config: Any = None,
        callbacks: Any = None,
    ) -> None:
        """Prepare the run; no page is opened before it is needed.

        Args:
            cropper: the policy; its model is trained in place.
            questions: labelled; see :func:`sft_rows`.
            args: TRL's settings.
            held_out: labelled questions for evaluation, never trained on.
            eval_boxes: of how many of these the written boxes are compared with the teacher's.
            peft_config: LoRA; None trains every weight.
            callbacks: of the Hugging Face trainer.

        Raises:
            DataError: no row with a box.
            ModelError: a policy of another family.
        """
        policy = cropper.vlm
        if not policy.shares:
            kind = policy.model.config.model_type
            raise ModelError(f"expected a policy of the SmolVLM family, got {shorten(kind)}")
        self.cropper = cropper
        self.rows = sft_rows(questions, no_zoom=cropper.settings.no_zoom)
        self.held_out = sft_rows(held_out, no_zoom=cropper.settings.no_zoom)
        self.eval_boxes = eval_boxes
        if not self.rows or (held_out and not self.held_out):
            what = "held-out questions" if self.rows else "questions"
            count = len(held_out if self.rows else questions)
            raise DataError(
                f"expected {what} with boxes, got {count} without; cropvlm label makes them"
            )
        taught = len(self.rows)
        args.dataset_kwargs = {"skip_prepare_dataset": True}
        super().__init__(
            model=policy.model,
            args=args,
            data_collator=SFTCollator(cropper, [*self.rows, *self.held_out]),
            train_dataset=_numbered(0, taught),
            eval_dataset=_numbered(taught, len(self.held_out)) if held_out else None,
            processing_class=policy.processor,
            peft_config=peft_config,
            callbacks=callbacks,
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As the Trainer's; told in a line of this package's log too."""
        super().log(logs, *args, **kwargs)
        if self.is_world_process_zero():
            step = f"step {self.state.global_step}/{self.state.max_steps}"
            told = [f"{name} {logs[name]:.3g}" for name in _TOLD if name in logs]
            if told:
                logger.info("%s", "  ".join([step, *told]))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the Trainer's; adds how the written boxes compare with the teacher's.

        ``eval_iou``: mean intersection over union. ``eval_hit_rate``: share of the teacher's boxes
        that lie at least 90 % inside. What comes after in training does not depend on it.
        """
        with torch.random.fork_rng(devices=[]):
            figures: dict[str, float] = super().evaluate(*args, **kwargs)
            if self.held_out and self.eval_boxes:
                boxes = self._box_figures()
                self.log(boxes)
                figures |= boxes
        return figures

    def _box_figures(self) -> dict[str, float]:
        """Of the likeliest boxes for the first held-out rows; each process writes its share."""
        rows = self.held_out[: self.eval_boxes]
        mine = rows[self.args.process_index :: self.args.world_size]
        sums = torch.zeros(2, dtype=torch.float64)
        if mine:
            self.cropper.vlm.model.eval()
            with self.accelerator.autocast():
                proposals = self.cropper.propose_batch([row.question for row in mine])
            for row, proposal in zip(mine, proposals, strict=True):
                wanted = row.box or _WHOLE
                said = proposal.boxes[0] if proposal.boxes else _WHOLE
                sums += torch.tensor([wanted.iou(said), wanted.covered_by(said) >= 0.9])
        sums = self.accelerator.reduce(sums.float().to(self.accelerator.device))
        iou, hits = (sums / len(rows)).tolist()
        return {"eval_iou": iou, "eval_hit_rate": hits}

    def _send_telemetry(self) -> None:
        """Tell nobody; TRL would."""


_WHOLE = Box(0, 0, 1, 1)


def _numbered(start: int, count: int) -> Dataset:
    return Dataset.from_dict({"row": list(range(start, start + count))})


def train_sft(
    settings: SFTSettings,
    out: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
) -> RunOutcome:
    """Run the warm start: everything that ``cropvlm train sft`` does.

    Args:
        settings: of the run.
        out: its folder; see :mod:`cropvlm_core.training.runs`.
        resume: go on from the newest checkpoint in ``out``, where there is one.
        callbacks: of the Hugging Face trainer.

    Raises:
        DataError: the data or a setting does not fit, or ``out`` holds a run already.
        WeightsError: there is no such model.
        ModelError: it is not of the SmolVLM family.
    """
    folder = RunFolder(out)
    settings = settings.located()
    checkpoint = folder.checkpoint(resume=resume)
    questions = list(read_questions(settings.data))
    held_out = list(read_questions(settings.held_out)) if settings.held_out else []
    arguments = trl_arguments(settings, folder, held_out=bool(held_out))
    on_gpu = arguments["dataloader_pin_memory"]
    workers = settings.workers if settings.workers is not None else 2 * on_gpu
    cropper = load_policy(settings)
    listener = StopOnSignal()
    trainer = CropSFTTrainer(
        cropper,
        questions,
        SFTConfig(
            **arguments,
            dataloader_num_workers=workers,
            max_length=None,
            prediction_loss_only=True,
        ),
        held_out=held_out,
        eval_boxes=settings.eval_boxes,
        peft_config=lora(settings),
        callbacks=[listener, *callbacks],
    )
    if trainer.is_world_process_zero():
        write_settings(settings, folder)
    with listener:
        trainer.go_on(checkpoint)
    steps = trainer.state.global_step
    history: dict[str, float] = {}
    for figures in trainer.state.log_history:
        history |= figures
    if not listener.stopped:
        write_result(trainer, cropper, folder, _trained(trainer, settings))
    return RunOutcome(steps, listener.stopped, history, listener.signal)


def _trained(trainer: CropSFTTrainer, settings: SFTSettings) -> str:
    rows = settings.batch_size * settings.gradient_accumulation * trainer.args.world_size
    how = f"LoRA of rank {settings.lora_rank}" if settings.lora_rank else "all weights trained"
    return (
        f"Supervised fine-tuning (SFT) on {len(trainer.rows)} questions with a teacher's boxes: "
        f"{trainer.state.global_step} steps of {rows} rows, {how}, learning rate "
        f"{settings.learning_rate:g} ({settings.schedule})."
    )
