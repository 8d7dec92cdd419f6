"""The spine: every rule about crops, and the pipeline."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core import questions as questions_module
from cropvlm_core import zoom as zoom_module
from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal, ZoomRules
from cropvlm_core.errors import ImageError, ModelError, ProposalError, QuestionError, SourceError
from cropvlm_core.images import encode_png, open_image
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import ConstantVLM, Conversation
from cropvlm_core.zoom import OUTLINES, Zoom, ZoomPipeline

NOISE = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
PAGE = Image.fromarray(NOISE)
ASKED = VisualQuestion(PAGE, "What is the total?")
BOX = Box(0.25, 0.5, 0.5, 0.75)


def _follow(*boxes: Box, confidences: tuple[float | None, ...] = (), **options: Any) -> Zoom:
    return Zoom.follow(ASKED, Proposal(boxes, confidences), **options)


def test_a_crop_is_cut_and_never_resampled() -> None:
    zoom = _follow(Box(0.2501, 0.5, 0.4999, 0.7499))
    assert zoom.reason is None
    assert zoom.pixels == (100, 150, 200, 225)
    assert zoom.box == BOX
    assert zoom.crop is not None
    assert zoom.crop.image.tobytes() == PAGE.crop((100, 150, 200, 225)).tobytes()
    assert zoom.crop.confidence is None
    assert zoom.image.tobytes() == PAGE.tobytes()


def test_growth_is_about_the_centre_and_shifted_inside() -> None:
    rules = ZoomRules(grow=(2, 1))
    assert _follow(BOX, rules=rules).pixels == (50, 150, 250, 225)
    corner = _follow(Box(0, 0.9, 0.1, 1), rules=ZoomRules(grow=(3, 3)))
    assert corner.pixels == (0, 210, 120, 300)  # 30 % of each side: shifted, not cut


def test_smallest_sides() -> None:
    dot = Box(0.5, 0.5, 0.5025, 0.5025)
    assert _follow(dot).crop is not None
    for rules, width, height in [
        (ZoomRules(), 28, 28),
        (ZoomRules(min_pixels=50), 50, 50),
        (ZoomRules(min_width=0.5, min_height=0.1), 200, 30),
    ]:
        crop = _follow(dot, rules=rules).crop
        assert crop is not None
        assert width <= crop.image.width <= width + 1
        assert height <= crop.image.height <= height + 1


@pytest.mark.parametrize("box", [Box(0, 0.5, 1, 0.6), Box(0.5, 0, 0.6, 1)])
def test_aspect(box: Box) -> None:
    crop = _follow(box, rules=ZoomRules(max_aspect=2)).crop
    assert crop is not None
    long, short = max(crop.image.size), min(crop.image.size)
    assert long / short <= 2
    assert long / short > 1.9


@given(
    left=st.floats(0, 0.99),
    top=st.floats(0, 0.99),
    width=st.floats(1e-6, 1),
    height=st.floats(1e-6, 1),
    grow=st.floats(1, 50),
    aspect=st.none() | st.floats(1, 5),
    size=st.tuples(st.integers(1, 400), st.integers(1, 300)),
)
def test_a_crop_lies_inside_holds_its_box_and_is_exact(
    left: float,
    top: float,
    width: float,
    height: float,
    grow: float,
    aspect: float | None,
    size: tuple[int, int],
) -> None:
    page = PAGE.crop((0, 0, *size))
    raw = Box(left, top, min(left + width, 1), min(top + height, 1))
    rules = ZoomRules(grow=(grow, 1), max_aspect=aspect)
    zoom = Zoom.follow(VisualQuestion(page, "?"), Proposal((raw,)), rules=rules)
    if zoom.crop is None:
        assert zoom.reason == "no_zoom_needed"
        return
    assert zoom.box is not None
    assert zoom.pixels is not None
    x0, y0, x1, y1 = zoom.pixels
    assert 0 <= x0 < x1 <= size[0]
    assert 0 <= y0 < y1 <= size[1]
    assert min(x1 - x0, size[0]) >= min(28, size[0])
    assert min(y1 - y0, size[1]) >= min(28, size[1])
    assert raw.covered_by(zoom.box) > 0.999
    assert zoom.box == Box.from_pixels(zoom.pixels, size)
    assert zoom.crop.image.tobytes() == page.crop(zoom.pixels).tobytes()


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(0.001, 0.001, 0.999, 0.999)])
def test_the_whole_page_is_no_zoom(box: Box) -> None:
    zoom = _follow(box)
    assert (zoom.crops, zoom.reason) == ((), "no_zoom_needed")
    assert (zoom.crop, zoom.box, zoom.pixels) == (None, None, None)


def test_growth_to_the_whole_page_is_no_zoom() -> None:
    assert _follow(BOX, rules=ZoomRules(grow=(9, 9))).reason == "no_zoom_needed"


@pytest.mark.parametrize("reason", ["no_zoom_needed", "low_confidence", "unreadable", "timed_out"])
def test_a_proposals_reason_is_kept(reason: Any) -> None:
    assert Zoom.follow(ASKED, Proposal(reason=reason)).reason == reason


def test_confidence() -> None:
    other = Box(0.7, 0.1, 0.9, 0.3)
    sure = _follow(BOX, other, confidences=(0.9, 0.2), min_confidence=0.5, max_crops=2)
    assert [crop.confidence for crop in sure.crops] == [0.9]
    unsure = _follow(BOX, confidences=(0.4,), min_confidence=0.5)
    assert (unsure.crops, unsure.reason) == ((), "low_confidence")
    assert _follow(BOX, confidences=(0.5,), min_confidence=0.5).crops
    assert _follow(BOX, confidences=(0.0,)).crops
    assert _follow(BOX, min_confidence=0.5).crops  # no confidence cannot be too low


def test_the_croppers_limit_counts_unless_the_pipeline_has_its_own() -> None:
    class Unsure(FixedCropper):
        min_confidence = 0.3

        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            return [Proposal((BOX,), (0.2,)) for _ in questions]

    zoom = ZoomPipeline(Unsure(None)).zoom(PAGE, "?")
    assert (zoom.crops, zoom.reason) == ((), "low_confidence")
    assert ZoomPipeline(Unsure(None), min_confidence=0).zoom(PAGE, "?").crops
    assert ZoomPipeline(Unsure(None), min_confidence=0.2).zoom(PAGE, "?").crops
    assert not ZoomPipeline(Unsure(None), min_confidence=0.25).zoom(PAGE, "?").crops
    assert ZoomPipeline(Unsure(None)).min_confidence is None
    assert "0.3" in Unsure(BOX).version
    followed = ZoomPipeline(Unsure(None)).follow(ASKED, Proposal((BOX,), (0.3,)))
    assert followed.box == BOX


def test_several_crops_without_repeats() -> None:
    near = Box(0.25, 0.5, 0.51, 0.75)
    other = Box(0.7, 0.1, 0.9, 0.3)
    boxes = (BOX, near, Box(0, 0, 1, 1), other)
    assert len(_follow(*boxes).crops) == 1
    zoom = _follow(*boxes, max_crops=4)
    assert [crop.box for crop in zoom.crops] == [BOX, other]
    assert len(_follow(*boxes, max_crops=1).crops) == 1


def test_conversation_is_whole_image_crops_question() -> None:
    zoom = _follow(BOX, Box(0.7, 0.1, 0.9, 0.3), max_crops=2)
    parts = zoom.conversation().parts
    assert [getattr(part, "size", part) for part in parts] == [
        (400, 300),
        (100, 75),
        (80, 60),
        answer_prompt("What is the total?"),
    ]
    whole = Zoom.follow(ASKED, Proposal(reason="unreadable")).conversation()
    assert len(whole.images) == 1


def test_overlay_outlines_the_crop_and_dims_the_rest() -> None:
    white = VisualQuestion(Image.new("RGB", (400, 300), "white"), "?")
    zoom = Zoom.follow(white, Proposal((BOX,)))
    picture = np.asarray(zoom.overlay())
    assert picture.shape == (300, 400, 3)
    assert (picture[150:225, 100:200] == 255).all()  # the crop itself stays as it is
    assert picture[10, 10].tolist() == [183, 183, 183]
    for row, column in [(149, 150), (225, 150), (180, 99), (180, 200)]:
        red, green, blue = picture[row, column].tolist()
        assert red > 150 > max(green, blue)
    assert (np.asarray(zoom.image) == 255).all()
    edge = Zoom.follow(white, Proposal((Box(0, 0, 1, 0.5),)))
    assert np.asarray(edge.overlay())[150, 200, 1] < 100


def test_overlay_of_a_whole_image_is_a_copy() -> None:
    zoom = Zoom.follow(ASKED, Proposal(reason="unreadable"))
    assert zoom.overlay().tobytes() == PAGE.tobytes()
    assert zoom.overlay() is not zoom.image


def test_to_dict_has_the_keys_of_the_command_line(tmp_path: Path) -> None:
    PAGE.save(tmp_path / "page.png")
    asked = VisualQuestion(str(tmp_path / "page.png"), "Total?")
    zoom = Zoom.follow(asked, Proposal((BOX,), (0.75,)))
    box = {"left": 0.25, "top": 0.5, "right": 0.5, "bottom": 0.75}
    crop = {"box": box, "pixels": [100, 150, 200, 225], "confidence": 0.75, "size": [100, 75]}
    expected = {
        "image": str(tmp_path / "page.png"),
        "question": "Total?",
        "zoomed": True,
        "reason": None,
        "crops": [crop | {"file": "crop.png"}],
        "box": box,
        "pixels": [100, 150, 200, 225],
        "confidence": 0.75,
        "cropper": "fixed",
        "seconds": 0.5,
    }
    found = zoom.to_dict(cropper="fixed", seconds=0.5, files=["crop.png"])
    assert json.loads(json.dumps(found)) == expected
    assert list(found) == list(expected)
    assert zoom.to_dict()["crops"] == [crop | {"file": None}]


def test_to_dict_when_not_zoomed() -> None:
    found = Zoom.follow(ASKED, Proposal(reason="unreadable")).to_dict()
    assert found["zoomed"] is False
    assert found["reason"] == "unreadable"
    assert found["crops"] == []
    assert [found[key] for key in ("image", "box", "pixels", "confidence")] == [None] * 4


def test_pipeline_takes_every_kind_of_image(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    PAGE.save(file)
    pipeline = ZoomPipeline(FixedCropper(BOX))
    for image in (PAGE, file, str(file), file.read_bytes()):
        zoom = pipeline.zoom(image, "Total?")
        assert zoom.crop is not None
        assert zoom.crop.image.tobytes() == PAGE.crop((100, 150, 200, 225)).tobytes()


def test_the_box_is_right_on_a_turned_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    PAGE.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    crop = ZoomPipeline(FixedCropper(BOX)).zoom(stream.getvalue(), "Total?").crop
    assert crop is not None
    assert crop.image.tobytes() == PAGE.crop((100, 150, 200, 225)).tobytes()


def test_pipeline_applies_the_croppers_rules_and_its_limits() -> None:
    class Two(FixedCropper):
        rules = ZoomRules(grow=(2, 1))

        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            return [Proposal((BOX, Box(0.7, 0.1, 0.9, 0.3)), (0.9, 0.6)) for _ in questions]

    zoom = ZoomPipeline(Two(None), max_crops=2, min_confidence=0.5).zoom(PAGE, "?")
    assert [crop.pixels for crop in zoom.crops] == [(50, 150, 250, 225), (240, 30, 400, 90)]
    assert len(ZoomPipeline(Two(None), max_crops=2, min_confidence=0.7).zoom(PAGE, "?").crops) == 1
    assert len(ZoomPipeline(Two(None)).zoom(PAGE, "?").crops) == 1


@pytest.mark.parametrize("limits", [{"max_crops": 0}, {"min_confidence": 1.5}])
def test_limits_out_of_range(limits: dict[str, Any]) -> None:
    with pytest.raises(ProposalError, match="expected"):
        ZoomPipeline(FixedCropper(None), **limits)


def test_a_batch_keeps_its_order_and_opens_each_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[object] = []

    def counted(image: Any, **how: Any) -> Image.Image:
        decoded.append(image)
        return open_image(image, **how)

    monkeypatch.setattr(questions_module, "open_image", counted)
    PAGE.save(tmp_path / "a.png")
    Image.new("RGB", (50, 60)).save(tmp_path / "b.png")
    names = ["a", "b", "a", "a", "b"]
    asked = [VisualQuestion(tmp_path / f"{n}.png", f"{n}{i}") for i, n in enumerate(names)]
    zooms = ZoomPipeline(FixedCropper(BOX)).zoom_batch(asked)
    assert [zoom.asked.question for zoom in zooms] == [q.question for q in asked]
    assert [zoom.image.width for zoom in zooms] == [400, 50, 400, 400, 50]
    assert decoded == [tmp_path / "a.png", tmp_path / "b.png"]
    assert ZoomPipeline(FixedCropper(BOX)).zoom_batch([]) == []


def test_a_cropper_that_breaks_its_word() -> None:
    class Short(Cropper):
        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            return [Proposal((BOX,))]

    with pytest.raises(ModelError, match="2 proposals"):
        ZoomPipeline(Short()).zoom_batch([ASKED, ASKED])


def test_bad_input_is_typed() -> None:
    pipeline = ZoomPipeline(FixedCropper(BOX))
    with pytest.raises(QuestionError):
        pipeline.zoom(PAGE, " ")
    with pytest.raises(SourceError):
        pipeline.zoom("nowhere.png", "?")
    with pytest.raises(ImageError):
        pipeline.zoom(b"text", "?")
    with pytest.raises(ImageError, match="got list"):
        pipeline.zoom([], "?")  # type: ignore[arg-type]


class Recorder:
    """A target that remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Conversation] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        self.seen += conversations
        return ["9.00"] * len(conversations)


def test_ask() -> None:
    target = Recorder()
    answer = ZoomPipeline(FixedCropper(BOX)).ask(PAGE, "Total?", target)
    assert answer.text == "9.00"
    assert answer.zoom.pixels == (100, 150, 200, 225)
    (seen,) = target.seen
    assert [image.size for image in seen.images] == [(400, 300), (100, 75)]
    assert seen.text == answer_prompt("Total?")


def test_async_twins() -> None:
    class Async(Recorder):
        async def areply(self, conversations: Sequence[Conversation]) -> list[str]:
            return ["awaited"] * len(conversations)

    async def run() -> None:
        pipeline = ZoomPipeline(FixedCropper(BOX))
        assert (await pipeline.azoom(PAGE, "?")).box == BOX
        assert [z.box for z in await pipeline.azoom_batch([ASKED, ASKED])] == [BOX, BOX]
        assert (await pipeline.aask(PAGE, "?", Recorder())).text == "9.00"
        assert (await pipeline.aask(PAGE, "?", Async())).text == "awaited"
        with pytest.raises(QuestionError):
            await pipeline.azoom(PAGE, "")

    asyncio.run(run())


@pytest.mark.parametrize("isolate", [False, True])
def test_an_isolating_pipeline_decodes_nothing_itself(
    isolate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cropvlm_core.decoding import pictures

    decoded: list[object] = []
    whole = pictures.decoded

    def noted(*told: Any) -> Image.Image:
        decoded.append(told)
        return whole(*told)

    monkeypatch.setattr(pictures, "decoded", noted)
    data = encode_png(PAGE)
    (zoom,) = ZoomPipeline(FixedCropper(BOX), isolate=isolate).zoom_batch(
        [VisualQuestion(data, "?")]
    )
    assert bool(decoded) is not isolate
    assert zoom.image.tobytes() == PAGE.convert("RGB").tobytes()


def test_the_event_loop_goes_on() -> None:
    class Slow(FixedCropper):
        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            time.sleep(0.3)
            return super().propose_batch(questions)

    async def run() -> int:
        ticks = 0
        waiting = asyncio.create_task(ZoomPipeline(Slow(BOX)).aask(PAGE, "?", ConstantVLM("x")))
        while not waiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await waiting
        return ticks

    assert asyncio.run(run()) >= 5


def test_one_pipeline_and_one_image_in_many_threads() -> None:
    pipeline = ZoomPipeline(FixedCropper(BOX))
    expected = encode_png(PAGE.crop((100, 150, 200, 225)))
    lazy = Image.open(io.BytesIO(encode_png(PAGE)))
    right: list[bool] = []

    def work() -> None:
        for _ in range(20):
            crop = pipeline.zoom(lazy, "?").crop
            right.append(crop is not None and encode_png(crop.image) == expected)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 160


def test_follow_is_the_only_room_that_applies_rules() -> None:
    """Training calls Zoom.follow too; nothing but what it cuts by may grow a box."""
    package = Path(zoom_module.__file__).parent
    using = {
        file.name
        for file in package.glob("*.py")
        for word in (".grow", ".min_pixels", ".max_aspect")
        if word in file.read_text(encoding="utf-8")
    }
    assert using <= {"cutting.py", "cropper.py"}


def test_pages_of_one_file_are_told_apart_in_a_batch(tmp_path: Path) -> None:
    first, *others = [Image.new("RGB", (300, 300), colour) for colour in ("red", "lime", "blue")]
    first.save(tmp_path / "a.tiff", save_all=True, append_images=others)
    asked = [VisualQuestion(tmp_path / "a.tiff", "What?", page=n) for n in (1, 2, 3, 2)]
    zooms = ZoomPipeline(FixedCropper(BOX)).zoom_batch(asked)
    seen = [zoom.image.getpixel((5, 5)) for zoom in zooms]
    assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 0)]


def test_an_overlay_may_be_scaled_down_first() -> None:
    page = Image.new("RGB", (4000, 2000), "white")
    zoom = ZoomPipeline(FixedCropper(Box(0.5, 0.5, 0.75, 0.75))).zoom(page, "What?")
    small = zoom.overlay(1000)
    assert small.size == (1000, 500)
    assert small.getpixel((498, 300)) == OUTLINES["red"]
    assert small.getpixel((502, 300)) == (255, 255, 255)
    assert small.getpixel((100, 100)) == (183, 183, 183)
    assert zoom.overlay(5000).size == page.size
