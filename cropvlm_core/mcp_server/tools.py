"""What ``zoom`` and ``look`` answer: pictures, what to say of them, and figures for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from cropvlm_core.errors import SourceError
from cropvlm_core.images import MAX_MODEL_SIDE, OpenedPage, encode_within
from cropvlm_core.mcp_server.arguments import MOST_CROPS, Asked, read_arguments
from cropvlm_core.prompts import crop_caption, no_crop_text, outline_caption
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.sources import NO_REFERENCE, Allowed, is_data_uri, is_url
from cropvlm_core.tool import confidence_text, open_isolated, reference_name, timed_zoom
from cropvlm_core.zoom import OUTLINES, Zoom, ZoomPipeline

ANSWER_SIZE = 1_000_000
"""The most characters of one answer; desktop clients refuse a result of 1,048,576."""

LEAST_ANSWER_SIZE = 50_000
"""The least that an answer may be held to, in characters."""

LOOK_SIDE = 1568
"""Longest edge of a whole page as ``look`` shows it, in pixels: what hosted models see of one."""

_WORDS = 10_000  # characters of an answer that are no picture


@dataclass(frozen=True)
class Picture:
    """An encoded picture: bytes and MIME type."""

    data: bytes
    mime_type: str


@dataclass(frozen=True)
class Answer:
    """What a call answers: ``parts`` for the model, in order, and ``data`` for programs.

    ``data`` has the keys of ``cropvlm zoom --json`` but ``cropper``, which may name a server, and
    ``file``; besides ``page``, ``pages``, the page's ``size``, and of each crop the size as
    ``shown`` (``zoom`` only).
    """

    parts: tuple[str | Picture, ...]
    data: dict[str, Any]


class ImageTools:
    """The two tools, for any number of threads.

    Images are named by ``data:`` URI, and by path or URL where that is allowed. They are decoded
    in processes of their own.
    """

    def __init__(
        self,
        pipeline: ZoomPipeline,
        allowed: Allowed = NO_REFERENCE,
        *,
        answer_size: int = ANSWER_SIZE,
    ) -> None:
        """Follow ``pipeline``; ``answer_size``: the most characters of one answer.

        Raises:
            ValueError: ``answer_size`` below 50,000.
        """
        if answer_size < LEAST_ANSWER_SIZE:
            raise ValueError(f"expected answers of >= {LEAST_ANSWER_SIZE} characters")
        self.pipeline = pipeline
        self.allowed = allowed
        self._picture_bytes = (answer_size - _WORDS) // 4 * 3  # as base64

    @property
    def max_crops(self) -> int:
        """How many crops a call gets that does not say."""
        return min(self.pipeline.max_crops, MOST_CROPS)

    def zoom(self, arguments: Mapping[str, Any]) -> Answer:
        """Cut out the parts of an image that answer a question.

        Where there is no crop, the whole image goes along.

        Raises:
            CropVLMError: bad arguments, an image that is refused, or a cropper that failed. The
                message names nothing but what the call named.
        """
        asked = read_arguments(arguments, max_crops=self.max_crops)
        page, called, zoom, seconds = self._zoomed(asked)
        share = self._picture_bytes // max(1, len(zoom.crops))
        parts: list[str | Picture] = []
        shown: list[tuple[int, int]] = []
        for crop in zoom.crops:
            picture, size = _encoded(crop.image, share)
            how = "at full resolution" if size == crop.image.size else "scaled down"
            caption = crop_caption(crop.box, called, how) + _pixels_text(crop.image.size, size)
            parts += [caption + confidence_text(crop), picture]
            shown.append(size)
        if not zoom.crops:
            picture, _ = _encoded(zoom.image, share)
            parts += [no_crop_text(called, zoom.reason), picture]
        return Answer(tuple(parts), _data(asked, page, zoom, seconds, shown))

    def look(self, arguments: Mapping[str, Any]) -> Answer:
        """Show a whole page, with the parts outlined that :meth:`zoom` would cut out.

        Raises:
            CropVLMError: as for :meth:`zoom`.
        """
        asked = read_arguments(arguments, max_crops=self.max_crops)
        zoom, seconds, lines = None, None, []
        if asked.question is None:
            page, called = self._opened(asked)
        else:
            page, called, zoom, seconds = self._zoomed(asked)
            lines = [
                outline_caption(crop.box, called, colour) + confidence_text(crop)
                for crop, colour in zip(zoom.crops, _colours(len(zoom.crops)), strict=True)
            ] or [no_crop_text(called, zoom.reason)]
        whole = page.image if zoom is None else zoom.overlay(LOOK_SIDE)
        picture, size = _encoded(whole, self._picture_bytes, LOOK_SIDE)
        lines.insert(0, f"Whole {called}.{_pixels_text(page.image.size, size)}")
        return Answer(("\n".join(lines), picture), _data(asked, page, zoom, seconds, ()))

    def _zoomed(self, asked: Asked) -> tuple[OpenedPage, str, Zoom, float]:
        words = "" if asked.question is None else asked.question
        question = VisualQuestion(asked.image, words, page=asked.page)
        page, called = self._opened(asked)
        pipeline = ZoomPipeline(
            self.pipeline.cropper,
            max_crops=asked.max_crops,
            min_confidence=self.pipeline.min_confidence,
        )
        zoom, seconds = timed_zoom(pipeline, question.opened(page.image), called)
        return page, called, zoom, seconds

    def _opened(self, asked: Asked) -> tuple[OpenedPage, str]:
        """Read and open the page; return it with what to call it."""
        called = reference_name(asked.image)
        page = open_isolated(self._read(asked.image), called, asked.page)
        return (
            page,
            called if page.count == 1 else f"page {page.number} of {page.count} of {called}",
        )

    def _read(self, image: str) -> bytes:
        by_path = not (is_data_uri(image) or is_url(image))
        if by_path and not self.allowed.roots and image.strip():
            others = "a URL or a data: URI" if self.allowed.urls else "a data: URI"
            raise SourceError(
                f"expected {others}, got a path, and this server was started without --roots"
            )
        return self.allowed.read(image)


def _encoded(
    image: Image.Image, most: int, longest: int = MAX_MODEL_SIDE
) -> tuple[Picture, tuple[int, int]]:
    data, mime_type, size = encode_within(image, most, longest)
    return Picture(data, mime_type), size


def _pixels_text(size: tuple[int, int], shown: tuple[int, int]) -> str:
    text = f" {size[0]} x {size[1]} pixels"
    return f"{text}." if shown == size else f"{text}, shown as {shown[0]} x {shown[1]}."


def _colours(count: int) -> list[str]:
    names = tuple(OUTLINES)
    return [names[index % len(names)] for index in range(count)]


def _data(
    asked: Asked,
    page: OpenedPage,
    zoom: Zoom | None,
    seconds: float | None,
    shown: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "image": "data:..." if is_data_uri(asked.image) else asked.image,
        "question": asked.question,
        "page": page.number,
        "pages": page.count,
        "size": list(page.image.size),
        "zoomed": False,
        "reason": None,
        "crops": [],
        "box": None,
        "pixels": None,
        "confidence": None,
        "seconds": seconds,
    }
    if zoom is not None:
        found = zoom.to_dict()
        told |= {key: found[key] for key in ("zoomed", "reason", "box", "pixels", "confidence")}
        for index, crop in enumerate(found["crops"]):
            del crop["file"]
            size = {"shown": list(shown[index])} if shown else {}
            told["crops"].append(crop | size)
    return told
