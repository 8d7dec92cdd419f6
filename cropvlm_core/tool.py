"""The zoom tool as every framework offers it: which image is meant, and what the call answers.

The adapters add what is theirs: how a tool is declared, and where the images come from.
"""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cropvlm_core.errors import (
    CropVLMError,
    DeadlineError,
    ImageError,
    MissingExtraError,
    ModelError,
    SourceError,
    shorten,
)
from cropvlm_core.fetch.url import shown
from cropvlm_core.images import ImageSource, OpenedPage, encode_for_model, open_page
from cropvlm_core.loading import default_pipeline
from cropvlm_core.prompts import ZOOM_TOOL, crop_caption, no_crop_text
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.sources import ANY_PATH, Allowed, is_data_uri
from cropvlm_core.zoom import LOSSLESS_PIXELS, Crop, Zoom, ZoomPipeline

logger = logging.getLogger(__name__)

NAME = "zoom"
"""The tool's name, unless a framework's user gives another."""

ZOOM_TOOL_REFERENCE = (
    "Which image: a number, where 1 is the first image of this conversation and 2 the second "
    "(parts cut out of an image do not count), or its path or URL, where the tool says so."
)
"""What the zoom tool says of its argument ``image`` where paths or URLs are allowed."""

MESSAGE_LENGTH = 120
"""The most characters of a message about an image."""

_Image = TypeVar("_Image")
_NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class ToolAnswer:
    """What one call answers: ``text`` and ``pictures`` (bytes, MIME type) for the model.

    ``artifact`` is for the program: the keys of ``cropvlm zoom --json``, JSON-able, no pictures;
    its ``image`` is what the model knows it by, such as "image 2".
    """

    text: str
    pictures: tuple[tuple[bytes, str], ...]
    artifact: dict[str, Any]


def tool_words(allowed: Allowed) -> str:
    """Return what the tool says of itself to a model; its ``image`` may be what is allowed."""
    ways = _ways(allowed)
    if not ways:
        return ZOOM_TOOL
    return f"{ZOOM_TOOL} As image you may also give {' or '.join(ways)}: you are shown it, too."


def reference_words(allowed: Allowed) -> str:
    """What a tool says of its argument ``image`` that sees no conversation and so no numbers."""
    ways = [*_ways(allowed), "a data: URI (data:image/png;base64,...)"]
    below = " Relative paths are meant from the allowed folders." if allowed.roots else ""
    return f"Which image: {' or '.join(ways)}.{below}"


def _ways(allowed: Allowed) -> list[str]:
    ways = ["the path of an image file"] * bool(allowed.roots)
    return ways + ["the URL of an image"] * allowed.urls


def named_image(image: object, allowed: Allowed) -> tuple[bytes, str] | None:
    """Read the image that a model names by path, URL or ``data:`` URI, where that is allowed.

    Returns its bytes and what to call it. None: the model passed a number, or nothing, or may name
    images by number alone; then :func:`choose_image` finds the image or says what was expected.

    Raises:
        SourceError, DeadlineError: it may not be read, or cannot. The message names the image as
            the model did.
    """
    if not allowed.references or not isinstance(image, str):
        return None
    if not image.strip() or _NUMBER.fullmatch(image.strip()):
        return None
    return allowed.read(image), reference_name(image)


def reference_name(image: str) -> str:
    """What to call an image that a model named by path, URL or ``data:`` URI."""
    return "the given image" if is_data_uri(image) else shown(image)


def choose_image(images: Sequence[_Image], number: object) -> tuple[_Image, str]:
    """Return the image that a model means by its number, from 1, and what to call it.

    ``number`` is what the model passed: an integer, or one as text; None where there is one image.

    Raises:
        SourceError: there are no images, the number is missing, or there is no such image.
    """
    if not images:
        raise SourceError(
            "expected an image to zoom into, got none: no image has been given in this conversation"
        )
    last = len(images)
    known = "1, the only image" if last == 1 else f"the number of an image, 1 to {last}"
    if number is None and last > 1:
        raise SourceError(f"expected {known}, got none")
    text = "1" if number is None else str(number).strip()
    chosen = int(text) if _NUMBER.fullmatch(text) else 0
    if not 1 <= chosen <= last:
        raise SourceError(f"expected {known}, got {shorten(number)}")
    return images[chosen - 1], f"image {chosen}"


def zoom_call(
    pipeline: ZoomPipeline | None,
    image: ImageSource | CropVLMError,
    called: str,
    question: str,
    *,
    allowed: Allowed = ANY_PATH,
    unseen: bool = False,
) -> ToolAnswer:
    """Zoom into an image for a model that asked to.

    Args:
        pipeline: None is the shared default, built when it is first needed.
        image: the image, or the error that says why it cannot be had.
        called: what the model knows it by, such as "image 2".
        question: what the model looks for.
        allowed: what ``image`` may lead to, where it is a path or URL: any file, if the program
            itself wrote it.
        unseen: the model has not seen the whole image; it goes along.

    Raises:
        CropVLMError: the image cannot be had or opened, the question is none, or the cropper
            failed. The message names the image as the model knows it, never a path or a server.
    """
    pipeline = pipeline or default_pipeline()
    zoom, seconds = timed_zoom(pipeline, _opened(image, called, question, allowed), called)
    lines, pictures = [], []
    if unseen:
        lines.append(f"Whole {called}.")
        pictures.append(encode_for_model(zoom.image, LOSSLESS_PIXELS))
    for crop in zoom.crops:
        lines.append(crop_caption(crop.box, called) + confidence_text(crop))
        pictures.append(crop.encode())
    if not zoom.crops:
        lines.append(no_crop_text(called, zoom.reason))
    artifact = zoom.to_dict(cropper=pipeline.cropper.name, seconds=seconds)
    return ToolAnswer("\n".join(lines), tuple(pictures), artifact | {"image": called})


def timed_zoom(pipeline: ZoomPipeline, asked: VisualQuestion, called: str) -> tuple[Zoom, float]:
    """Zoom for a model that asked to; return the zoom and the seconds it took.

    Raises:
        ModelError: the cropper failed; the message names no server, the log does.
    """
    started = time.perf_counter()
    try:
        zoom = pipeline.zoom_batch([asked])[0]
    except ModelError as error:
        logger.warning("%s: the cropper failed: %s", called, error)  # it may quote a server
        raise type(error)("the zoom failed; go on without it") from error
    return zoom, round(time.perf_counter() - started, 4)


def confidence_text(crop: Crop) -> str:
    """What a caption adds where the cropper says how sure it is."""
    return "" if crop.confidence is None else f" Confidence {crop.confidence:.0%}."


def open_isolated(data: bytes, called: str, page: int = 1) -> OpenedPage:
    """Open a page of a file that a model named, in a process of its own.

    Raises:
        ImageError: see :func:`cropvlm_core.images.open_page`; the message says ``called``.
    """
    try:
        return open_page(data, page=page, isolate=True)
    except MissingExtraError as error:
        raise ImageError(f"{called}: {error}") from error
    except ImageError as error:
        raise ImageError(_renamed(str(error), f"{len(data)} bytes", called)) from error


def _opened(
    image: ImageSource | CropVLMError, called: str, question: str, allowed: Allowed
) -> VisualQuestion:
    if isinstance(image, CropVLMError):
        raise image
    asked = VisualQuestion(image, question)
    by_reference = asked.reference is not None and not is_data_uri(asked.reference)
    try:
        if by_reference:
            asked = VisualQuestion(allowed.read(image), question)  # type: ignore[arg-type]
        return asked.opened()
    except MissingExtraError as error:  # of a format: what is sent must not end the agent
        raise ImageError(f"{called}: {error}") from error
    except (SourceError, ImageError, DeadlineError) as error:
        if by_reference:
            logger.warning("%s cannot be opened: %s", called, error)  # it names a path or a server
            raise type(error)(f"expected {called} as an image that opens; it does not") from error
        if isinstance(image, bytes):
            raise type(error)(_renamed(str(error), f"{len(image)} bytes", called)) from error
        raise


def _renamed(text: str, size: str, called: str) -> str:
    """A message in which an image is called as the model knows it, and not by its size."""
    text = text.replace(size, called, 1)
    return text if len(text) <= MESSAGE_LENGTH else f"{text[: MESSAGE_LENGTH - 3]}..."
