"""What a call passes: the schemas that clients are shown, and the check of what they send."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cropvlm_core.errors import ProposalError, SourceError, SpecError, shorten
from cropvlm_core.images import check_page_number
from cropvlm_core.prompts import (
    LOOK_TOOL_QUESTION,
    ZOOM_TOOL_MAX_CROPS,
    ZOOM_TOOL_PAGE,
    ZOOM_TOOL_QUESTION,
)
from cropvlm_core.questions import MAX_QUESTION

MOST_CROPS = 10
"""The most crops that one call may ask for."""

_NAMES = ("image", "question", "page", "max_crops")


@dataclass(frozen=True)
class Asked:
    """A call: the ``image`` as the client names it; ``question`` None: there is none."""

    image: str
    question: str | None
    page: int
    max_crops: int


def input_schema(image: str, *, question_needed: bool, max_crops: int) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments.

    Args:
        image: what the tool says of its argument ``image``.
        question_needed: whether a call must ask something.
        max_crops: how many crops a call gets that does not say.
    """
    about = ZOOM_TOOL_QUESTION if question_needed else LOOK_TOOL_QUESTION
    return {
        "type": "object",
        "properties": {
            "image": {"type": "string", "minLength": 1, "description": image},
            "question": {"type": "string", "maxLength": MAX_QUESTION, "description": about},
            "page": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": ZOOM_TOOL_PAGE,
            },
            "max_crops": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_CROPS,
                "default": max_crops,
                "description": ZOOM_TOOL_MAX_CROPS,
            },
        },
        "required": ["image", "question"] if question_needed else ["image"],
        "additionalProperties": False,
    }


def read_arguments(given: Mapping[str, Any], *, max_crops: int) -> Asked:
    """Check what a call passes; null counts as left out.

    Whether ``question`` is a question is checked where it is asked.

    Raises:
        SpecError: an argument that the tools do not have.
        SourceError, ImageError, ProposalError: an image, page or number of crops that is none.
    """
    for name in given:
        if name not in _NAMES:
            raise SpecError(f"expected the arguments {', '.join(_NAMES)}, got {shorten(name, 30)}")
    image = given.get("image")
    if not isinstance(image, str):
        raise SourceError(f"expected image as text, got {shorten(image, 40)}")
    page = _whole(given.get("page"), 1)
    check_page_number(page)
    crops = _whole(given.get("max_crops"), max_crops)
    if not isinstance(crops, int) or isinstance(crops, bool) or not 1 <= crops <= MOST_CROPS:
        raise ProposalError(f"expected max_crops as 1 to {MOST_CROPS}, got {shorten(crops, 40)}")
    return Asked(image, given.get("question"), page, crops)


def _whole(value: Any, default: int) -> Any:
    """JSON has one kind of number: 2.0 is 2."""
    if value is None:
        return default
    return int(value) if isinstance(value, float) and value.is_integer() else value


_BOX = {
    "type": "object",
    "properties": {side: {"type": "number"} for side in ("left", "top", "right", "bottom")},
    "required": ["left", "top", "right", "bottom"],
    "description": "fractions of the upright page, from its top left corner",
}
_PIXELS = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "left, top, right, bottom on the upright page",
}
_SIZE = {"type": "array", "items": {"type": "integer"}, "description": "width, height in pixels"}
_CONFIDENCE = {"type": ["number", "null"], "description": "0 to 1, or null"}

OUTPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "question": {"type": ["string", "null"]},
        "page": {"type": "integer"},
        "pages": {"type": "integer"},
        "size": _SIZE,
        "zoomed": {"type": "boolean"},
        "reason": {"type": ["string", "null"], "description": "why there is no crop"},
        "crops": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "box": _BOX,
                    "pixels": _PIXELS,
                    "confidence": _CONFIDENCE,
                    "size": _SIZE,
                    "shown": _SIZE | {"description": "width, height of the picture returned"},
                },
                "required": ["box", "pixels", "confidence", "size"],
            },
        },
        "seconds": {"type": ["number", "null"]},
    },
    "required": ["image", "question", "page", "pages", "size", "zoomed", "reason", "crops"],
}
"""The JSON schema of :attr:`cropvlm_core.mcp_server.tools.Answer.data`."""
