"""Names of croppers and targets, one grammar everywhere."""

import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import loading
from cropvlm_core.box import Box
from cropvlm_core.cropper import FixedCropper, RandomCropper, VLMCropper
from cropvlm_core.errors import SpecError
from cropvlm_core.loading import default_pipeline, load_cropper, load_target
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import ConstantVLM


class Built:
    """Stands in for a backend and remembers how it was built."""

    count = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        time.sleep(0.02)
        type(self).count += 1
        self.arguments = arguments
        self.options = options

    def reply(self, conversations: object) -> list[str]:
        raise NotImplementedError


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Built, "count", 0)
    for room, name in (("embedded", "EmbeddedCropper"), ("openai_vlm", "OpenAIVLM")):
        module = ModuleType(f"cropvlm_core.{room}")
        setattr(module, name, Built)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_controls() -> None:
    asked = VisualQuestion(Image.new("RGB", (9, 9)), "?")
    (whole,) = load_cropper("whole").propose_batch([asked])
    assert whole.reason == "no_zoom_needed"
    (centre,) = load_cropper("centre").propose_batch([asked])
    assert centre.boxes == (Box(0.25, 0.25, 0.75, 0.75),)
    assert centre.boxes[0].area == 0.25
    for spec, seed in (("random", 0), ("random:0", 0), ("random:17", 17)):
        cropper = load_cropper(spec)
        assert isinstance(cropper, RandomCropper)
        assert cropper.seed == seed
        (proposal,) = cropper.propose_batch([asked])
        assert proposal == RandomCropper(seed).propose_batch([asked])[0]
    for spec in ("whole", "centre"):
        assert isinstance(load_cropper(spec), FixedCropper)
        assert load_cropper(spec).name == spec


@pytest.mark.usefixtures("backends")
def test_embedded() -> None:
    assert load_cropper("embedded").arguments == (None,)  # type: ignore[attr-defined]
    assert load_cropper("embedded:C:/a b.onnx").arguments == ("C:/a b.onnx",)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize(
    ("spec", "model", "url"),
    [
        ("openai:gpt-5", "gpt-5", None),
        ("openai:org/model:tag", "org/model:tag", None),
        ("openai:m@http://localhost:8000/v1", "m", "http://localhost:8000/v1"),
        ("openai:claude@2026@https://a.b/v1", "claude@2026", "https://a.b/v1"),
        ("openai:claude@2026", "claude@2026", None),
    ],
)
def test_openai(spec: str, model: str, url: str | None) -> None:
    cropper = load_cropper(spec)
    assert isinstance(cropper, VLMCropper)
    assert cropper.explain
    assert cropper.name == spec
    for vlm in (load_target(spec), cropper.vlm):
        assert isinstance(vlm, Built)
        assert vlm.arguments == (model,)
        assert vlm.options == {"base_url": url}


def test_constant() -> None:
    assert load_target("constant:") == ConstantVLM("")
    assert load_target("constant:a: b@c") == ConstantVLM("a: b@c")


ODD = [
    "",
    "Whole",
    "whole:",
    "centre:1",
    "random:",
    "random:x",
    "random:-1",
    "random:\u0661",
    "embedded:",
]
ODD += ["embeddedx", "openai", "openai:", "constant", "gpt-5", " whole", "x" * 5000, "a\nb"]


@pytest.mark.parametrize("spec", [*ODD, "constant:x", "tesseract@500", "ocr", "hf:a/b", None, 5])
def test_no_cropper_of_this_version(spec: Any) -> None:
    with pytest.raises(SpecError, match="expected a cropper of embedded") as caught:
        load_cropper(spec)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "spec", [*ODD, "whole", "embedded", "ocr", "hf:a/b", "tesseract@500", None]
)
def test_no_target_of_this_version(spec: Any) -> None:
    with pytest.raises(SpecError, match="expected a target of openai"):
        load_target(spec)


@pytest.mark.parametrize("spec", ["ocr", "hf:some/model", "tesseract@1024"])
def test_what_comes_later_is_said_plainly(spec: str) -> None:
    with pytest.raises(SpecError, match="not part of this version"):
        load_cropper(spec)
    with pytest.raises(SpecError, match="not part of this version"):
        load_target(spec)


@pytest.mark.usefixtures("backends")
def test_the_default_pipeline_is_built_once_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_default", None)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(default_pipeline())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Built.count == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
