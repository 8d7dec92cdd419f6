"""CropVLM: a small policy names the box worth looking at, your vision-language model answers.

::

    from cropvlm_core import default_pipeline

    zoom = default_pipeline().zoom("receipt.jpg", "What is the total?")
    zoom.crop.image.save("crop.png")

Importing this package loads neither Pillow nor NumPy nor any model library: each name below is
imported from its module when it is first used.
"""

from typing import TYPE_CHECKING

from cropvlm_core.face import lazy_names

if TYPE_CHECKING:
    from cropvlm_core.box import Box, BoxNotation
    from cropvlm_core.cropper import Cropper, FixedCropper, Proposal, ZoomRules
    from cropvlm_core.errors import CropVLMError
    from cropvlm_core.images import open_image
    from cropvlm_core.loading import default_pipeline, load_cropper, load_target
    from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions
    from cropvlm_core.zoom import Answer, Crop, Zoom, ZoomPipeline

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnsweredQuestion",
    "Box",
    "BoxNotation",
    "Crop",
    "CropVLMError",
    "Cropper",
    "FixedCropper",
    "Proposal",
    "VisualQuestion",
    "Zoom",
    "ZoomPipeline",
    "ZoomRules",
    "__version__",
    "default_pipeline",
    "load_cropper",
    "load_target",
    "open_image",
    "read_questions",
]

_ROOMS = {
    "Answer": "zoom",
    "AnsweredQuestion": "questions",
    "Box": "box",
    "BoxNotation": "box",
    "Crop": "zoom",
    "CropVLMError": "errors",
    "Cropper": "cropper",
    "FixedCropper": "cropper",
    "Proposal": "cropper",
    "VisualQuestion": "questions",
    "Zoom": "zoom",
    "ZoomPipeline": "zoom",
    "ZoomRules": "cropper",
    "default_pipeline": "loading",
    "load_cropper": "loading",
    "load_target": "loading",
    "open_image": "images",
    "read_questions": "questions",
}

__getattr__ = lazy_names(__name__, _ROOMS)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
