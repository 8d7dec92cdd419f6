"""TransformersVLM: any Hugging Face image-text-to-text model on this machine."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from cropvlm_core.errors import ModelError, shorten
from cropvlm_core.transformers_vlm import likelihood, shared
from cropvlm_core.transformers_vlm.gallery import Gallery
from cropvlm_core.transformers_vlm.inputs import Prompt, SharedInputs, WholeInputs
from cropvlm_core.transformers_vlm.processors import load_processor, set_input_size
from cropvlm_core.transformers_vlm.sampling import Drawing, Sample, Sampler
from cropvlm_core.transformers_vlm.weights import (
    choose_device,
    choose_dtype,
    load_model,
)
from cropvlm_core.vlm import Conversation

if TYPE_CHECKING:
    from cropvlm_core.grammar import BoxGrammar


class TransformersVLM:
    """A model of the Hugging Face Hub, or of a folder, as target, reward or cropper.

    Conversations are rendered by the model's own chat template. Models of the SmolVLM family
    (``idefics3``, ``smolvlm``) encode an image object once, however many conversations of a call
    show it, and read their common beginning once. Calls from several threads take turns.

    Attributes:
        model: the ``transformers`` model; its device and dtype are where and how it computes.
        processor: its processor.
        max_new_tokens: the most tokens of one reply.
        batch_size: how many conversations go through the model at a time.
        name: what the model is called in messages and caches.
        encoded: features of pictures that somebody else encodes with an equal vision tower, by
            ``shared.content`` of the picture; training fills it.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        max_new_tokens: int = 128,
        batch_size: int = 8,
        input_size: int | None = None,
        name: str | None = None,
    ) -> None:
        """Use a loaded model; see :meth:`from_pretrained` for the usual way."""
        if max_new_tokens < 1 or batch_size < 1:
            raise ValueError(
                f"expected max_new_tokens and batch_size above 0, got {max_new_tokens} and "
                f"{batch_size}"
            )
        self.model = model
        self.processor = processor
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.input_size = input_size
        self.name = name or str(getattr(model.config, "name_or_path", "") or "model")
        self.shares = shared.can_share(model)
        self._shared = SharedInputs(processor) if self.shares else None
        self.whole_inputs = WholeInputs(processor, input_size)
        self.sampler = Sampler(model, processor)
        self.encoded: Mapping[bytes, torch.Tensor] = {}
        self._turn = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        attention: str = "sdpa",
        input_size: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 8,
    ) -> TransformersVLM:
        """Load a model: safetensors only, never code that comes with the weights.

        Args:
            name: a folder, or an id on the Hub. A folder with a PEFT adapter is merged into its
                base model (needs the extra ``train``).
            revision: branch, tag or commit on the Hub.
            device: such as ``cuda:1``; None: CUDA, then MPS, then the CPU.
            dtype: such as ``bfloat16``; None: bfloat16 on a GPU that has it, else float32.
            attention: ``sdpa``, ``eager``, or ``flash_attention_2`` where that is installed.
            input_size: longest edge in pixels at which the model sees an image; None: its own.
            max_new_tokens: the most tokens of one reply.
            batch_size: conversations at a time.

        Raises:
            WeightsError: no such model, or no safetensors.
            MissingExtraError: an adapter without PEFT.
            ValueError: a dtype or number out of range.
        """
        place = choose_device(device)
        model = load_model(
            name,
            revision=revision,
            device=place,
            dtype=choose_dtype(dtype, place),
            attention=attention,
        )
        processor = load_processor(name, revision=revision, input_size=input_size)
        return cls(
            model,
            processor,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            input_size=input_size,
            name=os.fspath(name) if revision is None else f"{os.fspath(name)}@{revision}",
        )

    def at(self, size: int) -> TransformersVLM:
        """Return the same model, its weights shared, that sees images at ``size`` pixels.

        Args:
            size: longest edge, as ``input_size`` of :meth:`from_pretrained`.
        """
        processor = copy.copy(self.processor)
        processor.image_processor = copy.copy(processor.image_processor)
        set_input_size(processor, size)
        return TransformersVLM(
            self.model,
            processor,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            input_size=size,
            name=self.name,
        )

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        """Answer each conversation with the likeliest tokens, one after the other.

        Raises:
            ModelError: the device ran out of memory.
        """
        return [samples[0].text for samples in self.sample(conversations)]

    def log_likelihood(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[float]:
        """Log-probability of each reply, its end-of-reply token included: natural log, summed.

        Conversations that begin with the same image object share the work on it.

        Raises:
            ValueError: not one reply a conversation.
            ModelError: the device ran out of memory.
        """
        if len(conversations) != len(replies):
            raise ValueError(
                f"expected one reply a conversation, got {len(replies)} for {len(conversations)}"
            )
        found = [0.0] * len(conversations)
        rows = likelihood.order(conversations)
        with self._at_work():
            gallery = self._gallery(conversations)
            for start in range(0, len(rows), self.batch_size):
                part = rows[start : start + self.batch_size]
                asked = [conversations[row] for row in part]
                said = self.whole_inputs.text.replies(asked, [replies[row] for row in part])
                if gallery is None:
                    sums = self._whole_likelihoods(asked, said)
                else:
                    sums = likelihood.reply_log_likelihoods(self.model, *gallery.show(asked), said)
                for row, value in zip(part, sums, strict=True):
                    found[row] = value
        return found

    def token_counts(self, replies: Sequence[str]) -> list[int]:
        """How many tokens :meth:`log_likelihood` sums over for each reply."""
        nothing = [Conversation(("",))] * len(replies)
        with self._turn:  # a tokenizer is for one thread at a time
            return [len(ids) for ids in self.whole_inputs.text.replies(nothing, replies)]

    def sample(
        self,
        conversations: Sequence[Conversation],
        *,
        count: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int | None = None,
        grammars: Sequence[BoxGrammar] | None = None,
    ) -> list[list[Sample]]:
        """Draw ``count`` replies to each conversation.

        Args:
            conversations: what is asked.
            count: replies a conversation; each conversation is encoded and read once for all.
            temperature: 0 takes the likeliest token each time.
            max_new_tokens: the most tokens; None: those of the model.
            grammars: one a conversation: only box text that it allows is written, and a reply ends
                where its box closes.

        Raises:
            ModelError: the device ran out of memory.
            ValueError: several replies without a temperature.
        """
        found: list[list[Sample]] = []
        rows = max(1, self.batch_size // count)
        with self._at_work():
            gallery = self._gallery(conversations)
            for start in range(0, len(conversations), rows):
                part = slice(start, start + rows)
                how = Drawing(
                    count,
                    temperature,
                    max_new_tokens or self.max_new_tokens,
                    None if grammars is None else grammars[part],
                )
                if gallery is None:
                    inputs = self.whole_inputs.batch(conversations[part])
                    found += self.sampler.draw(inputs.to(self.model.device), how)
                else:
                    prompts, features = gallery.show(conversations[part])
                    every = [feature for row in features for feature in row]
                    found += self.sampler.draw_shared(prompts, every, how)
        return found

    def prompts(self, conversations: Sequence[Conversation]) -> list[Prompt]:
        """Prepare conversations for training, which reads them itself; SmolVLM family only.

        Raises:
            ModelError: a model of another family.
        """
        if self._shared is None:
            kind = self.model.config.model_type
            raise ModelError(f"expected a model of the SmolVLM family, got {shorten(kind)}")
        return self._shared.prompts(conversations)

    def _gallery(self, conversations: Sequence[Conversation]) -> Gallery | None:
        if self._shared is None:
            return None
        return Gallery(self.model, self._shared, conversations, self.encoded)

    def _whole_likelihoods(
        self, conversations: Sequence[Conversation], replies: Sequence[Sequence[int]]
    ) -> list[float]:
        """Read every conversation whole, with the tokens of its reply behind it."""
        inputs, said = self.whole_inputs.followed(self.whole_inputs.batch(conversations), replies)
        inputs, said = inputs.to(self.model.device), said.to(self.model.device)
        longest = said.shape[1]
        # one more, as each token is chosen at the place before it
        logits = self.model(**inputs, logits_to_keep=longest + 1).logits[:, -longest - 1 : -1]
        chosen = inputs["input_ids"][:, -longest:, None]
        each = torch.log_softmax(logits.float(), dim=-1).gather(-1, chosen).squeeze(-1)
        return likelihood.summed(each.where(said, 0.0))

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """One caller at a time, no gradients; memory that ran out is an error of the model."""
        with self._turn, torch.no_grad():
            try:
                yield
            except RuntimeError as error:
                if not _ran_out(error):
                    raise
                raise ModelError(
                    f"expected {shorten(self.name)} to fit the memory of {self.model.device}, it "
                    f"ran out; lower batch_size ({self.batch_size}) or input_size"
                ) from error


def _ran_out(error: RuntimeError) -> bool:
    """Whether memory ran out: CUDA has a class for it, MPS and the CPU only words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(
        each in str(error).lower() for each in words
    )
