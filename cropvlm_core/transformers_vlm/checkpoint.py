"""What a cropper's checkpoint says beside its weights: ``cropvlm.json``, and the model card."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.errors import CropVLMError, WeightsError, shorten
from cropvlm_core.transformers_vlm.weights import check_folder, is_folder, told_plainly

SETTINGS_FILE = "cropvlm.json"

_FORMAT = 1
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

_KINDS = {"notation": str, "input_size": int, "rules": dict, "no_zoom": bool, "explain": bool}
_NOTATIONS = {
    "qwen2_vl": "per_mille",
    "qwen2_5_vl": "pixels",
    "qwen3_vl": "per_mille",
    "qwen3_vl_moe": "per_mille",
    "qwen3_5": "per_mille",
    "qwen3_5_moe": "per_mille",
    "internvl": "per_mille",
    "glm4v": "per_mille",
    "glm4v_moe": "per_mille",
    "paligemma": "loc_tokens",
}


@dataclasses.dataclass(frozen=True)
class CropperSettings:
    """How a checkpoint's boxes are written and become crops; saved with the weights.

    Attributes:
        notation: how the model writes a box.
        input_size: longest edge in pixels at which the model sees the page; None: its own
            (1036 for a family like Qwen2.5-VL, whose boxes are in pixels).
        rules: how a box becomes a crop.
        no_zoom: whether the model may write that no zoom is needed.
        explain: whether the prompt says how to write a box, for a model that was not trained on
            the paper's prompt.
    """

    notation: BoxNotation = BoxNotation.percent
    input_size: int | None = None
    rules: ZoomRules = dataclasses.field(default_factory=ZoomRules)
    no_zoom: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        """Check the input size."""
        if self.input_size is not None and self.input_size < 1:
            raise WeightsError(f"expected input_size above 0, got {shorten(self.input_size)}")

    @classmethod
    def of_family(cls, model_type: str) -> CropperSettings:
        """Return what suits a model that was never trained as a cropper, by its ``model_type``."""
        notation = BoxNotation.from_name(_NOTATIONS.get(model_type, "percent"))
        return cls(notation=notation, explain=True)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary that :meth:`from_dict` reads."""
        return {
            "format": _FORMAT,
            "notation": self.notation.name,
            "input_size": self.input_size,
            "rules": self.rules.to_dict(),
            "no_zoom": self.no_zoom,
            "explain": self.explain,
        }

    @classmethod
    def from_dict(cls, values: Any) -> CropperSettings:
        """Read what :meth:`to_dict` wrote.

        Raises:
            WeightsError: another format, an unknown key, or a value that does not fit.
        """
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise WeightsError(
                f"expected {SETTINGS_FILE} of format {_FORMAT}, got {shorten(values)}"
            )
        given = {key: value for key, value in values.items() if key != "format"}
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(given) - known):
            raise WeightsError(f"expected {SETTINGS_FILE} with {sorted(known)}, got {unknown}")
        for name, kind in _KINDS.items():
            value = given.get(name)
            if name in given and type(value) is not kind and (name, value) != ("input_size", None):
                raise WeightsError(
                    f"expected {name} as {kind.__name__} in {SETTINGS_FILE}, got {shorten(value)}"
                )
        try:
            given["notation"] = BoxNotation.from_name(given.get("notation", "percent"))
            given["rules"] = ZoomRules.from_dict(given.get("rules", {}))
        except (CropVLMError, TypeError) as error:
            raise WeightsError(f"{SETTINGS_FILE}: {error}") from error
        return cls(**given)

    def save(self, folder: Path) -> None:
        """Write ``cropvlm.json`` into ``folder``."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")


def read_settings(
    name: str | os.PathLike[str], *, revision: str | None = None
) -> CropperSettings | None:
    """Return the settings of a folder or Hub id; None: it was not made as a cropper.

    Raises:
        WeightsError: the file is damaged or of another format.
    """
    check_folder(name)
    found: str | Path = Path(name, SETTINGS_FILE)
    if not is_folder(name):
        try:
            with told_plainly(name):
                found = hf_hub_download(os.fspath(name), SETTINGS_FILE, revision=revision)
        except WeightsError as error:
            if isinstance(error.__cause__, EntryNotFoundError):
                return None
            raise
    elif not Path(found).is_file():
        return None
    try:
        values = json.loads(Path(found).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"expected JSON in {SETTINGS_FILE} of {shorten(str(name))}") from error
    return CropperSettings.from_dict(values)


def model_card(settings: CropperSettings, *, base: str | None, trained: str | None) -> str:
    """Return the README.md of a checkpoint, with the front matter that the Hub reads."""
    rules = json.dumps(settings.rules.to_dict())
    size = "its own" if settings.input_size is None else f"{settings.input_size} pixels"
    head = ["library_name: transformers", "pipeline_tag: image-text-to-text"]
    hub_id = (base or "").partition("@")[0]
    if _HUB_ID.fullmatch(hub_id) and not is_folder(hub_id):  # a path here is nobody's business
        head.append(f"base_model: {hub_id}")
    head += ["tags:", "- cropvlm", "- visual-grounding", "- document-question-answering"]
    lines = [
        "---",
        *head,
        "---",
        "",
        "# A CropVLM cropper",
        "",
        "Looks at an image and a question and names the box worth zooming into; another",
        "vision-language model then gets the whole image and the crop (arXiv 2511.19820).",
        "",
        "```python",
        "from cropvlm_core import ZoomPipeline, load_cropper",
        "",
        'pipeline = ZoomPipeline(load_cropper("hf:THIS_FOLDER_OR_ID"))',
        'print(pipeline.zoom("page.png", "What is the total?").box)',
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| boxes written as | {settings.notation.name} |",
        f"| longest edge of its input | {size} |",
        f'| may say "no zoom needed" | {"yes" if settings.no_zoom else "no"} |',
        f"| zoom rules | `{rules}` |",
    ]
    if trained:
        lines += ["", "## Training", "", trained]
    return "\n".join([*lines, ""])
