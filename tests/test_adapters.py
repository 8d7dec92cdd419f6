"""The faces of both adapters: what they promise, and what importing them does not load."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import require_package

FACES = {
    "langchain_cropvlm": [
        "ZoomMessages",
        "ZoomMiddleware",
        "ZoomTool",
        "move_tool_images",
        "zoom_messages",
    ],
    "llamaindex_cropvlm": [
        "ZoomPostprocessor",
        "ZoomToolSpec",
        "ZoomTransform",
        "azoom_chat_messages",
        "move_tool_images",
        "stamp_images",
        "with_tool_images",
        "zoom_chat_messages",
    ],
}
FRAMEWORKS = {"langchain_cropvlm": "langchain", "llamaindex_cropvlm": "llama_index.core"}
HEAVY = {"torch", "transformers", "trl", "onnxruntime", "openai", "numpy", "torchvision"}

each_face = pytest.mark.parametrize("face", FACES)


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=120,
    )
    return set(done.stdout.split())


@each_face
def test_all_is_this_list_and_every_name_is_there(face: str) -> None:
    require_package(FRAMEWORKS[face])
    module = importlib.import_module(face)
    assert module.__all__ == FACES[face]
    assert set(FACES[face]) <= set(dir(module))
    for name in FACES[face]:
        value = getattr(module, name)
        assert value.__module__.startswith(f"{face}.")
        assert value.__name__ == name
        assert value.__doc__
        assert vars(module)[name] is value  # looked up once
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


@each_face
def test_importing_the_face_loads_nothing(face: str) -> None:
    loaded = loaded_after(f"import {face}")
    assert loaded.isdisjoint({"PIL", "langchain_core", "langchain", "llama_index", *HEAVY})


@each_face
def test_using_every_name_loads_no_model_library(face: str) -> None:
    require_package(FRAMEWORKS[face])
    before = loaded_after(f"import {FRAMEWORKS[face]}, PIL.Image")
    ours = loaded_after(f"import {FRAMEWORKS[face]}, PIL.Image\nfrom {face} import *") - before
    assert ours.isdisjoint(HEAVY)
    assert not {
        name for name in ours if name.startswith(("cropvlm_core.training", "langgraph.cli"))
    }
    assert f"{face}.messages" in ours


@pytest.mark.parametrize(
    ("face", "name", "gone", "extra"),
    [
        ("langchain_cropvlm", "ZoomTool", "langchain_core", "langchain"),
        ("langchain_cropvlm", "ZoomMiddleware", "langchain", "langchain"),
        ("llamaindex_cropvlm", "ZoomPostprocessor", "llama_index", "llamaindex"),
    ],
)
def test_without_the_framework_the_extra_is_named(
    face: str, name: str, gone: str, extra: str
) -> None:
    loaded_after(
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {gone!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "try:\n"
        f"    from {face} import {name}\n"
        "except ImportError as error:\n"
        "    said = str(error)\n"
        f"assert said == \"{face}.{name} needs an extra package: pip install 'cropvlm[{extra}]'\""
    )


@each_face
def test_adapters_never_import_each_other(face: str) -> None:
    (other,) = set(FACES) - {face}
    require_package(FRAMEWORKS[face])
    assert other not in loaded_after(f"from {face} import *")
