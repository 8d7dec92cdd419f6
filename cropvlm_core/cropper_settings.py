"""What ``cropvlm.json`` says beside a checkpoint's weights: how boxes are asked for and written.

Whoever asks the model needs it, in this process (``transformers_vlm``) or on a server
(``openai_vlm``); so it needs neither torch nor transformers.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.errors import CropVLMError, WeightsError, shorten

SETTINGS_FILE = "cropvlm.json"

_FORMAT = 1

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


def settings_in(folder: str | os.PathLike[str]) -> CropperSettings | None:
    """Return the settings in ``folder``; None: there is no such file, or no such folder.

    Raises:
        WeightsError: the file is damaged or of another format.
    """
    file = Path(folder, SETTINGS_FILE)
    try:
        found = file.is_file()
    except OSError:  # too long for a path
        found = False
    return read_file(file, shorten(os.fspath(folder))) if found else None


def read_file(file: str | os.PathLike[str], whose: str) -> CropperSettings:
    """Return the settings in ``file``, which is that of ``whose``, for a message.

    Raises:
        WeightsError: the file is damaged or of another format.
    """
    try:
        values = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"expected JSON in {SETTINGS_FILE} of {whose}") from error
    return CropperSettings.from_dict(values)
