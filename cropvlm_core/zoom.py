"""Zoom, Crop, ZoomPipeline: the spine. From a Proposal on, training and inference share this."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageEnhance

from cropvlm_core.box import Box, Pixels
from cropvlm_core.cropper import Cropper, Proposal, Reason, ZoomRules
from cropvlm_core.cutting import cuts
from cropvlm_core.errors import ModelError, ProposalError, shorten
from cropvlm_core.images import ImageSource, encode_for_model, scaled_down
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import VLM, Conversation, checked_replies

LOSSLESS_PIXELS = 16_000_000
"""Crops up to this many pixels go to a model as PNG, larger ones as JPEG."""

OUTLINES = {
    "red": (220, 30, 60),
    "blue": (20, 90, 220),
    "green": (20, 140, 60),
    "orange": (200, 110, 0),
}
"""The colours in which :meth:`Zoom.overlay` outlines the crops, in their order, and again."""


@dataclass(frozen=True)
class Crop:
    """A part of the upright image, cut out and never resampled.

    ``box`` is the proposed box after growth, snapped outward to whole pixels; ``pixels`` is
    ``(left, top, right, bottom)``, half-open; ``image`` equals ``upright.crop(pixels)``.
    ``confidence`` is 0..1 or None.
    """

    box: Box
    pixels: Pixels
    image: Image.Image
    confidence: float | None = None

    def encode(self) -> tuple[bytes, str]:
        """Encode for a model: bytes and MIME type, PNG unless it is very large."""
        return encode_for_model(self.image, LOSSLESS_PIXELS)

    def to_dict(self, file: str | None = None) -> dict[str, Any]:
        """Return one element of ``crops`` in ``cropvlm zoom --json``."""
        return {
            "box": self.box.to_dict(),
            "pixels": list(self.pixels),
            "confidence": self.confidence,
            "size": list(self.image.size),
            "file": file,
        }


@dataclass(frozen=True)
class Zoom:
    """What to look at: the question, what the policy proposed, and the crops that follow.

    Built only by :meth:`follow`. ``crops`` is empty where the whole image is used, and then
    ``reason`` says why; otherwise ``reason`` is None.
    """

    asked: VisualQuestion
    proposal: Proposal
    crops: tuple[Crop, ...]
    reason: Reason | None

    @classmethod
    def follow(
        cls,
        asked: VisualQuestion,
        proposal: Proposal,
        *,
        rules: ZoomRules | None = None,
        max_crops: int = 1,
        min_confidence: float | None = None,
    ) -> "Zoom":
        """Turn a proposal into crops; every rule about their size is applied here.

        Args:
            asked: the question; its image is opened unless it is already.
            proposal: boxes in fractions of the upright image, best first.
            rules: growth, smallest side and aspect; none: no growth, 28 pixels a side.
            max_crops: the most crops. One that shows the whole page, or whose place an earlier one
                shows, is left out. A further one stands beside the earlier ones: no two share
                more than a quarter of the smaller; see ``overlap.beside``.
            min_confidence: boxes below are left out; a box without a confidence stays.

        Raises:
            SourceError, ImageError: the image cannot be opened.
        """
        asked = asked.opened()
        upright = asked.open()
        least = min_confidence or 0.0
        found = cuts(
            proposal, upright.size, rules or ZoomRules(), max_crops=max_crops, min_confidence=least
        )
        if found:
            crops = (
                Crop(Box.from_pixels(at, upright.size), at, upright.crop(at), confidence)
                for at, confidence in found
            )
            return cls(asked, proposal, tuple(crops), None)
        unsure = any(one is not None and one < least for one in proposal.confidences)
        rest: Reason = "low_confidence" if unsure else "no_zoom_needed"
        return cls(asked, proposal, (), proposal.reason or rest)

    @property
    def crop(self) -> Crop | None:
        """The first crop, or None."""
        return self.crops[0] if self.crops else None

    @property
    def box(self) -> Box | None:
        """The first crop's box, or None."""
        return self.crops[0].box if self.crops else None

    @property
    def pixels(self) -> Pixels | None:
        """The first crop's pixels, or None."""
        return self.crops[0].pixels if self.crops else None

    @property
    def image(self) -> Image.Image:
        """The whole upright image."""
        return self.asked.open()

    def conversation(self) -> Conversation:
        """Return what the target is asked: whole image, crops, question."""
        pictures = (self.image, *(crop.image for crop in self.crops))
        return Conversation((*pictures, answer_prompt(self.asked.question)))

    def overlay(self, longest: int | None = None) -> Image.Image:
        """Return a picture of the page with the crops outlined and the rest lightly dimmed.

        ``longest``: the page is scaled down to so many pixels a side, where it has more.
        """
        page = self.image if longest is None else scaled_down(self.image, longest)
        if not self.crops:
            return page.copy()
        picture = ImageEnhance.Brightness(page).enhance(0.72)
        places = [crop.box.to_pixels(page.size) for crop in self.crops]
        for place in places:
            picture.paste(page.crop(place), place)
        pen = ImageDraw.Draw(picture)
        thick = max(2, max(page.size) // 300)
        colours = tuple(OUTLINES.values())
        for index, (left, top, right, bottom) in reversed(tuple(enumerate(places))):
            frame = (
                max(left - thick, 0),
                max(top - thick, 0),
                min(right + thick, page.width) - 1,
                min(bottom + thick, page.height) - 1,
            )
            pen.rectangle(frame, outline=colours[index % len(colours)], width=thick)
        return picture

    def to_dict(
        self,
        *,
        cropper: str | None = None,
        seconds: float | None = None,
        files: Sequence[str | None] = (),
    ) -> dict[str, Any]:
        """Return the JSON-able object of ``cropvlm zoom --json``.

        Args:
            cropper: the cropper's name.
            seconds: time taken, model loading apart.
            files: where the crops were written, in their order.
        """
        written = (*files, *(None for _ in self.crops))
        crops = [crop.to_dict(file) for crop, file in zip(self.crops, written, strict=False)]
        first: Mapping[str, Any] = crops[0] if crops else {}
        return {
            "image": self.asked.reference,
            "question": self.asked.question,
            "zoomed": bool(crops),
            "reason": self.reason,
            "crops": crops,
            "box": first.get("box"),
            "pixels": first.get("pixels"),
            "confidence": first.get("confidence"),
            "cropper": cropper,
            "seconds": seconds,
        }


@dataclass(frozen=True)
class Answer:
    """The target's ``text``, and the ``zoom`` it was shown."""

    text: str
    zoom: Zoom


class ZoomPipeline:
    """A cropper with the way from a question to crops; thread-safe where its cropper is.

    ``image`` is a PIL image, a path, bytes or a data URI everywhere.
    """

    def __init__(
        self,
        cropper: Cropper,
        *,
        max_crops: int = 1,
        min_confidence: float | None = None,
        isolate: bool = False,
    ) -> None:
        """Follow ``cropper``; see :meth:`Zoom.follow` for the two limits.

        Args:
            cropper: what names the boxes.
            max_crops: the most crops of a page.
            min_confidence: None: what the cropper recommends, if it does; 0 turns that off.
            isolate: decode in worker processes, see :mod:`cropvlm_core.isolation`: for servers that
                read strangers' files. No picture then holds the event loop either, which a large
                WEBP does otherwise, as Pillow decodes it without letting other threads run.

        Raises:
            ProposalError: a limit out of range.
        """
        if max_crops < 1:
            raise ProposalError(f"expected max_crops >= 1, got {shorten(max_crops)}")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise ProposalError(f"expected min_confidence 0..1, got {shorten(min_confidence)}")
        self.cropper = cropper
        self.max_crops = max_crops
        self.min_confidence = min_confidence
        self.isolate = isolate

    def zoom(self, image: ImageSource, question: str) -> Zoom:
        """Find what to look at for one question.

        Raises:
            SourceError, ImageError, QuestionError: bad input.
            ModelError: the cropper's model or server failed.
        """
        return self.zoom_batch([VisualQuestion(image, question)])[0]

    def zoom_batch(self, questions: Sequence[VisualQuestion]) -> list[Zoom]:
        """Find what to look at for each question, in order; each image is decoded once."""
        opened = _open_once(questions, isolate=self.isolate)
        proposals = self.cropper.propose_batch(opened)
        if len(proposals) != len(opened):
            raise ModelError(f"expected {len(opened)} proposals, got {len(proposals)}")
        return [
            self.follow(question, proposal)
            for question, proposal in zip(opened, proposals, strict=True)
        ]

    def follow(self, asked: VisualQuestion, proposal: Proposal) -> Zoom:
        """Turn what the cropper said into crops, by its rules and the limits of this pipeline."""
        own = self.min_confidence
        return Zoom.follow(
            asked,
            proposal,
            rules=self.cropper.rules,
            max_crops=self.max_crops,
            min_confidence=self.cropper.min_confidence if own is None else own,
        )

    def ask(self, image: ImageSource, question: str, vlm: VLM) -> Answer:
        """Zoom, then ask ``vlm`` with the whole image and the crops."""
        zoom = self.zoom(image, question)
        return Answer(checked_replies(vlm.reply([zoom.conversation()]), 1)[0], zoom)

    async def azoom(self, image: ImageSource, question: str) -> Zoom:
        """Like :meth:`zoom`, in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.zoom, image, question)

    async def azoom_batch(self, questions: Sequence[VisualQuestion]) -> list[Zoom]:
        """Like :meth:`zoom_batch`, in a thread."""
        return await asyncio.to_thread(self.zoom_batch, questions)

    async def aask(self, image: ImageSource, question: str, vlm: VLM) -> Answer:
        """Like :meth:`ask`; uses the target's own ``areply`` if it has one, else a thread."""
        zoom = await self.azoom(image, question)
        areply = getattr(vlm, "areply", None)
        if areply is None:
            replies = await asyncio.to_thread(vlm.reply, [zoom.conversation()])
        else:
            replies = await areply([zoom.conversation()])
        return Answer(checked_replies(replies, 1)[0], zoom)


def checked_pipeline(pipeline: object) -> ZoomPipeline | None:
    """Return what a caller handed in as a pipeline, if it is one or None.

    Raises:
        TypeError: it is something else, such as the cropper alone.
    """
    if pipeline is None or isinstance(pipeline, ZoomPipeline):
        return pipeline
    hint = ": ZoomPipeline(cropper)" if isinstance(pipeline, Cropper) else ""
    raise TypeError(f"expected a ZoomPipeline or None, got a {type(pipeline).__name__}{hint}")


def _open_once(questions: Sequence[VisualQuestion], *, isolate: bool) -> list[VisualQuestion]:
    upright: dict[object, Image.Image] = {}
    opened: list[VisualQuestion] = []
    for question in questions:
        key = question.shown
        twin = question.opened(upright.get(key), isolate=isolate)
        upright.setdefault(key, twin.open())
        opened.append(twin)
    return opened
