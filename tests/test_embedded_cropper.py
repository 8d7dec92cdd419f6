"""The cropper in the wheel: it finds things, refuses bad weights, and is the same however asked."""

import base64
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cropvlm_core import embedded
from cropvlm_core.box import Box
from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.embedded.weights import MAX_WEIGHTS, WEIGHTS
from cropvlm_core.errors import WeightsError
from cropvlm_core.loading import default_pipeline, load_cropper
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline

EXAMPLE = Path(__file__).parent.parent / "examples" / "receipt.png"

# An ONNX model of one Identity node without any metadata: valid, but no policy.
STRANGER = base64.b64decode(
    "CAg6OwoQCgF4EgF5IghJZGVudGl0eRIBZ1oRCgF4EgwKCggBEgYKAAoCCAFiEQoBeRIMCgoIARIGCgAKAggBQgQKABAR"
)


@pytest.fixture(scope="module")
def cropper() -> EmbeddedCropper:
    return EmbeddedCropper()


def asked(question: str, image: object = EXAMPLE) -> VisualQuestion:
    return VisualQuestion(image, question).opened()  # type: ignore[arg-type]


def test_the_default_pipeline_is_built_once_of_this_cropper() -> None:
    assert isinstance(default_pipeline().cropper, EmbeddedCropper)
    assert default_pipeline() is default_pipeline()
    assert isinstance(load_cropper("embedded"), EmbeddedCropper)


def test_the_weights_say_how_they_were_made(cropper: EmbeddedCropper) -> None:
    assert PolicySettings.from_metadata(cropper.about) == cropper.settings
    assert {"minutes", "step", "pages", "kinds", "plan"} <= json.loads(
        cropper.about["trained"]
    ).keys()


def test_a_batch_is_the_same_as_one_by_one(cropper: EmbeddedCropper) -> None:
    other = Image.open(EXAMPLE).convert("RGB").rotate(90, expand=True)
    questions = [
        asked(text, image)
        for image in (EXAMPLE, other)
        for text in ("What is the total?", "Which date is printed?", "Who issued this?")
    ]
    together = cropper.propose_batch(questions)
    alone = [cropper.propose_batch([question])[0] for question in questions]
    for one, two in zip(together, alone, strict=True):
        assert one.boxes[0].iou(two.boxes[0]) > 0.98
        assert one.confidences[0] == pytest.approx(two.confidences[0], abs=0.01)
    assert cropper.propose_batch([]) == []


def test_many_questions_about_one_page_are_all_answered_in_order(cropper: EmbeddedCropper) -> None:
    page = Image.open(EXAMPLE).convert("RGB")
    texts = ["What is the total?", "What is the address?"] * 40
    questions = [VisualQuestion(page, text).opened(page) for text in texts]
    proposals = cropper.propose_batch(questions)
    assert len({proposal.boxes[0] for proposal in proposals[::2]}) <= 3  # one but for rounding
    for proposal in proposals[1::2]:
        assert proposal.boxes[0].iou(proposals[1].boxes[0]) > 0.95
    assert proposals[0].boxes[0].iou(proposals[1].boxes[0]) < 0.5


def test_eight_threads_get_what_one_gets(cropper: EmbeddedCropper) -> None:
    pipeline = ZoomPipeline(cropper)
    question = asked("What is the total?")
    right = pipeline.zoom_batch([question])[0].pixels
    seen: list[object] = []

    def ask() -> None:
        seen.extend(pipeline.zoom_batch([question])[0].pixels for _ in range(4))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [right] * 32


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (28, 28), (200, 90), (9000, 40)])
@pytest.mark.parametrize("noisy", [False, True])
def test_pages_of_any_size_give_a_box_or_a_reason(
    cropper: EmbeddedCropper, size: tuple[int, int], noisy: bool
) -> None:
    pixels = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    if noisy:
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    zoom = ZoomPipeline(cropper).zoom(Image.fromarray(pixels), "What is the total?")
    assert zoom.crops or zoom.reason
    for crop in zoom.crops:
        assert crop.image.size[0] >= 1
        assert isinstance(crop.box, Box)


def test_long_and_odd_questions_are_answered(cropper: EmbeddedCropper) -> None:
    texts = ["?", "x " * 4999, "合計はいくらですか", "\u202e\x00 total", "🧾"]
    proposals = cropper.propose_batch([asked(text) for text in texts])
    assert all(proposal.boxes or proposal.reason for proposal in proposals)


def test_weights_that_are_not_there_or_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected a weight file"):
        EmbeddedCropper(tmp_path / "absent.onnx")
    with pytest.raises(WeightsError, match="expected a weight file"):
        EmbeddedCropper(tmp_path)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(WeightsError, match="expected an ONNX model"):
        EmbeddedCropper(tmp_path / "text.onnx")
    (tmp_path / "stranger.onnx").write_bytes(STRANGER)
    with pytest.raises(WeightsError, match="expected weights of format"):
        EmbeddedCropper(tmp_path / "stranger.onnx")
    elsewhere = STRANGER.replace(b"Identity", b"location")
    (tmp_path / "elsewhere.onnx").write_bytes(elsewhere)
    with pytest.raises(WeightsError, match="in one file"):
        EmbeddedCropper(tmp_path / "elsewhere.onnx")
    with (tmp_path / "huge.onnx").open("wb") as stream:
        stream.truncate(MAX_WEIGHTS + 1)
    with pytest.raises(WeightsError, match="at most"):
        EmbeddedCropper(tmp_path / "huge.onnx")


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "{}",
        "[]",
        '{"budget": Infinity, "quantile": 0.5, "rules": {}, "line": 0, "most": 1}',
        '{"budget": 1, "quantile": 0.5, "rules": {}, "line": 0, "most": 1}',
        '{"budget": 262144, "quantile": 2, "rules": {}, "line": 0, "most": 1}',
        '{"budget": 262144, "quantile": 0.5, "rules": {"grow": [0, 1]}, "line": 0, "most": 1}',
        '{"budget": 262144, "quantile": 0.5, "rules": {}, "line": 0, "most": 5}',
        '{"budget": 262144, "quantile": 0.5, "rules": {}, "line": 0, "most": 1, "least": [-1, 0]}',
        '{"budget": 262144, "quantile": 0.5, "rules": {}, "line": 0, "most": 1, "least": [9]}',
    ],
)
def test_settings_that_cannot_be_are_refused(settings: str) -> None:
    with pytest.raises(WeightsError):
        PolicySettings.from_metadata({"format": "cropvlm-embedded-1", "settings": settings})


def test_rendered_receipts_are_found(cropper: EmbeddedCropper) -> None:
    """A coarse guard: figures that mean something come from `cropvlm evaluate`."""
    from tests.programs import require_fonts

    require_fonts()
    from cropvlm_core.training.questions import validation_questions

    core = [
        question
        for question in validation_questions(25, "receipt")
        if question.field in ("company", "date", "total", "address")
    ]
    zooms = ZoomPipeline(cropper).zoom_batch(core)
    hits = [
        question.hit([crop.box for crop in zoom.crops])
        for question, zoom in zip(core, zooms, strict=True)
    ]
    area = [zoom.box.area if zoom.box else 1.0 for zoom in zooms]
    assert sum(map(bool, hits)) >= 0.7 * len(hits)
    assert np.mean(area) <= 0.2


def test_the_version_tells_the_weights_apart(cropper: EmbeddedCropper) -> None:
    weights = Path(embedded.__file__).with_name(WEIGHTS).read_bytes()
    assert hashlib.sha256(weights).hexdigest()[:16] in cropper.version
    assert cropper.version.startswith("embedded {")
