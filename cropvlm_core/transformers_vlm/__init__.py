"""Any Hugging Face image-text-to-text model on this machine, as target and as cropper.

``TransformersVLM`` answers and scores, ``TransformersCropper`` names boxes; both need the extra
``local`` (torch, transformers). Importing this package loads neither.
"""

from typing import TYPE_CHECKING

from cropvlm_core.face import lazy_names

if TYPE_CHECKING:
    from cropvlm_core.cropper_settings import CropperSettings
    from cropvlm_core.transformers_vlm.cropper import TransformersCropper
    from cropvlm_core.transformers_vlm.vlm import TransformersVLM

__all__ = ["CropperSettings", "TransformersCropper", "TransformersVLM"]

_ROOMS = {
    "CropperSettings": "checkpoint",
    "TransformersCropper": "cropper",
    "TransformersVLM": "vlm",
}

__getattr__ = lazy_names(__name__, _ROOMS, extra="local", needs=("torch", "transformers", "jinja2"))
