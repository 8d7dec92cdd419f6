"""What the adapters to frameworks share: from a conversation's user turns to captioned crops.

An adapter reads its framework's messages as :class:`Turn`, and writes what :class:`TurnZoom`
returns back into copies of them. Everything between the two is here.
"""

import base64
import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from cropvlm_core.errors import CropVLMError, SourceError
from cropvlm_core.images import ImageSource
from cropvlm_core.loading import default_pipeline
from cropvlm_core.prompts import crop_caption
from cropvlm_core.questions import MAX_QUESTION, VisualQuestion
from cropvlm_core.sources import is_data_uri
from cropvlm_core.zoom import Crop, Zoom, ZoomPipeline

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
"""What happens where an image cannot be zoomed into: the error, or a warning in the log."""

FindQuestion = Callable[[str], str]
"""From the text of a user's turn to the question in it; blank: there is none, do not zoom."""

PIXELS_A_BATCH = 64_000_000
"""Images are opened and zoomed into in batches of about this many pixels: memory."""

ABOVE = "the image above"


@dataclass(frozen=True)
class Turn:
    """What a user said at once: a text, and images as bytes or ``data:`` URIs.

    An image that cannot be had (a URL, a file's id) is the error that says so.
    """

    text: str
    images: tuple[bytes | str | CropVLMError, ...]


@dataclass(frozen=True)
class CaptionedCrop:
    """A crop on its way to a model: ``caption``, and ``data`` encoded as ``mime_type``."""

    caption: str
    data: bytes
    mime_type: str

    @classmethod
    def of(cls, crop: Crop, image: str = ABOVE) -> "CaptionedCrop":
        """Encode ``crop`` of ``image``, named as the model knows it."""
        return cls(crop_caption(crop.box, image), *crop.encode())

    @property
    def base64(self) -> str:
        """The data in base64."""
        return base64.b64encode(self.data).decode("ascii")


def zoom_each(
    pipeline: ZoomPipeline,
    asked: Sequence[tuple[ImageSource | CropVLMError, str]],
    on_error: OnError = "raise",
) -> Iterator[Zoom | None]:
    """Zoom into each image for its question, in order and in batches.

    Args:
        pipeline: the way from a question to crops.
        asked: images, each with its question. An error in place of an image is that image's.
        on_error: "skip" gives None for an image that fails, and logs why.

    Raises:
        CropVLMError: with "raise": an image that is refused, damaged or too large, or a cropper
            that failed.
    """
    batch: list[VisualQuestion | None] = []
    pixels = 0
    before: ImageSource | CropVLMError | None = None
    upright: Image.Image | None = None
    for image, question in asked:
        opened: VisualQuestion | None = None
        try:
            if isinstance(image, CropVLMError):
                raise image
            opened = VisualQuestion(image, question).opened(upright if image is before else None)
            if image is not before:  # several questions about one image come one after another
                before, upright = image, opened.open()
                pixels += upright.width * upright.height
        except CropVLMError as error:
            _pass_over(error, on_error)
        batch.append(opened)
        if pixels >= PIXELS_A_BATCH:
            yield from _zoom_batch(pipeline, batch, on_error)
            batch, pixels = [], 0
    yield from _zoom_batch(pipeline, batch, on_error)


def _zoom_batch(
    pipeline: ZoomPipeline, batch: Sequence[VisualQuestion | None], on_error: OnError
) -> Iterator[Zoom | None]:
    questions = [question for question in batch if question is not None]
    zooms: list[Zoom] | None = []
    if questions:
        try:
            zooms = pipeline.zoom_batch(questions)
        except CropVLMError as error:
            _pass_over(error, on_error)
            zooms = None
    found = iter(zooms or ())
    for question in batch:
        yield None if question is None or zooms is None else next(found)


def _pass_over(error: CropVLMError, on_error: OnError) -> None:
    if on_error == "raise":
        raise error
    logger.warning("not zoomed into: %s", error)


class TurnZoom:
    """Finds the crops of user turns, each image and question once however often they come.

    Safe to share between threads. The crops of the last ``remembered`` pairs of image and question
    are kept, encoded, in memory.
    """

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        question: FindQuestion | None = None,
        on_error: OnError = "raise",
        remembered: int = 64,
    ) -> None:
        """Follow ``pipeline``; None is the shared default, built when it is first needed.

        Raises:
            ValueError: ``on_error`` is neither "raise" nor "skip".
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f'expected on_error "raise" or "skip", got {on_error!r}')
        self._pipeline = pipeline
        self._find_question = question
        self._on_error: OnError = on_error
        self._remembered = remembered
        self._known: OrderedDict[bytes, tuple[CaptionedCrop, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def crops(self, turns: Sequence[Turn]) -> list[list[tuple[CaptionedCrop, ...]]]:
        """For each turn, for each of its images: the crops, none where the whole image is right.

        Raises:
            CropVLMError: as :func:`zoom_each`.
        """
        questions = [self._question(turn.text) if turn.images else "" for turn in turns]
        pairs = [
            (_checked(image), question)
            for turn, question in zip(turns, questions, strict=True)
            for image in (turn.images if question else ())
        ]
        keys = [_key(image, question) for image, question in pairs]
        found = self._recall(keys)
        missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in found}
        pipeline = self._pipeline or (default_pipeline() if missing else None)
        if pipeline is not None:
            zooms = zoom_each(pipeline, list(missing.values()), self._on_error)
            for key, zoom in zip(missing, zooms, strict=True):
                crops = () if zoom is None else zoom.crops
                found[key] = tuple(CaptionedCrop.of(crop) for crop in crops)
                if zoom is not None:
                    self._remember(key, found[key])
        each = iter([found[key] for key in keys])
        return [
            [next(each) if question else () for _ in turn.images]
            for turn, question in zip(turns, questions, strict=True)
        ]

    def _question(self, text: str) -> str:
        """The question in a turn's text; of a text too long for one, its last line."""
        if self._find_question is not None:
            text = self._find_question(text)
        text = text.strip()
        if len(text) > MAX_QUESTION:
            text = text.splitlines()[-1][-MAX_QUESTION:].strip()
        return text

    def _recall(self, keys: Sequence[bytes]) -> dict[bytes, tuple[CaptionedCrop, ...]]:
        with self._lock:
            for key in keys:
                if key in self._known:
                    self._known.move_to_end(key)
            return {key: self._known[key] for key in keys if key in self._known}

    def _remember(self, key: bytes, crops: tuple[CaptionedCrop, ...]) -> None:
        with self._lock:
            self._known[key] = crops
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)


def _checked(image: bytes | str | CropVLMError) -> bytes | str | CropVLMError:
    """No text of a conversation is ever taken for a path."""
    if isinstance(image, str) and not is_data_uri(image):
        return SourceError("expected an image as bytes or a data: URI, got another text")
    return image


def _key(image: bytes | str | CropVLMError, question: str) -> bytes:
    digest = hashlib.blake2b(question.encode("utf-8", "surrogatepass") + b"\0", digest_size=16)
    content = str(image) if isinstance(image, CropVLMError) else image
    digest.update(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return digest.digest()
