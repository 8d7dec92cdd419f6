"""Crops added to the body of a request in OpenAI's protocols: data in, data out.

What the wrapped client (:mod:`cropvlm_core.openai_client`) and the proxy
(:mod:`cropvlm_core.proxy`) both do: read a body of Chat Completions or Responses as the turns of
:mod:`cropvlm_core.turns`, and write a copy of it with captions and crops behind the images.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cropvlm_core.errors import CropVLMError, SourceError
from cropvlm_core.prompts import is_crop_caption
from cropvlm_core.sources import NO_REFERENCE, Allowed, is_data_uri
from cropvlm_core.turns import CaptionedCrop, FindQuestion, OnError, Turn, TurnZoom, to_turns
from cropvlm_core.zoom import ZoomPipeline

Conversation = Literal["messages", "input"]
"""The key under which a body holds the conversation: of Chat Completions, and of Responses."""

Body = Mapping[str, Any]
"""The JSON object of a request."""

_TEXTS = ("text", "input_text")
_IMAGES = ("image_url", "input_image")


def conversation_in(path: str) -> Conversation | None:
    """Return where a request that is posted to ``path`` holds its conversation, if it does."""
    path = path.partition("?")[0].rstrip("/")
    if path.endswith("/chat/completions"):
        return "messages"
    return "input" if path.endswith("/responses") else None


def shows_images(body: object, conversation: Conversation) -> bool:
    """Whether a user shows an image in ``body``; cheap."""
    said = body.get(conversation) if isinstance(body, Mapping) else None
    return isinstance(said, list | tuple) and any(
        _is_image(part) for message in said if _by_user(message) for part in _parts(message)
    )


@dataclass(frozen=True)
class ZoomedBody:
    """A body with crops; ``body`` is the very object that was given where none were added.

    ``crops``: how many were added. ``passed_over``: for each image that could not be zoomed into,
    why; it goes on as it is.
    """

    body: Body
    crops: int = 0
    passed_over: tuple[CropVLMError, ...] = ()


class RequestZoom:
    """Adds crops to the bodies of requests; safe to share between threads."""

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        question: FindQuestion | None = None,
        on_error: OnError = "raise",
        allowed: Allowed = NO_REFERENCE,
        isolate: bool = False,
    ) -> None:
        """See :class:`TurnZoom`, which raises what is wrong with the arguments."""
        self._allowed = allowed
        self._turns = TurnZoom(
            pipeline, question=question, on_error=on_error, allowed=allowed, isolate=isolate
        )

    def zoom(self, body: Body, conversation: Conversation) -> ZoomedBody:
        """Return a copy of ``body`` with the crops behind every image of a user's question.

        An image that has crops of ours behind it, and these crops, are left alone: what went
        through an adapter or another proxy is not zoomed into again.

        Raises:
            CropVLMError: with ``on_error="raise"``: see :meth:`TurnZoom.crops`.
        """
        if not shows_images(body, conversation):
            return ZoomedBody(body)
        said = body[conversation]
        found = self._turns.outcomes(to_turns([self._turn(message) for message in said]))
        outcomes = [outcome for turn in found for outcome in turn]
        crops = sum(len(each) for each in outcomes if not isinstance(each, CropVLMError))
        errors = tuple(each for each in outcomes if isinstance(each, CropVLMError))
        if not crops:
            return ZoomedBody(body, 0, errors)
        zoomed = [_with_crops(message, turn) for message, turn in zip(said, found, strict=True)]
        return ZoomedBody({**body, conversation: zoomed}, crops, errors)

    def _turn(self, message: Any) -> Turn | None:
        """Read what a user said at once; None where it was somebody else."""
        if not _by_user(message):
            return None
        parts = _parts(message)
        texts = (_text(part) for part in parts)
        words = "\n".join(text for text in texts if text and not is_crop_caption(text))
        return Turn(words, tuple(self._image(parts[place]) for place in _pages(parts)))

    def _image(self, part: Any) -> str | SourceError:
        url = _url(part)
        if isinstance(url, str) and (is_data_uri(url) or self._allowed.references):
            return url
        if isinstance(url, str) and url:
            what = "a URL" if "://" in url else "a text that is neither"
        else:
            what = "the id of an uploaded file" if part.get("file_id") else "a part without any"
        return SourceError(f"expected an image as a data: URI, got {what}")


def _by_user(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _parts(message: Body) -> Sequence[Any]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list | tuple) else ()


def _text(part: object) -> str:
    if not isinstance(part, Mapping) or part.get("type") not in _TEXTS:
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _is_image(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _IMAGES


def _url(part: Body) -> object:
    holder = part.get("image_url")
    return holder.get("url") if isinstance(holder, Mapping) else holder


def _pages(parts: Sequence[Any]) -> list[int]:
    """The places of the images to zoom into."""
    captions = [is_crop_caption(_text(part)) for part in (*parts, None)]
    return [
        place
        for place, part in enumerate(parts)
        if _is_image(part) and not captions[place - 1] and not captions[place + 1]
    ]


def _with_crops(message: Any, found: Sequence[tuple[CaptionedCrop, ...] | CropVLMError]) -> Any:
    """Return a copy of a message with what was ``found`` for each of its pages behind the page."""
    crops = [() if isinstance(each, CropVLMError) else each for each in found]
    if not any(crops):
        return message
    parts = _parts(message)
    behind = dict(zip(_pages(parts), crops, strict=True))
    content: list[Any] = []
    for place, part in enumerate(parts):
        content.append(part)
        for crop in behind.get(place, ()):
            content += _crop_parts(crop, part)
    return {**message, "content": content}


def _crop_parts(crop: CaptionedCrop, page: Body) -> Iterable[dict[str, Any]]:
    """Caption and crop in the protocol of the ``page``, to be looked at in the same detail."""
    url = f"data:{crop.mime_type};base64,{base64.b64encode(crop.data).decode('ascii')}"
    if page["type"] == "input_image":
        yield {"type": "input_text", "text": crop.caption}
        yield {"type": "input_image", "image_url": url, "detail": page.get("detail", "auto")}
        return
    holder = page["image_url"]
    detail = holder.get("detail") if isinstance(holder, Mapping) else None
    yield {"type": "text", "text": crop.caption}
    yield {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
