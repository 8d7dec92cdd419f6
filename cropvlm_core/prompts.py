"""Everything we ever say to a model, each thing once.

The first two are the paper's (CropVLM, arXiv 2511.19820, section on training data); the others
are for conversations that somebody else leads: an agent, a chain, a query engine.
"""

import re

from cropvlm_core.box import Box

_CAPTION = re.compile(
    r"Part of .{1,200} at full resolution, from [0-9]{1,3}% to [0-9]{1,3}% of its width "
    r"and [0-9]{1,3}% to [0-9]{1,3}% of its height\.( Confidence [0-9]{1,3}%\.)?"
)


def cropper_prompt(question: str) -> str:
    """Ask the policy for the box worth looking at."""
    return f"{question}\nOutline the region in the image that would help answer this question."


def answer_prompt(question: str) -> str:
    """Ask the target, or the reward model, for the answer."""
    return f"{question}\nGive a very brief answer."


def crop_caption(box: Box, image: str, shown: str = "at full resolution") -> str:
    """Say what the crop that follows is, such as of ``image`` "the image above"."""
    return f"Part of {image} {shown}, {_extent(box)}."


def is_crop_caption(text: str) -> bool:
    """Whether a text is a caption of ours, so that the image behind it is a crop already."""
    return _CAPTION.fullmatch(text) is not None


def outline_caption(box: Box, image: str, colour: str) -> str:
    """Say what is outlined on the picture of ``image`` that follows."""
    return f"Outlined in {colour}: the part of {image} {_extent(box)}."


def _extent(box: Box) -> str:
    return (
        f"from {box.left:.0%} to {box.right:.0%} of its width "
        f"and {box.top:.0%} to {box.bottom:.0%} of its height"
    )


ZOOM_TOOL = (
    "Look closer at an image. Returns the part of the image that answers the question, cut out at "
    "full resolution, so that small print becomes readable. Use it when the answer depends on "
    "small text or a small detail that you cannot read with certainty: a total on a receipt, a "
    "date on a form, a name in a table, a sign in the background. Do not use it when you can "
    "already read the answer, or when the question is about the image as a whole: what it shows, "
    "how it is laid out, a trend in a chart. Ask for one thing a call; call again for another."
)
"""What the zoom tool says of itself to a model."""

ZOOM_TOOL_QUESTION = (
    "What to look for, as one short question in the words that stand on the image, such as: "
    "What is the total?"
)
"""What the zoom tool says of its argument ``question``."""

ZOOM_TOOL_IMAGE = (
    "Which image, where there are several: 1 is the first one, 2 the second; parts cut out of an "
    "image do not count. A number, never a file name or an address."
)
"""What the zoom tool says of its argument ``image``."""

ZOOM_TOOL_PAGE = "Which page of a PDF or TIFF, or which frame of an animation, from 1."
"""What the tools of the MCP server say of their argument ``page``."""

ZOOM_TOOL_MAX_CROPS = (
    "At most how many parts to return. More than one helps where several places on the image could "
    "be meant."
)
"""What the tools of the MCP server say of their argument ``max_crops``."""

LOOK_TOOL = (
    "Look at a whole image, scaled down to fit, to see what it is and how it is laid out. With a "
    "question the part that zoom would cut out for it is outlined, and the rest is dimmed: to "
    "check, or to show somebody, where the answer stands. Small print is not readable here: zoom "
    "returns it at full resolution."
)
"""What the tool that shows whole images says of itself to a model."""

LOOK_TOOL_QUESTION = (
    "What to outline, as one short question in the words that stand on the image; leave it out to "
    "see the image as it is."
)
"""What that tool says of its argument ``question``."""


def no_crop_text(image: str, reason: str | None) -> str:
    """Say that there is no crop of ``image``, such as "image 2", and why."""
    why = {
        "no_zoom_needed": "it answers this question best as a whole",
        "low_confidence": "no part of it is sure enough to hold the answer",
    }.get(reason or "", "no part of it could be chosen")
    return f"No crop of {image}: {why}. Look at the whole image."
