"""GRPO of a cropper on TRL's trainer, with the work on a page shared over its group of rollouts.

The paper (CropVLM, arXiv 2511.19820, section on GRPO) samples G boxes for one question, shows a
frozen model the page with each crop, and follows the advantage of each box over its group. TRL's
trainer does that, but encodes the page G times to sample, G times for the loss and G times for the
reference. :class:`CropGRPOTrainer` changes only how tokens are sampled and how their
log-probabilities are computed: each page goes through the vision tower once a pass (once in all
where that tower is frozen), each prompt through the language model once, and logits are computed
for completion tokens alone. Losses, advantages, KL, logging and checkpoints are TRL's own; loss
and gradients are the same numbers.

Pages never enter TRL: a training row is a prompt's text and the number of its question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from cropvlm_core.errors import DataError, ModelError, shorten
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.groups import GroupSampler, comparable, shuffled
from cropvlm_core.training.reward_values import values_of
from cropvlm_core.training.rewards import Reward, reward_names
from cropvlm_core.training.rollouts import Rollout, roll_out
from cropvlm_core.training.stopping import WholeCheckpoints
from cropvlm_core.transformers_vlm import TransformersCropper, TransformersVLM, shared
from cropvlm_core.transformers_vlm.inputs import Prompt
from cropvlm_core.transformers_vlm.sampling import Drawing


class CropGRPOTrainer(WholeCheckpoints, GRPOTrainer):
    """TRL's ``GRPOTrainer`` for a policy of the SmolVLM family that writes boxes.

    Attributes:
        cropper: the policy; its prompt, notation and rules are those of inference.
        rollouts: those of the last batch that was rewarded, in groups, for pictures and figures.
        reward_values: of each reward, one value a rollout.
        advantages: one a rollout.
    """

    def __init__(
        self,
        cropper: TransformersCropper,
        questions: Sequence[AnsweredQuestion],
        rewards: Sequence[Reward],
        args: GRPOConfig,
        *,
        held_out: Sequence[AnsweredQuestion] | None = None,
        peft_config: Any = None,
        callbacks: Any = None,
    ) -> None:
        """Prepare the run; nothing is opened before it is needed.

        Args:
            cropper: starts as the SFT model, which is also the reference of the KL term: with
                ``peft_config`` as this very model without its adapter, otherwise as the folder it
                was loaded from.
            questions: with answers; boxes are not looked at.
            rewards: summed, each with weight 1 unless ``args.reward_weights`` says otherwise.
            args: TRL's settings. Activation checkpointing, vLLM and tools are not possible.
            held_out: questions for evaluation, never trained on.
            peft_config: LoRA; None trains every weight.
            callbacks: of the Hugging Face trainer.

        Raises:
            DataError: fewer questions than one step takes, or one without an answer.
            ModelError: a policy of another family.
        """
        policy = cropper.vlm
        if not policy.shares:
            kind = policy.model.config.model_type
            raise ModelError(f"expected a policy of the SmolVLM family, got {shorten(kind)}")
        if args.use_vllm or args.gradient_checkpointing:
            raise DataError("expected use_vllm=False and gradient_checkpointing=False, got True")
        names = reward_names(rewards)
        needed = args.generation_batch_size // args.num_generations
        if 0 < len(questions) < needed:  # TRL drops what does not fill a step
            raise DataError(
                f"expected at least {needed} questions, which one step takes, got "
                f"{len(questions)}; lower gradient_accumulation or batch_size"
            )
        self.cropper = cropper
        self.policy = policy
        self.rollouts: list[Rollout] = []
        self.reward_values: dict[str, list[float | None]] = {}
        self.advantages: list[float] = []
        self._opened: dict[int, AnsweredQuestion] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._asked = {"train": list(questions), "eval": list(held_out or ())}
        self._prompts: dict[str, dict[int, Prompt]] = {"train": {}, "eval": {}}
        self._features: dict[tuple[str, int, int], torch.Tensor] = {}
        self._rows: list[int] = []
        super().__init__(
            model=policy.model,
            reward_funcs=[
                self._for_trl(reward, name) for reward, name in zip(rewards, names, strict=True)
            ],
            args=args,
            train_dataset=_dataset(self._asked["train"]),
            eval_dataset=_dataset(self._asked["eval"]) if held_out else None,
            processing_class=policy.processor,
            peft_config=peft_config,
            callbacks=callbacks,
        )
        self._buffered_inputs: Any
        trained = policy.model.model
        self._vision_learns = any(
            weight.requires_grad
            for part in (trained.vision_model, trained.connector)
            for weight in part.parameters()
        )
        self._pages: dict[bytes, torch.Tensor] = {}
        judges = [getattr(reward, "vlm", None) for reward in rewards]
        self._same_vision = [
            judge
            for judge in judges
            if isinstance(judge, TransformersVLM)
            and judge.shares
            and not (self._vision_learns or args.bf16 or args.fp16)
            and shared.same_vision(policy.model, judge.model)
        ]
        for judge in self._same_vision:  # what the policy saw of a page, it need not look at again
            judge.encoded = self._pages

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    # ---- what TRL asks, in the order in which it asks

    def _get_train_sampler(self, dataset: Any = None) -> GroupSampler:
        """As TRL's, but a run that is gone on with sees the order that it would have seen."""
        return GroupSampler(
            self.train_dataset if dataset is None else dataset,
            self.num_generations,
            self.args.generation_batch_size // self.num_generations,
            self.num_iterations * self.args.steps_per_generation,
            self.shuffle_dataset,
            self.args.seed,
            epoch=lambda: int(self.state.epoch or 0),
        )

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """As TRL's, but the rows of a group stay together when the buffer is shuffled."""
        if self._mode == "eval":
            return self._generate_and_score_completions(generation_batch)
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            batch = shuffled(batch, self.num_generations)
            self._buffered_inputs = split_tensor_dict(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        mode = self._mode
        self._rows = [int(row["row"]) for row in inputs]
        self._features.clear()
        self._pages.clear()
        distinct = list(dict.fromkeys(self._rows))
        asked = [self._asked[mode][row].opened() for row in distinct]
        self._opened = dict(zip(distinct, asked, strict=True))
        conversations = [self.cropper.conversation(question) for question in asked]
        sizes = [conversation.images[0].size for conversation in conversations]
        self._sizes = dict(zip(distinct, sizes, strict=True))
        prompts = self.policy.prompts(conversations)
        self._prompts[mode] = dict(zip(distinct, prompts, strict=True))
        output = super()._generate_and_score_completions(inputs)
        self.advantages = output["advantages"].tolist()
        output["rows"] = torch.tensor(self._rows, device=self.accelerator.device)
        return output

    def _tokenize_prompts(self, *_: Any) -> tuple[list[list[int]], None, dict[str, Any]]:
        known = self._prompts[self._mode]
        return [list(known[row].ids) for row in self._rows], None, {}

    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        known = self._prompts[self._mode]
        places: dict[int, list[int]] = {}
        for place, row in enumerate(self._rows):
            places.setdefault(row, []).append(place)
        drawn: list[list[int]] = [[] for _ in self._rows]
        # Processes share groups out unevenly at times, so rows may have different counts here.
        for count in sorted({len(each) for each in places.values()}):
            rows = [row for row, each in places.items() if len(each) == count]
            at_once = max(1, self.args.per_device_train_batch_size // count)
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                # under autocast as the loss is, so that what is scored is what was drawn from
                with torch.no_grad(), self.accelerator.autocast():
                    samples = self.policy.sampler.draw_shared(
                        [known[row] for row in some],
                        self._encoded(self.policy.model, some),
                        Drawing(count, self.temperature, self.args.max_completion_length),
                    )
                for row, group in zip(some, samples, strict=True):
                    for place, sample in zip(places[row], group, strict=True):
                        drawn[place] = list(sample.ids)
        return drawn, None

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        self.rollouts = roll_out(
            [self._opened[row] for row in self._rows],
            [completion[0]["content"] for completion in completions],
            notation=self.cropper.notation,
            rules=self.cropper.rules,
            no_zoom=self.cropper.settings.no_zoom,
            sizes=[self._sizes[row] for row in self._rows],
        )
        scores: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        group = self.num_generations if self._mode == "train" else self.num_generations_eval
        scores = comparable(scores, group)
        if self._mode == "train":  # of a group with one score, nothing can be learned
            scored = (~scores.isnan().all(-1)).view(-1, group).sum(1)
            self.note("dropped_groups", float((scored < 2).float().mean()))
        return scores

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._rows = inputs["rows"].tolist()
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Log-probabilities of the completions, (rows, tokens), at the sampling temperature."""
        if compute_aux_loss:
            raise ModelError("expected a dense language model, got one of experts")
        ids, mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        at_once = batch_size or len(ids)
        parts = []
        for start in range(0, len(ids), at_once):
            part = slice(start, start + at_once)
            rows = self._rows[part]
            parts.append(
                _through(model, _inner(model), self._log_probabilities)(rows, ids[part], mask[part])
            )
        chances = torch.cat([chance for chance, _ in parts])
        doubts = torch.cat([doubt for _, doubt in parts])
        return chances, doubts if compute_entropy else None, None

    # ---- what is ours

    def note(self, name: str, value: float) -> None:
        """Log a figure of training with TRL's own: the mean of its values since the last line."""
        self._metrics["train"][name].append(value)

    def _log_probabilities(
        self, inner: Any, rows: Sequence[int], ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with self.accelerator.autocast():
            distinct = list(dict.fromkeys(rows))
            known = self._prompts[self._mode]
            prefixes = shared.read_prefixes(
                inner, [known[row].ids for row in distinct], self._encoded(inner, distinct)
            )
            index = torch.tensor([distinct.index(row) for row in rows], device=ids.device)
            return shared.log_probabilities(
                inner, prefixes, index, ids, mask, temperature=self.temperature
            )

    def _encoded(self, inner: Any, rows: Sequence[int]) -> list[torch.Tensor]:
        """The features of the rows' pages; those of a frozen vision tower are kept."""
        known = self._prompts[self._mode]
        if self._vision_learns and inner is self.policy.model:
            return shared.encode(inner, [known[row].pictures[0] for row in rows])
        keys = {row: (self._mode, id(inner), row) for row in rows}
        missing = [row for row in rows if keys[row] not in self._features]
        if missing:
            with torch.no_grad():
                found = shared.encode(inner, [known[row].pictures[0] for row in missing])
            self._features |= {keys[row]: each for row, each in zip(missing, found, strict=True)}
            if self._same_vision and inner is self.policy.model:
                for row, each in zip(missing, found, strict=True):
                    self._pages[shared.content(known[row].pictures[0])] = each
        return [self._features[keys[row]] for row in rows]

    def _for_trl(self, reward: Reward, name: str) -> Callable[..., list[float | None]]:
        def scores(**_: Any) -> list[float | None]:
            self.reward_values[name] = values_of(reward, self.rollouts)
            return self.reward_values[name]

        scores.__name__ = name
        return scores

    def _send_telemetry(self) -> None:
        """Tell nobody; TRL would."""


def _dataset(questions: Sequence[AnsweredQuestion]) -> Dataset:
    if not questions:
        raise DataError("expected at least one question to train on, got none")
    for question in questions:
        if not question.answers:
            name = question.id or question.question
            raise DataError(f"expected an answer to every question, got none for {shorten(name)}")
    return Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": each.question}] for each in questions],
            "row": list(range(len(questions))),
        }
    )


def _inner(model: Any) -> Any:
    """The model itself, out of what distributed training and PEFT wrap around it."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _through(wrapper: Any, inner: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``method`` of ``inner``, to be called so that ``wrapper`` takes part.

    Distributed training prepares the exchange of gradients in the forward pass of its wrapper, so
    the call goes through that, with ``method`` in the place of the inner forward.
    """
    outermost = wrapper
    while hasattr(wrapper, "module"):
        wrapper = wrapper.module
    if wrapper is outermost:
        return lambda *args: method(inner, *args)

    def call(*args: Any) -> Any:
        held = wrapper.__dict__.get("forward")

        def once(*given: Any) -> Any:
            _restore(wrapper, held)
            return method(inner, *given)

        wrapper.forward = once
        try:
            return outermost(*args)
        finally:
            _restore(wrapper, held)

    return call


def _restore(module: Any, held: Any) -> None:
    if held is None:
        module.__dict__.pop("forward", None)
    else:
        module.forward = held
