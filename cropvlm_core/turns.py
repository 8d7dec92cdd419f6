"""What the adapters to frameworks share: from a conversation's user turns to captioned crops.

An adapter reads its framework's messages as :class:`Turn`, and writes what :class:`TurnZoom`
returns back into copies of them. Everything between the two is here.
"""

import copy
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from PIL import Image

from cropvlm_core.errors import CropVLMError, DeadlineError, SourceError, shorten
from cropvlm_core.images import ImageSource, open_image
from cropvlm_core.loading import default_pipeline
from cropvlm_core.prompts import crop_caption
from cropvlm_core.questions import MAX_QUESTION, VisualQuestion
from cropvlm_core.sources import NO_REFERENCE, Allowed, is_data_uri
from cropvlm_core.zoom import Crop, Zoom, ZoomPipeline, checked_pipeline

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
"""What happens where an image cannot be zoomed into: the error, or a warning in the log."""

FindQuestion = Callable[[str], str]
"""From the text of a user's turn to the question in it; blank: there is none, do not zoom."""

PIXELS_A_BATCH = 64_000_000
"""Images are opened and zoomed into in batches of about this many pixels: memory."""

READ_AGAIN_AFTER = 300.0
"""Seconds after which a path or URL is read again: what it leads to may have changed."""

RETRY_AFTER = 60.0
"""Seconds for which what failed is passed over without another try, or another word in the log."""


@dataclass(frozen=True)
class Turn:
    """What a user said at once: a text, and images as bytes, ``data:`` URIs, paths or URLs.

    An image that cannot be had (a file's id) is the error that says so. ``past``: the user
    has said more since; what fails here is passed over, whatever ``on_error`` says, as a question
    of today must not fail for an image of yesterday.
    """

    text: str
    images: tuple[bytes | str | CropVLMError, ...]
    past: bool = False


@dataclass(frozen=True)
class CaptionedCrop:
    """A crop on its way to a model: ``caption``, and ``data`` encoded as ``mime_type``."""

    caption: str
    data: bytes
    mime_type: str

    @classmethod
    def of(cls, crop: Crop) -> "CaptionedCrop":
        """Encode a crop that will stand right behind its image."""
        return cls(crop_caption(crop.box, "the image above"), *crop.encode())


def to_turns(said: Sequence[Turn | None]) -> list[Turn]:
    """Return the turns of one conversation, from its messages in order.

    ``said`` holds what each message says, None where it is not the user's. Messages that the user
    sent one right after another belong together: an image without words is asked about in the
    words of its neighbours, as many programs send picture and question apart. Everything before the
    last such run is past.
    """
    runs: list[list[int]] = [[]]
    for index, turn in enumerate(said):
        if turn is None:
            runs.append([])
        else:
            runs[-1].append(index)
    runs = [run for run in runs if run]
    turns = [Turn("", ()) if turn is None else turn for turn in said]
    for run in runs:
        words = "\n".join(turns[index].text for index in run if turns[index].text.strip())
        for index in run:
            text = turns[index].text if turns[index].text.strip() else words
            turns[index] = Turn(text, turns[index].images, past=run is not runs[-1])
    return turns


def to_question(text: str) -> str:
    """Return the question in a text; of one too long to be a question, its last line."""
    text = text.strip()
    if len(text) > MAX_QUESTION:
        text = text.splitlines()[-1][-MAX_QUESTION:].strip()
    return text


def zoom_each(
    pipeline: ZoomPipeline, asked: Iterable[tuple[ImageSource | CropVLMError, str]]
) -> Iterator[Zoom | CropVLMError]:
    """Zoom into each image for its question, in order and in batches.

    Args:
        pipeline: the way from a question to crops.
        asked: images, each with its question. An error in place of an image is that image's.

    Yields:
        The zoom, or why there is none: an image that is refused, damaged or too large, or a cropper
        that failed. :func:`zoomed` turns it into what the caller promised.
    """
    batch: list[VisualQuestion | CropVLMError] = []
    pixels = 0
    before: ImageSource | CropVLMError | None = None
    upright: Image.Image | None = None
    for image, question in asked:
        try:
            if isinstance(image, CropVLMError):
                raise image
            opened = VisualQuestion(image, question).opened(upright if image is before else None)
            if image is not before:  # questions about one image come one after another
                before, upright = image, opened.open()
                pixels += upright.width * upright.height
            batch.append(opened)
        except CropVLMError as error:
            batch.append(error)
        if pixels >= PIXELS_A_BATCH:
            yield from _zoom_batch(pipeline, batch)
            batch, pixels = [], 0
    yield from _zoom_batch(pipeline, batch)


def _zoom_batch(
    pipeline: ZoomPipeline, batch: Sequence[VisualQuestion | CropVLMError]
) -> Iterator[Zoom | CropVLMError]:
    questions = [opened for opened in batch if isinstance(opened, VisualQuestion)]
    found = iter(_outcomes(pipeline, questions))
    for opened in batch:
        yield opened if isinstance(opened, CropVLMError) else next(found)


def _outcomes(
    pipeline: ZoomPipeline, questions: Sequence[VisualQuestion]
) -> Sequence[Zoom | CropVLMError]:
    try:
        zooms = pipeline.zoom_batch(questions) if questions else []
    except CropVLMError as error:
        if len(questions) == 1 or isinstance(error, DeadlineError):
            return [error] * len(questions)
        return [outcome for one in questions for outcome in _outcomes(pipeline, [one])]
    if zooms:
        crops = sum(len(zoom.crops) for zoom in zooms)
        logger.info("looked at %d images and questions: %d crops", len(zooms), crops)
    return zooms


def zoomed(outcome: Zoom | CropVLMError, on_error: OnError) -> Zoom | None:
    """Return the zoom; where there is none, raise why, or log it and return None."""
    if isinstance(outcome, Zoom):
        return outcome
    if on_error == "raise":
        outcome.add_note('on_error="skip" lets such an image pass without a crop')
        raise outcome
    logger.warning("not zoomed into: %s", outcome)
    return None


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
        allowed: Allowed = NO_REFERENCE,
        remembered: int = 64,
        isolate: bool = False,
    ) -> None:
        """Follow ``pipeline``; None is the shared default, built when it is first needed.

        ``allowed`` says which paths and URLs of a conversation are read; by default none.
        ``isolate``: images are decoded in processes of their own, see ``cropvlm_core.isolation``.

        Raises:
            ValueError: ``on_error`` is neither "raise" nor "skip".
            TypeError: ``pipeline`` is no pipeline, or ``question`` cannot be called.
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f'expected on_error "raise" or "skip", got {on_error!r}')
        if question is not None and not callable(question):
            raise TypeError(f"expected question as a function of a text, got {shorten(question)}")
        self._pipeline = checked_pipeline(pipeline)
        self._find_question = question
        self._on_error: OnError = on_error
        self._allowed = allowed
        self._remembered = remembered
        self._isolate = isolate
        self._known: OrderedDict[bytes, tuple[CaptionedCrop, ...]] = OrderedDict()
        self._failed: dict[bytes, tuple[CropVLMError, float]] = {}  # and when
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without what is remembered."""
        return self.__dict__ | {"_known": OrderedDict(), "_failed": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with an empty memory."""
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def crops(self, turns: Sequence[Turn]) -> list[list[tuple[CaptionedCrop, ...]]]:
        """For each turn, for each of its images: the crops, none where the whole image is right.

        Raises:
            CropVLMError: with ``on_error="raise"``: an image of a turn that is not past is refused,
                damaged or too large, or the cropper failed.
        """
        return [
            [() if isinstance(found, CropVLMError) else found for found in turn]
            for turn in self.outcomes(turns)
        ]

    def outcomes(
        self, turns: Sequence[Turn]
    ) -> list[list[tuple[CaptionedCrop, ...] | CropVLMError]]:
        """Like :meth:`crops`; an image that was passed over gives the error that says why."""
        questions = [self._question(turn.text) if turn.images else "" for turn in turns]
        looks = [
            _Look(self._checked(image), question, "skip" if turn.past else self._on_error)
            for turn, question in zip(turns, questions, strict=True)
            for image in (turn.images if question else ())
        ]
        keys = [look.key for look in looks]
        found: dict[bytes, tuple[CaptionedCrop, ...] | CropVLMError] = {**self._recall(keys)}
        strict = {key for key, look in zip(keys, looks, strict=True) if look.on_error == "raise"}
        lately = time.monotonic() - RETRY_AFTER
        for key in keys:
            if key not in strict and key in self._failed and self._failed[key][1] > lately:
                found[key] = self._failed[key][0]
        missing = {key: look for key, look in zip(keys, looks, strict=True) if key not in found}
        pipeline = self._pipeline or (default_pipeline() if missing else None)
        if pipeline is not None:
            asked = self._read(missing.values())
            for key, outcome in zip(missing, zoom_each(pipeline, asked), strict=True):
                if isinstance(outcome, Zoom):
                    crops = tuple(map(CaptionedCrop.of, outcome.crops))
                    found[key] = crops
                    if outcome.reason not in ("unreadable", "timed_out"):
                        self._remember(key, crops)
                else:
                    zoomed(outcome, "raise" if key in strict else "skip")
                    found[key] = outcome
                    # a copy has no traceback, which would hold the image
                    failed = (copy.copy(outcome), time.monotonic())
                    self._failed = {key: failed} | dict(list(self._failed.items())[:999])
        each = iter([found[key] for key in keys])
        return [
            [next(each) if question else () for _ in turn.images]
            for turn, question in zip(turns, questions, strict=True)
        ]

    def _question(self, text: str) -> str:
        return to_question(text if self._find_question is None else self._find_question(text))

    def _checked(self, image: bytes | str | CropVLMError) -> bytes | str | CropVLMError:
        """No text of a conversation is taken for a path or URL unless that was allowed."""
        if isinstance(image, str) and not (is_data_uri(image) or self._allowed.references):
            return SourceError("expected an image as bytes or a data: URI, got another text")
        return image

    def _read(self, looks: Iterable["_Look"]) -> Iterator[tuple[ImageSource | CropVLMError, str]]:
        """Read paths and URLs as they are needed; one asked about several times in a row, once."""
        before: bytes | str | CropVLMError = b""
        held: ImageSource | CropVLMError = before
        for look in looks:
            if look.image != before:
                before = look.image
                try:
                    held = self._opened(look.image)
                except CropVLMError as error:
                    held = error
            yield held, look.question

    def _opened(self, image: bytes | str | CropVLMError) -> ImageSource | CropVLMError:
        if isinstance(image, CropVLMError):
            return image
        if isinstance(image, str) and not is_data_uri(image):
            image = self._allowed.read(image)
        return open_image(image, isolate=True) if self._isolate else image

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


class _Look(NamedTuple):
    image: bytes | str | CropVLMError
    question: str
    on_error: OnError

    @property
    def key(self) -> bytes:
        """A digest of image and question."""
        image = str(self.image) if isinstance(self.image, CropVLMError) else self.image
        digest = hashlib.blake2b(_bytes(self.question) + b"\0", digest_size=16)
        if isinstance(self.image, str) and not is_data_uri(self.image):
            digest.update(b"%d\0" % (time.monotonic() // READ_AGAIN_AFTER))
        digest.update(_bytes(image))
        return digest.digest()


def _bytes(content: bytes | str) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
