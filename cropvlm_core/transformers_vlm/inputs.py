"""From conversations to token ids and pixels.

Two ways. ``SharedInputs``, for models that cut pictures into tiles (the SmolVLM family), prepares
each picture once, however many conversations show it, and gives token ids that can be cut at any
place: what sharing work over a group of rollouts needs. ``WholeInputs``, for every other model,
hands whole conversations to its processor.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from cropvlm_core.cropper import size_within
from cropvlm_core.errors import ModelError
from cropvlm_core.vlm import Conversation

_MARKUP = re.compile(r"<[^\s<>]+>")
_PLACE = re.compile(r"<loc[0-9]{4}>")  # PaliGemma's box text: these may be written and scored


@dataclass(frozen=True)
class Picture:
    """One image as the model reads it.

    ``ids``: the tokens that stand for it. ``pixels``: (tiles, 3, height, width). ``mask``: which
    pixels are no padding, (tiles, height, width).
    """

    ids: tuple[int, ...]
    pixels: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class Prompt:
    """One conversation, up to where the model's reply begins.

    ``ids``: its tokens. ``pictures``: in the order of their tokens. ``head``: how many tokens
    belong to everything up to the end of the first picture (0 without one).
    """

    ids: tuple[int, ...]
    pictures: tuple[Picture, ...]
    head: int


class ChatText:
    """A conversation as the text that the model's chat template makes of it, and its tokens."""

    def __init__(self, processor: Any) -> None:
        """Use the chat template of ``processor``.

        Raises:
            ModelError: it has none.
        """
        if not getattr(processor, "chat_template", None):
            raise ModelError("expected a processor with a chat template, got one without")
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self._begin = str(getattr(self.tokenizer, "bos_token", None) or "")
        self._ends = {self.tokenizer.eos_token_id}
        if (end := getattr(processor, "end_of_utterance_token", None)) is not None:
            self._ends.add(self.tokenizer.convert_tokens_to_ids(end))
        longest_first = sorted(map(re.escape, _powerful(self.tokenizer)), key=len, reverse=True)
        self._special = re.compile("|".join(longest_first) or r"(?!)")

    def prompt(self, conversation: Conversation) -> str:
        """The text up to where the reply begins."""
        return self._rendered([self._user(conversation)], reply_follows=True)

    def reply(self, conversation: Conversation, reply: str) -> str:
        """What stands after :meth:`prompt` where the model has said ``reply``, its end included."""
        said = {"role": "assistant", "content": [{"type": "text", "text": self._plain(reply)}]}
        whole = self._rendered([self._user(conversation), said], reply_follows=False)
        prompt = self.prompt(conversation)
        if not whole.startswith(prompt):
            raise ModelError("expected a chat template that puts replies after the prompt")
        return whole[len(prompt) :]

    def replies(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[tuple[int, ...]]:
        """The tokens of each reply, up to and including the one that ends it."""
        texts = map(self.reply, conversations, replies)
        return [self._ended(self.ids(text.rstrip())) for text in texts]

    def ids(self, text: str) -> list[int]:
        """The tokens of a piece of text, and nothing around it."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def begins(self, text: str) -> bool:
        """Whether the template has written the token that begins a text; it is needed once."""
        return self._begin != "" and text.startswith(self._begin)

    def _ended(self, ids: list[int]) -> tuple[int, ...]:
        for place, token in enumerate(ids):
            if token in self._ends:
                return tuple(ids[: place + 1])
        return tuple(ids)

    def _user(self, conversation: Conversation) -> dict[str, Any]:
        content = [
            {"type": "text", "text": self._plain(part)}
            if isinstance(part, str)
            else {"type": "image"}
            for part in conversation.parts
        ]
        return {"role": "user", "content": content}

    def _rendered(self, messages: list[dict[str, Any]], *, reply_follows: bool) -> str:
        text = self.processor.apply_chat_template(
            messages, add_generation_prompt=reply_follows, tokenize=False
        )
        return str(text)

    def _plain(self, text: str) -> str:
        """Take their power from special tokens in what a user wrote: ``<image>``, ``<image >``."""
        return self._special.sub(lambda found: f"{found[0][:-1]} {found[0][-1]}", text)


def _powerful(tokenizer: Any) -> set[str]:
    """The texts that mean more to a model than their letters, and so never are a user's."""
    found = {str(token) for token in tokenizer.all_special_tokens}
    for token in tokenizer.added_tokens_decoder.values():
        text = str(token.content)
        if token.special or (_MARKUP.fullmatch(text) and not _PLACE.fullmatch(text)):
            found.add(text)
    return {text for text in found if len(text) > 1}


class SharedInputs:
    """Conversations for a model of the SmolVLM family; each picture is prepared once."""

    def __init__(self, processor: Any) -> None:
        """Use an ``Idefics3Processor``."""
        self.processor = processor
        self.text = ChatText(processor)
        begun = processor.tokenizer("a")["input_ids"]
        self._begin = tuple(begun[: len(begun) - len(self.text.ids("a"))])  # BOS, if any

    def prompts(
        self, conversations: Sequence[Conversation], known: dict[int, Picture] | None = None
    ) -> list[Prompt]:
        """Prepare conversations; an image object shown several times is prepared once.

        Args:
            conversations: what is asked.
            known: pictures prepared earlier, by the ``id`` of their image; new ones are added.
        """
        known = {} if known is None else known
        return [self._prompt(conversation, known) for conversation in conversations]

    def replies(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[tuple[int, ...]]:
        """The tokens of each reply, up to and including the one that ends it."""
        return self.text.replies(conversations, replies)

    def _prompt(self, conversation: Conversation, known: dict[int, Picture]) -> Prompt:
        segments = self.text.prompt(conversation).split(self.processor.image_token)
        images = conversation.images
        if len(segments) != len(images) + 1:
            raise ModelError(
                f"expected a chat template with {len(images)} images, got {len(segments) - 1}"
            )
        begin = () if self.text.begins(segments[0]) else self._begin
        ids = [*begin, *self.text.ids(segments[0])]
        head = 0
        pictures: list[Picture] = []
        for image, segment in zip(images, segments[1:], strict=True):
            if id(image) not in known:
                known[id(image)] = self.picture(image)
            pictures.append(known[id(image)])
            ids += pictures[-1].ids
            head = head or len(ids)
            ids += self.text.ids(segment)
        return Prompt(tuple(ids), tuple(pictures), head)

    def picture(self, image: Image.Image) -> Picture:
        """Prepare one image."""
        read = self.processor(
            text=[self.processor.image_token], images=[[image]], return_tensors="pt"
        )
        ids = read["input_ids"][0].tolist()[len(self._begin) :]
        return Picture(tuple(ids), read["pixel_values"][0], read["pixel_attention_mask"][0])


class WholeInputs:
    """Conversations for any other model: its own processor sees them whole."""

    def __init__(self, processor: Any, longest_edge: int | None) -> None:
        """Use ``processor``; images are first scaled down to ``longest_edge`` pixels."""
        self.processor = processor
        self.text = ChatText(processor)
        self.longest_edge = longest_edge

    def batch(
        self, conversations: Sequence[Conversation], replies: Sequence[str] | None = None
    ) -> Any:
        """The processor's tensors, padded on the left: conversations up to the reply.

        With ``replies``, these stand behind, and all rows end together.
        """
        texts = [self.text.prompt(conversation) for conversation in conversations]
        if replies is not None:
            said = map(self.text.reply, conversations, replies)
            texts = [text + reply.rstrip() for text, reply in zip(texts, said, strict=True)]
        images = [list(map(self._scaled, conversation.images)) for conversation in conversations]
        inputs = self.processor(
            text=texts,
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not self.text.begins(texts[0]),
        )
        inputs.pop("labels", None)  # PaliGemma's: it would compute a loss
        return inputs

    def followed(self, inputs: Any, replies: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor]:
        """Put replies behind what :meth:`batch` gave, padded on the right.

        Returns:
            the longer tensors, and which of the last S places hold a token of a reply, (B, S),
            where S is the longest reply.
        """
        prompts = inputs["input_ids"]
        ids = torch.zeros(len(replies), max(map(len, replies)), dtype=prompts.dtype)
        mask = torch.zeros_like(ids)
        for row, reply in enumerate(replies):
            ids[row, : len(reply)] = torch.tensor(reply)
            mask[row, : len(reply)] = 1
        added = {"input_ids": ids, "attention_mask": mask}
        if "PaliGemma" in type(self.processor).__name__:  # reads a prompt in both directions
            added["token_type_ids"] = torch.ones_like(ids)
        for name, value in inputs.items():
            if name.endswith(("ids", "mask")) and value.shape == prompts.shape:
                more = added.get(name, torch.zeros_like(ids)).to(value.dtype)
                inputs[name] = torch.cat([value, more], dim=1)
        return inputs, mask.bool()

    def _scaled(self, image: Image.Image) -> Image.Image:
        if self.longest_edge is None or max(image.size) <= self.longest_edge:
            return image
        size = size_within(image.size, self.longest_edge)
        return image.resize(size, Image.Resampling.LANCZOS)
