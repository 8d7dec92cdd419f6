"""Cropper (what we own: one abstract method), Proposal (what it says), ZoomRules, and controls."""

import hashlib
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from PIL import Image

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.errors import ProposalError, shorten
from cropvlm_core.prompts import cropper_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import VLM, Conversation, checked_replies

Reason = Literal["no_zoom_needed", "low_confidence", "unreadable", "timed_out"]
"""Why there is no crop, and the whole image is used."""

_REASONS: tuple[str, ...] = get_args(Reason)
_PATCH = 28  # pixels: the unit of Qwen2.5-VL's input sizes


@dataclass(frozen=True)
class Proposal:
    """What a policy said: raw boxes, best first, or the ``reason`` why there is none.

    ``confidences`` are 0..1 or None, one a box (left out: all None), never rising. ``text`` is
    what the policy wrote, if it writes. ``places``, one a box: where in it the answer itself
    stands, from a policy that tells this apart from what it wants shown (left out: the boxes).

    Raises:
        ProposalError: boxes and reason contradict each other, or confidences or places do not fit.
    """

    boxes: tuple[Box, ...] = ()
    confidences: tuple[float | None, ...] = ()
    text: str | None = None
    reason: Reason | None = None
    places: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        boxes = tuple(self.boxes)
        given = tuple(self.confidences) or (None,) * len(boxes)
        confidences = tuple(None if value is None else float(value) for value in given)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "confidences", confidences)
        object.__setattr__(self, "places", tuple(self.places) or boxes)
        if bool(boxes) == (self.reason is not None):
            raise ProposalError(
                f"expected boxes or a reason, got {len(boxes)} boxes and {shorten(self.reason)}"
            )
        if self.reason is not None and self.reason not in _REASONS:
            raise ProposalError(f"expected a reason of {_REASONS}, got {shorten(self.reason)}")
        if len(confidences) != len(boxes):
            raise ProposalError(
                f"expected {len(boxes)} confidences, one a box, got {len(confidences)}"
            )
        if len(self.places) != len(boxes):
            raise ProposalError(f"expected {len(boxes)} places, one a box, got {len(self.places)}")
        known = [value for value in confidences if value is not None]
        if not all(0 <= value <= 1 for value in known) or known != sorted(known, reverse=True):
            raise ProposalError(f"expected confidences 0..1, best first, got {shorten(known)}")


@dataclass(frozen=True)
class ZoomRules:
    """How a raw box becomes a crop; applied by ``Zoom.follow`` alone, saved with a checkpoint.

    ``grow``: factors of width and height about the centre. ``min_width``, ``min_height``:
    smallest crop as a fraction of the page. ``min_pixels``: smallest side in pixels.
    ``max_aspect``: longest side over shortest in pixels, or None. A grown box that leaves the
    page is shifted inside, not cut.

    Raises:
        ProposalError: a factor below 1, a fraction outside 0..1, or a negative number.
    """

    grow: tuple[float, float] = (1.0, 1.0)
    min_width: float = 0.0
    min_height: float = 0.0
    min_pixels: int = 28
    max_aspect: float | None = None

    def __post_init__(self) -> None:
        """Check the figures."""
        object.__setattr__(self, "grow", tuple(self.grow))
        if [1 <= factor < math.inf for factor in self.grow] != [True, True]:
            raise ProposalError(f"expected two growth factors >= 1, got {shorten(self.grow)}")
        if not (0 <= self.min_width <= 1 and 0 <= self.min_height <= 1):
            sides = (self.min_width, self.min_height)
            raise ProposalError(f"expected smallest sides 0..1 of the page, got {shorten(sides)}")
        if self.min_pixels < 1:
            raise ProposalError(f"expected min_pixels >= 1, got {shorten(self.min_pixels)}")
        if self.max_aspect is not None and not 1 <= self.max_aspect < math.inf:
            raise ProposalError(f"expected max_aspect >= 1, got {shorten(self.max_aspect)}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary that :meth:`from_dict` reads."""
        return asdict(self) | {"grow": list(self.grow)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ZoomRules":
        """Read what :meth:`to_dict` wrote.

        Raises:
            ProposalError: an unknown key, or figures out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ProposalError(f"expected zoom rules {sorted(known)}, got {shorten(unknown)}")
        return cls(**values)


class Cropper(ABC):
    """A policy that looks at *(image, question)* and names the boxes worth looking at.

    ``name``: how it is told apart. ``rules``: how its boxes become crops. ``min_confidence``:
    below it a ``ZoomPipeline`` uses the whole page unless told otherwise; None: no such limit.
    """

    name: str = "cropper"
    rules: ZoomRules = ZoomRules()
    min_confidence: float | None = None

    @property
    def version(self) -> str:
        """A text that changes when the crops may change: what a cache of them depends on.

        Name, rules and limit; a cropper that depends on more, such as weights, adds it.
        """
        limit = "" if self.min_confidence is None else f" from {self.min_confidence}"
        return f"{self.name} {json.dumps(self.rules.to_dict(), sort_keys=True)}{limit}"

    @abstractmethod
    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Return one proposal for each question, in order.

        Images come from ``question.open()``. An unusable output is a proposal with a reason,
        never an invented box.

        Raises:
            ModelError: the model or server behind the cropper failed.
        """


class FixedCropper(Cropper):
    """Always the same box, or always the whole image: test double and control of evaluations."""

    def __init__(self, box: Box | None, name: str | None = None) -> None:
        """Propose ``box`` to every question; None: no zoom needed."""
        self.box = box
        self.name = name or ("whole" if box is None else "fixed")

    @property
    def version(self) -> str:
        """Name, rules and box."""
        return f"{super().version} {self.box}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Return the same proposal for each question."""
        if self.box is None:
            return [Proposal(reason="no_zoom_needed") for _ in questions]
        return [Proposal((self.box,)) for _ in questions]


class RandomCropper(Cropper):
    """A box of fixed area anywhere on the page: a control.

    The place depends on the seed, the question (its id, or its text) and the image's size, not on
    the order of questions.
    """

    def __init__(self, seed: int = 0, area: float = 0.25) -> None:
        """Propose boxes of ``area`` (share of the page, 0..1)."""
        if not 0 < area <= 1:
            raise ProposalError(f"expected an area 0..1 of the page, got {shorten(area)}")
        self.seed = seed
        self.area = area
        self.name = f"random:{seed}"

    @property
    def version(self) -> str:
        """Name (which holds the seed), rules and area."""
        return f"{super().version} {self.area}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Return a random box for each question."""
        return [Proposal((self._box(question),)) for question in questions]

    def _box(self, question: VisualQuestion) -> Box:
        width, height = question.open().size
        key = f"{self.seed}\0{question.id or question.question}\0{width}x{height}"
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        dice = random.Random(int.from_bytes(digest))
        side = math.sqrt(self.area)
        left, top = dice.uniform(0, 1 - side), dice.uniform(0, 1 - side)
        return Box(left, top, left + side, top + side)


def size_within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size in pixels of a picture of ``size`` (width, height), its longest edge ``longest``.

    A smaller picture stays as it is. The other edge is even, by SmolVLM's rule: its own resizing,
    wherever it is served, then leaves the picture alone, and it is resampled only once.
    """
    width, height = size
    if max(size) <= longest:
        return size
    if width >= height:
        shorter = int(longest / (width / height))
        return longest, max(1, shorter + shorter % 2)
    shorter = int(longest * (width / height))
    return max(1, shorter + shorter % 2), longest


class VLMCropper(Cropper):
    """A VLM asked for a box: the CropVLM policy, or any model that can point.

    ``explain=True`` adds a sentence on how to write the box, for a model that was not trained on
    the paper's prompt. ``input_size`` is the longest edge, in pixels, to which an image is scaled
    down before it is sent, never up. A box in pixels is read in the size of the picture that was
    sent. With ``input_size`` and :meth:`BoxNotation.pixels`, both sides become multiples of 28, at
    least 56: up to 3584 pixels, Qwen2.5-VL's own resizing leaves such a picture alone, and the
    pixels it writes are ours.

    Raises:
        ProposalError: ``input_size`` is below 1, or below 56 for a notation of pixels.
    """

    def __init__(
        self,
        vlm: VLM,
        notation: BoxNotation = BoxNotation.percent,
        rules: ZoomRules | None = None,
        *,
        explain: bool = False,
        input_size: int | None = None,
        name: str = "vlm",
    ) -> None:
        """Ask ``vlm`` and read its replies by ``notation``."""
        self.vlm = vlm
        self.notation = notation
        self.rules = rules or ZoomRules()
        self.explain = explain
        self.input_size = input_size
        self.name = name
        least = 1 if notation.units else 2 * _PATCH
        if input_size is not None and input_size < least:
            raise ProposalError(
                f"expected input_size >= {least} for the notation {notation.name}, "
                f"got {shorten(input_size)}"
            )

    @property
    def version(self) -> str:
        """Name, rules, notation and input; a server may change its model under the same name."""
        asked = f"{self.notation.name} explain={self.explain} input_size={self.input_size}"
        return f"{super().version} {asked}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Ask the cropper prompt about each image; one batch of the VLM."""
        asked = [self.conversation(question) for question in questions]
        replies = checked_replies(self.vlm.reply(asked), len(asked))
        return [
            self._read(reply, conversation.images[0].size)
            for reply, conversation in zip(replies, asked, strict=True)
        ]

    def conversation(self, question: VisualQuestion) -> Conversation:
        """Return what the VLM is asked: the picture as it is sent, and the prompt."""
        return Conversation((self._input(question.open()), self._prompt(question.question)))

    def _input(self, image: Image.Image) -> Image.Image:
        """The picture to send."""
        if self.input_size is None:
            return image
        if self.notation.units is None:
            scale = min(1.0, self.input_size / max(image.size))
            most = self.input_size // _PATCH
            width, height = (
                _PATCH * min(max(2, round(round(side * scale) / _PATCH)), most)
                for side in image.size
            )
        else:
            width, height = size_within(image.size, self.input_size)
        if (width, height) == image.size:
            return image
        return image.resize((width, height), Image.Resampling.LANCZOS)

    def _prompt(self, question: str) -> str:
        prompt = cropper_prompt(question)
        return f"{prompt}\n{self.notation.instruction}" if self.explain else prompt

    def _read(self, reply: str, size: tuple[int, int]) -> Proposal:
        return read_proposal(self.notation, reply, size)[0]


def read_proposal(notation: BoxNotation, text: str, size: tuple[int, int]) -> tuple[Proposal, bool]:
    """Read what a policy wrote about a picture of ``size``; at inference and in training.

    Returns:
        The proposal, and whether its box had to be repaired, as :class:`BoxReading` tells.
    """
    reading = notation.read(text, size=size)
    if reading.box is None:
        return Proposal(text=text, reason=reading.reason), False
    return Proposal((reading.box,), text=text), reading.repaired
