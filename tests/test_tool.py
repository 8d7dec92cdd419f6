"""The zoom tool: which image is meant, and what a call answers."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import questions, tool
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import (
    CropVLMError,
    DeadlineError,
    ImageError,
    MissingExtraError,
    ModelError,
    QuestionError,
    SourceError,
)
from cropvlm_core.fetch import fetcher
from cropvlm_core.prompts import ZOOM_TOOL, no_crop_text
from cropvlm_core.sources import Allowed
from cropvlm_core.tool import ToolAnswer, choose_image, named_image, tool_words, zoom_call
from cropvlm_core.zoom import ZoomPipeline
from tests import bad_input
from tests.model_server import decoded
from tests.pages import CountingCropper, FailingCropper, middle_of, noise, pipeline, png_of


@pytest.mark.parametrize(
    ("number", "chosen"), [(1, "a"), (2, "b"), ("2", "b"), (" 1 ", "a"), ("02", "b")]
)
def test_images_are_named_by_number(number: object, chosen: str) -> None:
    assert choose_image(["a", "b"], number)[0] == chosen


def test_a_single_image_needs_no_number() -> None:
    assert choose_image(["a"], None) == ("a", "image 1")
    assert choose_image(["a"], 1) == ("a", "image 1")


@pytest.mark.parametrize(
    ("count", "number", "words"),
    [
        (0, None, "no image has been given"),
        (0, 1, "no image has been given"),
        (3, None, "1 to 3, got none"),
        (3, 0, "1 to 3, got 0"),
        (3, 4, "1 to 3, got 4"),
        (3, -1, "1 to 3, got -1"),
        (3, 1.5, "1 to 3, got 1.5"),
        (3, "page.png", "got 'page.png'"),
        (3, "https://example.com/a.png", "1 to 3, got 'https"),
        (3, "/etc/passwd", "1 to 3"),
        (3, "٣", "1 to 3"),
        (3, [1], "1 to 3"),
        (3, True, "1 to 3, got True"),
        (3, "9" * 5000, "1 to 3"),
        (1, 2, "1, the only image, got 2"),
    ],
)
def test_any_other_number_says_what_was_expected(count: int, number: object, words: str) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        choose_image(["x"] * count, number)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


def call(image: Any, question: str = "Total?", **options: Any) -> ToolAnswer:
    return zoom_call(options.pop("pipeline", pipeline()), image, "image 2", question, **options)


def test_a_call_answers_text_picture_and_artifact() -> None:
    page = noise()
    cropper = CountingCropper(confidence=0.834)
    answer = call(png_of(page), pipeline=ZoomPipeline(cropper))
    assert answer.text == (
        "Part of image 2 at full resolution, from 25% to 75% of its width and 25% to 75% of its "
        "height. Confidence 83%."
    )
    ((data, mime_type),) = answer.pictures
    assert mime_type == "image/png"
    assert decoded_bytes(data).tobytes() == middle_of(page).tobytes()
    artifact = json.loads(json.dumps(answer.artifact))
    assert artifact == answer.artifact
    assert artifact["image"] == "image 2"
    assert artifact["pixels"] == [50, 75, 150, 225]
    assert artifact["cropper"] == "counting"
    assert artifact["seconds"] >= 0
    assert cropper.batches == [["Total?"]]


def decoded_bytes(data: bytes) -> Image.Image:
    import base64

    return decoded(base64.b64encode(data).decode())


def test_the_artifact_has_the_keys_of_the_command_line() -> None:
    keys = pipeline().zoom(noise(), "What?").to_dict().keys()
    assert call(noise()).artifact.keys() == keys


def test_without_a_crop_the_model_is_told_why() -> None:
    answer = call(noise(), pipeline=ZoomPipeline(FixedCropper(None)))
    assert answer.pictures == ()
    assert answer.text == no_crop_text("image 2", "no_zoom_needed")
    assert "as a whole" in answer.text
    assert answer.artifact["reason"] == "no_zoom_needed"
    sure = ZoomPipeline(CountingCropper(confidence=0.2), min_confidence=0.5)
    assert "sure enough" in call(noise(), pipeline=sure).text
    assert "could be chosen" in no_crop_text("image 1", "unreadable")


def test_an_unseen_image_goes_along() -> None:
    page = noise()
    answer = call(page, unseen=True)
    assert [decoded_bytes(data).size for data, _ in answer.pictures] == [(200, 300), (100, 150)]
    assert answer.text.splitlines()[0] == "Whole image 2."
    whole = call(page, unseen=True, pipeline=ZoomPipeline(FixedCropper(None)))
    assert [decoded_bytes(data).size for data, _ in whole.pictures] == [(200, 300)]


@pytest.mark.parametrize("question", ["", "  ", "x" * 10_001])
def test_a_question_is_needed(question: str) -> None:
    with pytest.raises(QuestionError, match="expected a question"):
        call(noise(), question)


def test_an_image_that_cannot_be_had_is_the_error_itself() -> None:
    refused = SourceError("expected an image as data, got a URL")
    with pytest.raises(SourceError, match="got a URL"):
        call(refused)


def test_no_message_to_a_model_names_a_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, bad in bad_input.table(tmp_path).items():
        if "question" in name or name == "URL":
            continue
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises((SourceError, ImageError)) as caught:
            call(bad.image)
        assert str(tmp_path) not in str(caught.value), name
        assert "expected image 2 as an image that opens" in str(caught.value), name
        assert len(caplog.records) == 1, name  # the log, which is ours, says what it was


def test_bytes_and_data_uris_say_what_is_wrong_with_them() -> None:
    with pytest.raises(ImageError, match=r"PNG, JPEG.*, got image 2: ") as refused:
        call(b"Dear Sir or Madam, this is a letter.")
    assert "bytes" not in str(refused.value)
    with pytest.raises(SourceError, match="valid base64, got 5 characters") as caught:
        call("data:image/png;base64,SECR*")
    assert "SECR" not in str(caught.value)
    with pytest.raises(ImageError) as long:
        zoom_call(pipeline(), b"\x89PNG\r\n\x1a\n?", "x" * 100, "Total?")
    assert len(str(long.value)) == 120


def test_a_format_whose_extra_is_missing_ends_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise MissingExtraError("a PDF", "pdf")

    monkeypatch.setattr(questions, "open_image", missing)
    with pytest.raises(ImageError, match="image 2: a PDF needs an extra package"):
        call(b"%PDF-1.7")


def test_words_about_images_name_only_what_is_allowed() -> None:
    assert tool_words(Allowed()) == ZOOM_TOOL
    for allowed, path, url in (
        (Allowed(("/pages",), urls=False), True, False),
        (Allowed((), urls=True), False, True),
        (Allowed(("/pages",), urls=True), True, True),
    ):
        text = tool_words(allowed)
        assert ("path of an image file" in text) is path
        assert ("URL of an image" in text) is url
        assert "/pages" not in text
        assert text.startswith(ZOOM_TOOL)


@pytest.mark.parametrize("image", [None, 1, "1", " 02 ", "", "  ", 1.5, True, ["page.png"]])
def test_what_is_no_reference_is_left_to_the_numbers(tmp_path: Path, image: object) -> None:
    for allowed in (Allowed(), Allowed((str(tmp_path),), urls=True)):
        assert named_image(image, allowed) is None
    assert named_image("page.png", Allowed()) is None


def test_a_reference_is_read_and_called_as_the_model_called_it(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"page")
    allowed = Allowed((str(tmp_path),))
    assert named_image("page.png", allowed) == (b"page", "'page.png'")
    assert named_image("data:image/png;base64,aGVsbG8=", allowed) == (b"hello", "the given image")
    long = named_image(f"{'./' * 50}page.png", allowed)
    assert long is not None
    assert len(long[1]) <= 48
    for image in ("gone.png", "../page.png", "https://example.com/page.png", "\0"):
        with pytest.raises(SourceError, match="expected"):
            named_image(image, allowed)


def test_what_the_program_wrote_is_read_as_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(png_of(noise()))
    path = tmp_path / "page.png"
    assert call(path).pictures
    assert call(str(path), allowed=Allowed((str(tmp_path),))).pictures
    for image in (path, "https://example.com/page.png"):
        with pytest.raises(SourceError, match="expected image 2 as an image that opens") as caught:
            call(image, allowed=Allowed(("/nowhere",)))
        assert "page.png" not in str(caught.value)


def test_a_late_image_is_no_broken_cropper(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any) -> bytes:
        raise DeadlineError("expected an image within 10 s, got none from 'https://inner.example'")

    monkeypatch.setattr(fetcher, "fetch", late)
    with pytest.raises(DeadlineError, match="expected image 2 as an image that opens"):
        call("https://inner.example/a", allowed=Allowed(None, urls=True))


def test_no_message_to_a_model_quotes_a_server(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match="go on without it") as caught:
        call(noise(), pipeline=ZoomPipeline(FailingCropper()))
    assert "connection" not in str(caught.value)
    assert "no connection" in caplog.text


def test_the_shared_default_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "default_pipeline", pipeline)
    assert call(noise(), pipeline=None).artifact["cropper"] == "fixed"


def test_errors_are_this_projects() -> None:
    with pytest.raises(CropVLMError):
        choose_image([], None)
