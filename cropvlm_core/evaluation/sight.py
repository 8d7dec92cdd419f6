"""Sight: at which size the target sees pictures, what they cost it, and asking it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

from cropvlm_core.box import Pixels
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.tokens import TokenRule, image_tokens, size_of_equal_cost
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.vlm import VLM, Conversation, checked_replies

Size = tuple[int, int]


@runtime_checkable
class ResizingVLM(VLM, Protocol):
    """A VLM that scales pictures by itself. ``scales_up = True``: small ones up, too."""

    def at(self, size: int) -> VLM:
        """Return the same model at another size: pixels of the longest edge."""
        ...


@dataclass(frozen=True)
class Request:
    """Pictures of one page for the target, in order.

    ``places``: for each picture its pixels on the page, None for the page itself. ``edge``: longest
    edge at which it is seen, instead of the target's own size.
    """

    pictures: tuple[Image.Image, ...]
    places: tuple[Pixels | None, ...]
    edge: int | None = None


@dataclass(frozen=True)
class Reply:
    """What the target said, and its share of the seconds that the question took."""

    text: str
    seconds: float


class Sight:
    """A target, the size at which it sees each picture, and what pictures cost.

    ``size``: longest edge in pixels to which every picture is scaled down before the target sees
    it; None: as they are. ``rule``: image tokens, None where unknown; then pixels are the cost of
    :meth:`edge_of_equal_cost`.
    """

    def __init__(
        self, target: VLM | None, size: int | None = None, rule: TokenRule | None = None
    ) -> None:
        """See above; a target may bring its own size.

        Raises:
            DataError: it does, and another one is asked for.
        """
        own: int | None = getattr(target, "size", None)
        if own is not None and size not in (None, own):
            raise DataError(f"expected a target's own size, {own}, or none, got {shorten(size)}")
        if own is None and size is not None and isinstance(target, ResizingVLM):
            target = target.at(size)
        self.target = target
        self.size = size if own is None else own
        self.rule = rule
        self._scales_up = bool(getattr(target, "scales_up", False))

    def seen(self, picture: Image.Image, edge: int | None = None) -> Size:
        """Pixels of ``picture`` as the target sees it, longest edge ``edge`` or its own."""
        longest = edge or self.size
        if longest is None:
            return picture.size
        scale = longest / max(picture.size)
        if not self._scales_up:
            scale = min(1.0, scale)
        width, height = picture.size
        return max(1, round(width * scale)), max(1, round(height * scale))

    def tokens(self, request: Request) -> int | None:
        """Image tokens of a request; None without a rule."""
        if self.rule is None:
            return None
        sizes = [self.seen(picture, request.edge) for picture in request.pictures]
        return image_tokens(self.rule, sizes)

    def edge_of_equal_cost(self, page: Image.Image, crops: Sequence[Image.Image]) -> int | None:
        """Longest edge at which the page alone costs what page and crops cost at the own size.

        At most the page's own; None where the target sees pictures at any size.
        """
        if self.size is None or self.target is None:
            return None
        equal = size_of_equal_cost(
            page.size,
            [self.seen(crop) for crop in crops],
            self.size,
            self.rule,
            scales_up=self._scales_up,
        )
        return max(equal)

    def ask(self, question: str, requests: Sequence[Request]) -> list[Reply]:
        """Ask one question about several requests; equal requests are asked once.

        Raises:
            ModelError: the target failed at one of them.
        """
        assert self.target is not None
        keys = [(request.places, self._other(request.edge)) for request in requests]
        wanted = dict(zip(keys, requests, strict=True))
        texts: dict[tuple[object, ...], str] = {}
        start = time.perf_counter()
        for edge in dict.fromkeys(key[1] for key in keys):
            alike = [key for key in wanted if key[1] == edge]
            conversations = [
                Conversation((*self._scaled(wanted[key]), answer_prompt(question))) for key in alike
            ]
            replies = checked_replies(self._target(edge).reply(conversations), len(alike))
            texts |= zip(alike, replies, strict=True)
        share = (time.perf_counter() - start) / max(1, len(wanted))
        return [Reply(texts[key], share) for key in keys]

    def _other(self, edge: int | None) -> int | None:
        return None if edge == self.size else edge

    def _target(self, edge: int | None) -> VLM:
        assert self.target is not None
        if edge is not None and isinstance(self.target, ResizingVLM):
            return self.target.at(edge)
        return self.target

    def _scaled(self, request: Request) -> list[Image.Image]:
        if isinstance(self.target, ResizingVLM):
            return list(request.pictures)
        return [
            picture
            if (size := self.seen(picture, request.edge)) == picture.size
            else picture.resize(size, Image.Resampling.LANCZOS)
            for picture in request.pictures
        ]
