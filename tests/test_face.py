"""The face: what ``cropvlm_core`` promises, and what importing it does not load."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cropvlm_core

EXPECTED = [
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
HEAVY = ["torch", "transformers", "langchain_core", "llama_index", "openai", "onnxruntime"]


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(cropvlm_core.__file__).parents[1],
    )
    return set(done.stdout.split())


def test_all_is_this_list() -> None:
    assert cropvlm_core.__all__ == EXPECTED
    assert set(EXPECTED) <= set(dir(cropvlm_core))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_name_is_there(name: str) -> None:
    value = getattr(cropvlm_core, name)
    if name != "__version__":
        assert value.__module__.startswith("cropvlm_core.")
        assert value.__name__ == name
        assert value.__doc__


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cropvlm_core.nonsense


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", cropvlm_core.__version__)


def test_importing_the_face_loads_nothing_heavy() -> None:
    loaded = _loaded_after("import cropvlm_core")
    assert loaded.isdisjoint(HEAVY)
    assert loaded.isdisjoint({"PIL", "numpy", "cropvlm_core.zoom"})


def test_using_every_name_of_the_face_loads_nothing_heavy() -> None:
    loaded = _loaded_after(
        "from cropvlm_core import *\nload_cropper('whole')\nload_target('constant:x')"
    )
    assert loaded.isdisjoint(HEAVY)
    assert "cropvlm_core.zoom" in loaded


@pytest.mark.parametrize("name", ["errors", "box", "images", "questions", "vlm", "cropper", "zoom"])
def test_every_room_says_what_it_is(name: str) -> None:
    assert importlib.import_module(f"cropvlm_core.{name}").__doc__
