"""A checkpoint's ``cropvlm.json``, in a folder or on the Hub, and its model card."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from cropvlm_core.cropper_settings import SETTINGS_FILE, CropperSettings, read_file
from cropvlm_core.errors import WeightsError, shorten
from cropvlm_core.transformers_vlm.weights import check_folder, is_folder, told_plainly

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


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
    return read_file(found, shorten(str(name)))


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
