"""The only room that turns names into objects: load_cropper, load_target, default_pipeline.

One grammar everywhere (command line, Python, configuration)::

    cropper   embedded[:FILE.onnx] | whole | centre | random[:SEED] | openai:MODEL[@URL]
    target    openai:MODEL[@URL] | constant:TEXT

Without ``@URL`` the server is the one of ``OPENAI_BASE_URL``; keys come from the environment
only. The names ``ocr``, ``hf:...`` and ``tesseract@N`` belong to the grammar, but not to this
version. Backends are imported when they are named.
"""

import re
import threading

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, RandomCropper, VLMCropper
from cropvlm_core.errors import SpecError, shorten
from cropvlm_core.vlm import VLM, ConstantVLM
from cropvlm_core.zoom import ZoomPipeline

CROPPERS = "embedded[:FILE.onnx], whole, centre, random[:SEED], openai:MODEL[@URL]"
"""The croppers of this version, for messages and help texts."""

TARGETS = "openai:MODEL[@URL], constant:TEXT"
"""The targets of this version, for messages and help texts."""

_CENTRE = Box(0.25, 0.25, 0.75, 0.75)
_LATER = re.compile(r"ocr|hf:.+|tesseract@[0-9]+", re.DOTALL)

_default: ZoomPipeline | None = None
_building = threading.Lock()


def load_cropper(spec: str) -> Cropper:
    """Return the cropper that ``spec`` names.

    ``embedded``: the policy in the wheel, or the ONNX file named. ``whole``, ``centre`` (a quarter
    of the page) and ``random``: controls. ``openai:MODEL@URL``: a model on a server, told how to
    write a box in percent.

    Raises:
        SpecError: no cropper of this version has that name.
        WeightsError: the weight file is missing or refused.
        MissingExtraError: the extra ``api`` is not installed.
    """
    kind, _, rest = _checked(spec, "cropper", CROPPERS).partition(":")
    if spec == "whole":
        return FixedCropper(None, name=spec)
    if spec == "centre":
        return FixedCropper(_CENTRE, name=spec)
    if kind == "random" and (match := re.fullmatch(r"random(?::([0-9]{1,18}))?", spec, re.ASCII)):
        return RandomCropper(int(match[1] or 0))
    if spec == "embedded" or (kind == "embedded" and rest):
        from cropvlm_core.embedded import EmbeddedCropper

        return EmbeddedCropper(rest or None)
    if kind == "openai":
        return VLMCropper(_openai(rest, spec, "cropper", CROPPERS), explain=True, name=spec)
    raise _unknown(spec, "cropper", CROPPERS)


def load_target(spec: str) -> VLM:
    """Return the target (the model that answers) that ``spec`` names.

    Raises:
        SpecError: no target of this version has that name.
        MissingExtraError: the extra ``api`` is not installed.
    """
    kind, colon, rest = _checked(spec, "target", TARGETS).partition(":")
    if kind == "constant" and colon:
        return ConstantVLM(rest)
    if kind == "openai":
        return _openai(rest, spec, "target", TARGETS)
    raise _unknown(spec, "target", TARGETS)


def default_pipeline() -> ZoomPipeline:
    """Return the shared pipeline of the embedded cropper, built at its first use.

    Raises:
        WeightsError: the weights in this installation are damaged.
    """
    global _default
    if _default is None:
        with _building:
            if _default is None:
                _default = ZoomPipeline(load_cropper("embedded"))
    return _default


def _openai(rest: str, spec: str, what: str, known: str) -> VLM:
    """Split ``MODEL[@URL]`` at the ``@`` before the URL; a model's name may hold an ``@``."""
    match = re.fullmatch(r"(.+?)(?:@(https?://.+))?", rest)
    if match is None:
        raise _unknown(spec, what, known)
    from cropvlm_core.openai_vlm import OpenAIVLM

    return OpenAIVLM(match[1], base_url=match[2])


def _checked(spec: object, what: str, known: str) -> str:
    if not isinstance(spec, str) or _LATER.fullmatch(spec):
        raise _unknown(spec, what, known)
    return spec


def _unknown(spec: object, what: str, known: str) -> SpecError:
    coming = isinstance(spec, str) and _LATER.fullmatch(spec) is not None
    note = " (not part of this version)" if coming else ""
    return SpecError(f"expected a {what} of {known}; got {shorten(spec)}{note}")
