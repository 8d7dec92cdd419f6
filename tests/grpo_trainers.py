"""GRPO trainers as ``cropvlm train grpo`` makes them, and what tests ask them and their judges."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.cropper import VLMCropper
from cropvlm_core.questions import AnsweredQuestion, write_questions
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.rollouts import Rollout, roll_out
from cropvlm_core.training.run_settings import GRPOSettings, read_settings
from cropvlm_core.vlm import ConstantVLM, Conversation
from cropvlm_core.zoom import Zoom, ZoomPipeline
from tests import small_models
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from cropvlm_core.training import grpo_run  # noqa: E402
from cropvlm_core.training.grpo import CropGRPOTrainer  # noqa: E402
from cropvlm_core.transformers_vlm import TransformersVLM  # noqa: E402

GROUP = 4


def questions() -> list[AnsweredQuestion]:
    """Pages of different shape, prompts and answers of different length."""
    return [
        AnsweredQuestion(
            small_models.page(70 + 50 * number, 160 - 20 * number, number),
            "What is the total" + ", and please be exact," * number + "?",
            answers=("12.50" * (number + 1),),
        )
        for number in range(4)
    ]


class _Ready(Exception):  # noqa: N818 - it carries a trainer out, before its first step
    def __init__(self, trainer: CropGRPOTrainer) -> None:
        self.trainer = trainer


class _Kept(CropGRPOTrainer):
    def train(self, *_: Any, **__: Any) -> Any:
        raise _Ready(self)


def trainer_of(folder: Path, rewards: Sequence[Reward] | None = None, **told: Any) -> Any:
    """The trainer as ``cropvlm train grpo`` makes it of its settings."""
    data = folder / "questions.jsonl"
    if not data.exists():
        write_questions(data, questions())
    given = {
        "model": str(small_models.whole_vlm()),
        "data": str(data),
        "reward_model": "constant:12.50",
        "device_type": "cpu",
        "lora_rank": 4,
        "lora_alpha": 8,
        "group_size": GROUP,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "max_new_tokens": 8,
        "max_steps": 1,
        "log_steps": 1,
    }
    settings = read_settings(GRPOSettings, None, given | told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo_run, "CropGRPOTrainer", _Kept)
        with pytest.raises(_Ready) as ready:
            grpo_run.train_grpo(settings, folder / "out", rewards=rewards)
    trainer = ready.value.trainer
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def length(rollouts: Sequence[Rollout]) -> list[float | None]:
    return [float(len(rollout.text)) for rollout in rollouts]


def move(trainer: Any) -> None:
    """Take the policy away from the model it started from."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight += torch.randn_like(weight) * 0.02


def batch_of(trainer: Any, *rows: int) -> dict[str, Any]:
    """What is sampled and scored for the questions of these numbers, a group each."""
    told = [{"prompt": [{"role": "user", "content": "?"}], "row": row} for row in rows]
    batch: dict[str, Any] = trainer._generate_and_score_completions(
        [each for each in told for _ in range(GROUP)]
    )
    return batch


def say(trainer: Any, texts: Sequence[str]) -> None:
    """Have every group write these texts, from now on."""
    tokenizer = trainer.processing_class.tokenizer
    ids = [tokenizer(text + "<end_of_utterance>", add_special_tokens=False) for text in texts]
    written = itertools.cycle([each["input_ids"] for each in ids])
    trainer._generate_single_turn = lambda *_, **__: (
        [next(written) for _ in trainer._rows],
        None,
    )


def log_probabilities(trainer: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    with torch.no_grad():
        chances, doubts, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            batch["completion_ids"].shape[1],
            compute_entropy=True,
        )
    return chances, doubts


def learned(trainer: Any, batch: dict[str, Any]) -> tuple[float, Any]:
    """Loss and gradient of a batch."""
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    return loss.item(), torch.cat([weight.grad.flatten() for weight in weights])


def judge() -> TransformersVLM:
    return TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")


def plainly(vlm: TransformersVLM, conversation: Conversation, reply: str) -> Any:
    """Log-probability of each token of a reply, the end included, by transformers alone."""
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in conversation.parts
    ]
    talk = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": reply}]},
    ]
    write = vlm.processor.apply_chat_template
    texts = [
        write(talk[:1], add_generation_prompt=True, tokenize=False),
        write(talk, tokenize=False).rstrip(),
    ]
    prompt, whole = (
        vlm.processor(text=[text], images=[list(conversation.images)], return_tensors="pt")
        for text in texts
    )
    start = prompt["input_ids"].shape[1]
    with torch.no_grad():
        logits = vlm.model(**whole).logits[0, start - 1 : -1]
    return logits.log_softmax(-1).gather(-1, whole["input_ids"][0, start:, None]).squeeze(-1)


@contextmanager
def rows_read(head: Any) -> Iterator[list[int]]:
    """How many places' logits were computed, call by call."""
    seen: list[int] = []
    handle = head.register_forward_hook(
        lambda _module, _given, logits: seen.append(logits.numel() // logits.shape[-1])
    )
    try:
        yield seen
    finally:
        handle.remove()


@dataclass
class Listener:
    """A judge that notes what it is asked; each token of four letters costs the crop's share."""

    heard: list[tuple[Conversation, str]]

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        return ["NASA" for _ in conversations]

    def log_likelihood(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[float]:
        self.heard += zip(conversations, replies, strict=True)
        shares = [math.prod(c.images[-1].size) / math.prod(c.images[0].size) for c in conversations]
        counts = self.token_counts(replies)
        return [-share * count for share, count in zip(shares, counts, strict=True)]

    def token_counts(self, replies: Sequence[str]) -> list[int]:
        return [math.ceil(len(reply) / 4) for reply in replies]


def both_ways(question: AnsweredQuestion, text: str) -> tuple[Rollout, Zoom]:
    """What training and inference make of the same text."""
    cropper = VLMCropper(ConstantVLM(text))
    (rollout,) = roll_out([question], [text], notation=cropper.notation, rules=cropper.rules)
    return rollout, ZoomPipeline(cropper).zoom_batch([question])[0]


def reward_of(folder: Path, model: Path | None = None, **told: Any) -> Any:
    """The first reward of a run with these settings."""
    named = {"reward_model": f"hf:{model or small_models.whole_vlm()}"}
    settings = read_settings(GRPOSettings, None, {"model": "x", "data": "x"} | named | told)
    return grpo_run.load_rewards(settings, folder)[0]
