"""Everything we ever say to a model, each thing once.

The first two are the paper's (CropVLM, arXiv 2511.19820, section on training data); the others
are for conversations that somebody else leads: an agent, a chain, a query engine.
"""

from cropvlm_core.box import Box


def cropper_prompt(question: str) -> str:
    """Ask the policy for the box worth looking at."""
    return f"{question}\nOutline the region in the image that would help answer this question."


def answer_prompt(question: str) -> str:
    """Ask the target, or the reward model, for the answer."""
    return f"{question}\nGive a very brief answer."


def crop_caption(box: Box, image: str) -> str:
    """Say what the crop that follows is, such as of ``image`` "the image above"."""
    return (
        f"Part of {image} at full resolution, from {box.left:.0%} to {box.right:.0%} of its width "
        f"and {box.top:.0%} to {box.bottom:.0%} of its height."
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


def no_crop_text(image: str, reason: str | None) -> str:
    """Say that there is no crop of ``image``, such as "image 2", and why."""
    why = {
        "no_zoom_needed": "it answers this question best as a whole",
        "low_confidence": "no part of it is sure enough to hold the answer",
    }.get(reason or "", "no part of it could be chosen")
    return f"No crop of {image}: {why}. Look at the whole image."
