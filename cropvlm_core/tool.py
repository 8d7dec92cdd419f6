"""The zoom tool as every framework offers it: which image is meant, and what the call answers.

The adapters add what is theirs: how a tool is declared, and where the images come from.
"""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cropvlm_core.errors import CropVLMError, ImageError, ModelError, SourceError, shorten
from cropvlm_core.images import ImageSource, encode_for_model
from cropvlm_core.loading import default_pipeline
from cropvlm_core.prompts import crop_caption, no_crop_text
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.sources import is_data_uri
from cropvlm_core.zoom import LOSSLESS_PIXELS, ZoomPipeline

logger = logging.getLogger(__name__)

NAME = "zoom"
"""The tool's name, unless a framework's user gives another."""

_Image = TypeVar("_Image")


@dataclass(frozen=True)
class ToolAnswer:
    """What one call answers: ``text`` and ``pictures`` (bytes, MIME type) for the model.

    ``artifact`` is for the program: the keys of ``cropvlm zoom --json``, JSON-able, no pictures;
    its ``image`` is the number that the model knows, such as "image 2".
    """

    text: str
    pictures: tuple[tuple[bytes, str], ...]
    artifact: dict[str, Any]


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
    chosen = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    if not 1 <= chosen <= last:
        raise SourceError(f"expected {known}, got {shorten(number)}")
    return images[chosen - 1], f"image {chosen}"


def zoom_call(
    pipeline: ZoomPipeline | None,
    image: ImageSource | CropVLMError,
    called: str,
    question: str,
    *,
    unseen: bool = False,
) -> ToolAnswer:
    """Zoom into an image for a model that asked to.

    Args:
        pipeline: None is the shared default, built when it is first needed.
        image: the image, or the error that says why it cannot be had.
        called: what the model knows it by, such as "image 2".
        question: what the model looks for.
        unseen: the model has not seen the whole image; it goes along.

    Raises:
        CropVLMError: the image cannot be had or opened, the question is none, or the cropper
            failed. The message names the image as the model knows it, never a path or a server.
    """
    pipeline = pipeline or default_pipeline()
    asked = _opened(image, called, question)
    started = time.perf_counter()
    try:
        zoom = pipeline.zoom_batch([asked])[0]
    except ModelError as error:
        logger.warning("%s: the cropper failed: %s", called, error)  # it may quote a server
        raise type(error)("the zoom failed; go on without it") from error
    seconds = round(time.perf_counter() - started, 4)
    lines, pictures = [], []
    if unseen:
        lines.append(f"Whole {called}.")
        pictures.append(encode_for_model(zoom.image, LOSSLESS_PIXELS))
    for crop in zoom.crops:
        sure = "" if crop.confidence is None else f" Confidence {crop.confidence:.0%}."
        lines.append(crop_caption(crop.box, called) + sure)
        pictures.append(crop.encode())
    if not zoom.crops:
        lines.append(no_crop_text(called, zoom.reason))
    artifact = zoom.to_dict(cropper=pipeline.cropper.name, seconds=seconds)
    return ToolAnswer("\n".join(lines), tuple(pictures), artifact | {"image": called})


def _opened(image: ImageSource | CropVLMError, called: str, question: str) -> VisualQuestion:
    if isinstance(image, CropVLMError):
        raise image
    asked = VisualQuestion(image, question)
    try:
        return asked.opened()
    except (SourceError, ImageError) as error:
        if asked.reference is None or is_data_uri(asked.reference):
            raise
        logger.warning("%s cannot be opened: %s", called, error)  # it names a path
        raise type(error)(f"expected {called} as an image that opens; it does not") from error
