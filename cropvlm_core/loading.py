"""The only room that turns names into objects: load_cropper, load_target, default_pipeline.

One grammar everywhere (command line, Python, configuration)::

    cropper   embedded[:FILE.onnx] | whole | centre | random[:SEED]
              | ocr | hf:FOLDER_OR_ID | openai:MODEL[@URL]
    target    hf:FOLDER_OR_ID | openai:MODEL[@URL] | tesseract@N | constant:TEXT

Without ``@URL`` the server is the one of ``OPENAI_BASE_URL``; keys come from the environment
only. ``hf:ID@REVISION`` pins a branch, tag or commit of the Hub. N is a size in pixels, 32 to
20000. Backends are imported when they are named.
"""

import dataclasses
import os
import re
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import Cropper, FixedCropper, RandomCropper
from cropvlm_core.cropper_settings import SETTINGS_FILE, CropperSettings, settings_in
from cropvlm_core.errors import MissingExtraError, SpecError, WeightsError, shorten
from cropvlm_core.vlm import VLM, ConstantVLM
from cropvlm_core.zoom import ZoomPipeline

if TYPE_CHECKING:
    from cropvlm_core.openai_vlm import OpenAIVLM

CROPPERS = (
    "embedded[:FILE.onnx], whole, centre, random[:SEED], ocr, hf:FOLDER_OR_ID, openai:MODEL[@URL]"
)
"""The croppers of this version, for messages and help texts."""

TARGETS = "hf:FOLDER_OR_ID, openai:MODEL[@URL], tesseract@N, constant:TEXT"
"""The targets of this version, for messages and help texts."""

_CENTRE = Box(0.25, 0.25, 0.75, 0.75)

_default: ZoomPipeline | None = None
_building = threading.Lock()


def load_cropper(
    spec: str,
    *,
    notation: str | None = None,
    input_size: int | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    constrain: str | None = None,
) -> Cropper:
    """Return the cropper that ``spec`` names.

    ``embedded``: the policy in the wheel, or the ONNX file named. ``whole``, ``centre`` (a quarter
    of the page) and ``random``: controls. ``ocr``: text lines matched to the question's words.
    ``hf:FOLDER_OR_ID``: a checkpoint of ours, or any grounding model of the Hugging Face Hub.
    ``openai:MODEL@URL``: a model on a server. Where MODEL is a folder here with a checkpoint of
    ours (servers name a model by its path), it is asked as it was trained, by the settings in
    that folder; any other is told how to write a box.

    Args:
        spec: see above.
        notation: name of a :class:`BoxNotation`, for models that write boxes; None: what a
            checkpoint says, what suits the model's family, or percent on a server.
        input_size: longest edge in pixels at which such a model sees the page; None: the
            checkpoint's, or the model's own.
        threads: how many threads the embedded cropper runs on; None: one a core, at most 4.
        checkpoint: for ``openai:``, a folder with the ``cropvlm.json`` of the checkpoint that the
            server runs under another name.
        constrain: for ``openai:``, the server's kind (``vllm``, ``sglang`` or ``llamacpp``), to
            have it write nothing but a box.

    Raises:
        SpecError: no cropper of this version has that name, or it was given an option that is for
            another: a notation or an input size where no boxes are written, a number of threads
            where it is not the embedded one, a checkpoint or ``constrain`` where it is not
            ``openai:``; or ``constrain`` names no server that we know.
        BoxError: there is no such notation.
        WeightsError: the weights are missing or refused, or Tesseract's language data is missing;
            or there are no settings in ``checkpoint``.
        MissingExtraError: the extra ``local``, ``api`` or ``ocr`` is not installed.
    """
    kind, _, rest = _checked(spec, "cropper", CROPPERS).partition(":")
    written = None if notation is None else BoxNotation.from_name(notation)
    if kind not in ("hf", "openai") and (written or input_size):
        raise SpecError(
            f"expected a cropper that writes boxes (hf:..., openai:...) for a notation or an input "
            f"size, got {shorten(spec)}"
        )
    if threads is not None and (kind != "embedded" or threads < 1):
        raise SpecError(f"expected embedded for a number of threads >= 1, got {shorten(spec)}")
    if kind != "openai" and (checkpoint is not None or constrain is not None):
        raise SpecError(
            f"expected openai:... for a checkpoint or for constrain, got {shorten(spec)}"
        )
    if spec == "whole":
        return FixedCropper(None, name=spec)
    if spec == "centre":
        return FixedCropper(_CENTRE, name=spec)
    if kind == "random" and (match := re.fullmatch(r"random(?::([0-9]{1,18}))?", spec, re.ASCII)):
        return RandomCropper(int(match[1] or 0))
    if spec == "ocr":
        from cropvlm_core.tesseract import OCRCropper

        return OCRCropper()
    if spec == "embedded" or (kind == "embedded" and rest):
        from cropvlm_core.embedded import EmbeddedCropper

        return EmbeddedCropper(rest or None, threads=threads)
    if kind == "openai":
        vlm = _openai(rest, spec, "cropper", CROPPERS)
        from cropvlm_core.openai_vlm import OpenAICropper

        settings = _served(vlm.model, checkpoint)
        settings = dataclasses.replace(
            settings,
            notation=written or settings.notation,
            input_size=input_size or settings.input_size,
        )
        return OpenAICropper(vlm, settings, constrain=constrain, name=spec)
    if kind == "hf" and rest:
        check_local()
        from cropvlm_core.transformers_vlm import TransformersCropper

        name, revision = _pinned(rest)
        return TransformersCropper.from_pretrained(
            name, revision=revision, notation=written, input_size=input_size
        )
    raise _unknown(spec, "cropper", CROPPERS)


def load_target(spec: str, **local: Any) -> VLM:
    """Return the target (the model that answers) that ``spec`` names.

    Args:
        spec: see above.
        local: for ``hf:``, arguments of ``TransformersVLM.from_pretrained``, such as ``device``,
            ``input_size`` or ``batch_size``.

    Raises:
        SpecError: no target of this version has that name, or one that is not on this machine was
            given arguments of such a one.
        WeightsError: there is no such model, its weights are not in safetensors, or Tesseract's
            language data is missing.
        MissingExtraError: the extra ``local``, ``api`` or ``ocr`` is not installed.
    """
    kind, colon, rest = _checked(spec, "target", TARGETS).partition(":")
    if local and kind != "hf":
        raise SpecError(f"expected hf:... for {', '.join(sorted(local))}, got {shorten(spec)}")
    if kind == "constant" and colon:
        return ConstantVLM(rest)
    if match := re.fullmatch(r"tesseract@([0-9]{1,9})", spec, re.ASCII):
        from cropvlm_core.tesseract import TesseractReader

        return TesseractReader(int(match[1]))
    if kind == "openai":
        return _openai(rest, spec, "target", TARGETS)
    if kind == "hf" and rest:
        check_local()
        from cropvlm_core.transformers_vlm import TransformersVLM

        name, revision = _pinned(rest)
        return TransformersVLM.from_pretrained(name, revision=revision, **local)
    raise _unknown(spec, "target", TARGETS)


def check_local() -> None:
    """Check, without importing them, that the packages of ``hf:`` models are there.

    Raises:
        MissingExtraError: the extra ``local`` is not installed.
    """
    if any(find_spec(package) is None for package in ("torch", "transformers", "jinja2")):
        raise MissingExtraError("a Hugging Face model on this machine", "local")


def metric_for(target: str) -> str:
    """The name of the metric by which a target's replies are scored, unless another is chosen.

    A reader (``tesseract@N``) gives all it reads, so what counts is whether that holds the answer.
    """
    return "contains" if target.startswith("tesseract@") else "mixed_accuracy"


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


def _served(model: str, checkpoint: str | os.PathLike[str] | None) -> CropperSettings:
    """How a model on a server is asked: as the checkpoint that it is, or as a stranger."""
    if checkpoint is None:
        return settings_in(model) or CropperSettings(explain=True)
    settings = settings_in(checkpoint)
    if settings is None:
        raise WeightsError(
            f"expected a folder with {SETTINGS_FILE} as checkpoint, "
            f"got {shorten(os.fspath(checkpoint))}"
        )
    return settings


def _openai(rest: str, spec: str, what: str, known: str) -> "OpenAIVLM":
    """Split ``MODEL[@URL]`` at the ``@`` before the URL; a model's name may hold an ``@``."""
    match = re.fullmatch(r"(.+?)(?:@(https?://.+))?", rest)
    if match is None:
        raise _unknown(spec, what, known)
    from cropvlm_core.openai_vlm import OpenAIVLM

    return OpenAIVLM(match[1], base_url=match[2])


def _pinned(name: str) -> tuple[str, str | None]:
    """Split ``ID@REVISION``; a folder that exists is a folder, whatever its name."""
    head, at, revision = name.rpartition("@")
    try:
        whole = not (at and head and revision) or Path(name).exists()
    except OSError:  # too long for a path
        whole = False
    return (name, None) if whole else (head, revision)


def _checked(spec: object, what: str, known: str) -> str:
    if not isinstance(spec, str):
        raise _unknown(spec, what, known)
    return spec


def _unknown(spec: object, what: str, known: str) -> SpecError:
    return SpecError(f"expected a {what} of {known}; got {shorten(spec)}")
