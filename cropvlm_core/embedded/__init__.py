"""The cropper that ships in the wheel: a small policy run by ONNX Runtime, on a CPU, offline."""

from cropvlm_core.embedded.cropper import EmbeddedCropper

__all__ = ["EmbeddedCropper"]
