"""Names of croppers and targets, one grammar everywhere."""

import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import loading
from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import FixedCropper, RandomCropper
from cropvlm_core.errors import BoxError, MissingExtraError, SpecError
from cropvlm_core.loading import default_pipeline, load_cropper, load_target
from cropvlm_core.openai_vlm import OpenAICropper, OpenAIVLM
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
    module = ModuleType("cropvlm_core.embedded")
    module.EmbeddedCropper = Built  # type: ignore[attr-defined]
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


@pytest.mark.parametrize(
    ("spec", "name", "revision"),
    [
        ("hf:org/model", "org/model", None),
        ("hf:org/model@v1.0", "org/model", "v1.0"),
        ("hf:org/model@refs/pr/3", "org/model", "refs/pr/3"),
        ("hf:./runs/sft", "./runs/sft", None),
        ("hf:C:/runs/sft", "C:/runs/sft", None),
        ("hf:@", "@", None),
        ("hf:org/model@", "org/model@", None),
        ("hf:here@v1", "here@v1", None),  # a folder of this name, see below
        ("hf:here@v2", "here", "v2"),
    ],
)
def test_models_of_the_hub(
    spec: str, name: str, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here@v1").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, dict[str, Any]]] = []

    class Loaded:
        @classmethod
        def from_pretrained(cls, name: str, **options: Any) -> None:
            asked.append((name, options))

    room = ModuleType("cropvlm_core.transformers_vlm")
    room.TransformersCropper = room.TransformersVLM = Loaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, room.__name__, room)
    monkeypatch.setattr(loading, "check_local", lambda: None)
    load_target(spec)
    load_cropper(spec, notation="per_mille", input_size=64)
    written = {"notation": BoxNotation.per_mille, "input_size": 64}
    assert asked == [
        (name, {"revision": revision}),
        (name, {"revision": revision} | written),
    ]


@pytest.mark.parametrize("package", ["torch", "transformers", "jinja2"])
def test_a_missing_extra_names_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for load in (load_cropper, load_target):
        with pytest.raises(MissingExtraError, match=r"pip install 'cropvlm\[local\]'"):
            load("hf:org/model")


def test_a_notation_is_for_what_writes_boxes() -> None:
    for options in ({"notation": "percent"}, {"input_size": 512}):
        for spec in ("whole", "embedded", "random:3"):
            with pytest.raises(SpecError, match="a cropper that writes boxes"):
                load_cropper(spec, **options)
    with pytest.raises(BoxError, match="expected a box notation"):
        load_cropper("openai:m@http://localhost:1/v1", notation="inches")


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
    assert isinstance(cropper, OpenAICropper)
    assert cropper.explain
    assert cropper.name == spec
    for vlm in (load_target(spec), cropper.vlm):
        assert vlm == OpenAIVLM(model, base_url=url)


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
ODD += [
    "embeddedx",
    "hf",
    "hf:",
    "openai",
    "openai:",
    "constant",
    "gpt-5",
    " whole",
    "x" * 5000,
    "a\nb",
]


@pytest.mark.parametrize("spec", [*ODD, "constant:x", "tesseract@500", "ocr:eng", None, 5])
def test_no_cropper_of_this_version(spec: Any) -> None:
    with pytest.raises(SpecError, match="expected a cropper of embedded") as caught:
        load_cropper(spec)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("spec", [*ODD, "whole", "embedded", "ocr", "tesseract@", None])
def test_no_target_of_this_version(spec: Any) -> None:
    with pytest.raises(SpecError, match="expected a target of hf:"):
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
