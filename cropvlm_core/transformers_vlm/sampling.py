"""Drawing replies with ``generate()`` of transformers: greedy or sampled, freely or as boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from cropvlm_core.transformers_vlm import shared
from cropvlm_core.transformers_vlm.decoding import (
    BoxLogitsProcessor,
    BoxStoppingCriteria,
    BoxTracker,
    TokenTable,
    box_log_probabilities,
)
from cropvlm_core.transformers_vlm.inputs import Prompt

if TYPE_CHECKING:
    from cropvlm_core.grammar import BoxGrammar


@dataclass(frozen=True)
class Sample:
    """What a model wrote: token ``ids`` (up to the one that ended it, included), their ``text``.

    ``log_probability``: of a box, up to the token that closed it, under the constrained
    distribution; None where nothing was constrained.
    """

    ids: tuple[int, ...]
    text: str
    log_probability: float | None = None


@dataclass(frozen=True)
class Drawing:
    """How replies are drawn.

    Attributes:
        count: replies a conversation.
        temperature: 0 takes the likeliest token each time.
        max_new_tokens: the most tokens of a reply.
        grammars: one a conversation: only box text that it allows is written, and a reply ends
            where its box closes.

    Raises:
        ValueError: several replies without a temperature.
    """

    count: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 128
    grammars: Sequence[BoxGrammar] | None = None

    def __post_init__(self) -> None:
        """Check that several replies can differ."""
        if self.count > 1 and self.temperature <= 0:
            raise ValueError(f"expected a temperature above 0 for {self.count} replies, got 0")


class Sampler:
    """Draws replies from one model; top-k and penalties that a checkpoint asks for are not used."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Use a model and its processor."""
        self.model = model
        self.processor = processor
        self.tokenizer = processor.tokenizer

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a reply: the tokenizer's, the model's, and the chat template's."""
        named = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ends = {self.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
        token = getattr(self.processor, "end_of_utterance_token", None)
        if token is not None:
            ends.add(self.tokenizer.convert_tokens_to_ids(token))
        return tuple(sorted(end for end in ends if end is not None))

    def draw(self, inputs: Any, how: Drawing) -> list[list[Sample]]:
        """Draw from the processor's tensors: ``how.count`` samples for each row, in order."""
        return self._draw(inputs, how, how.count)

    def draw_shared(
        self, prompts: Sequence[Prompt], features: Sequence[torch.Tensor], how: Drawing
    ) -> list[list[Sample]]:
        """Draw from prompts that are each read once, whatever ``how.count`` is.

        Args:
            prompts: conversations up to the reply.
            features: of all their pictures, in order, as ``shared.encode`` gives them.
            how: see :class:`Drawing`.
        """
        read = shared.read_prefixes(self.model, [prompt.ids[:-1] for prompt in prompts], features)
        read.cache.batch_repeat_interleave(how.count)
        last = torch.tensor([[prompt.ids[-1]] for prompt in prompts], device=self.model.device)
        # generate() looks at the length alone where the cache holds the tokens
        ids = torch.cat([torch.zeros_like(read.mask), last], dim=1)
        mask = torch.cat([read.mask, torch.ones_like(last)], dim=1)
        inputs = {
            "input_ids": ids.repeat_interleave(how.count, dim=0),
            "attention_mask": mask.repeat_interleave(how.count, dim=0),
            shared.cache_argument(self.model): read.cache,
        }
        return self._draw(inputs, how, 1)

    def _draw(self, inputs: Any, how: Drawing, sequences_a_row: int) -> list[list[Sample]]:
        length = inputs["input_ids"].shape[1]
        ends = self.ends  # before the model's own settings are put aside
        tracker = None
        if how.grammars is not None:
            tracker = BoxTracker(self._table, how.grammars, length)
        drawn: dict[str, Any] = {"do_sample": False}
        if how.temperature > 0:
            drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0}
        with self._own_rules():
            said = self.model.generate(
                **inputs,
                generation_config=GenerationConfig(
                    max_new_tokens=how.max_new_tokens,
                    num_return_sequences=sequences_a_row,
                    pad_token_id=self._pad,
                    eos_token_id=list(ends),
                    use_cache=True,
                    return_dict_in_generate=True,
                    output_scores=tracker is not None,
                    **drawn,
                ),
                logits_processor=LogitsProcessorList(
                    [] if tracker is None else [BoxLogitsProcessor(tracker, ends)]
                ),
                stopping_criteria=StoppingCriteriaList(
                    [] if tracker is None else [BoxStoppingCriteria(tracker)]
                ),
            )
        ids = said.sequences[:, length:]
        chances: list[float | None] = [None] * len(ids)
        lengths: list[int | None] = [None] * len(ids)
        if tracker is not None:
            chances = box_log_probabilities(said.scores, ids, tracker).tolist()
            lengths = tracker.lengths(ids)
        rows = [row[:end] for row, end in zip(ids.tolist(), lengths, strict=True)]
        samples = list(map(self._sample, rows, chances))
        return [samples[start : start + how.count] for start in range(0, len(samples), how.count)]

    @contextmanager
    def _own_rules(self) -> Iterator[None]:
        """generate() fills what we leave open from the checkpoint: penalties, forbidden words."""
        theirs = self.model.generation_config
        self.model.generation_config = GenerationConfig()
        try:
            yield
        finally:
            self.model.generation_config = theirs

    @cached_property
    def _table(self) -> TokenTable:
        return TokenTable(self.tokenizer)

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(self.ends[0] if pad is None else pad)

    def _sample(self, row: list[int], chance: float | None) -> Sample:
        length = next(
            (place + 1 for place, token in enumerate(row) if token in self.ends), len(row)
        )
        ids = row[:length]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Sample(tuple(ids), text.strip(), chance)
