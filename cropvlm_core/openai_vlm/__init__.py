"""Any server that speaks OpenAI's Chat Completions, hosted or on this machine."""

from cropvlm_core.openai_vlm.cropper import OpenAICropper
from cropvlm_core.openai_vlm.vlm import OpenAIVLM

__all__ = ["OpenAICropper", "OpenAIVLM"]
