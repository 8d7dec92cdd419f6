"""From the user turns of a conversation to captioned crops: what all adapters share."""

import base64
import copy
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import loading, questions, sources, turns
from cropvlm_core.cropper import FixedCropper, Proposal
from cropvlm_core.decoding import pictures as decoding_pictures
from cropvlm_core.errors import (
    CropVLMError,
    DeadlineError,
    ImageError,
    ModelError,
    QuestionError,
    SourceError,
)
from cropvlm_core.images import open_image
from cropvlm_core.questions import MAX_QUESTION
from cropvlm_core.sources import Allowed
from cropvlm_core.turns import CaptionedCrop, Turn, TurnZoom, to_turns, zoom_each, zoomed
from cropvlm_core.zoom import Zoom, ZoomPipeline
from tests.model_server import decoded
from tests.pages import CountingCropper, FailingCropper, middle_of, noise, pipeline, png_of


def shown(crop: CaptionedCrop) -> Image.Image:
    return decoded(base64.b64encode(crop.data).decode())


def test_a_turn_gets_the_crop_of_each_image() -> None:
    pages = [noise(), noise(120, 80)]
    ((first, second),) = TurnZoom(pipeline()).crops([Turn("What?", tuple(map(png_of, pages)))])
    for page, crops in zip(pages, (first, second), strict=True):
        (crop,) = crops
        assert shown(crop).tobytes() == middle_of(page).tobytes()
        assert crop.mime_type == "image/png"
    assert first[0].caption == (
        "Part of the image above at full resolution, "
        "from 25% to 75% of its width and 25% to 75% of its height."
    )


def test_several_crops_come_in_order() -> None:
    cropper = CountingCropper()
    whole = ZoomPipeline(FixedCropper(None))
    assert TurnZoom(whole).crops([Turn("What?", (png_of(noise()),))]) == [[()]]
    ((crops,),) = TurnZoom(ZoomPipeline(cropper, max_crops=2)).crops(
        [Turn("What?", (png_of(noise()),))]
    )
    assert len(crops) == 1


def test_all_turns_go_through_the_cropper_in_one_batch_and_once() -> None:
    cropper = CountingCropper()
    zoom = TurnZoom(ZoomPipeline(cropper))
    page, other = png_of(noise()), png_of(noise())
    talk = [Turn("Total?", (page, other)), Turn("Hello", ()), Turn("Date?", (page,))]
    first = zoom.crops(talk)
    assert [len(each) for each in first] == [2, 0, 1]
    assert cropper.batches == [["Total?", "Total?", "Date?"]]
    assert zoom.crops([*talk, Turn("Who?", (other,))])[:3] == first
    assert cropper.batches[1:] == [["Who?"]]


def test_one_image_in_two_turns_with_one_question_is_looked_at_once() -> None:
    cropper = CountingCropper()
    page = png_of(noise())
    twice = TurnZoom(ZoomPipeline(cropper)).crops(
        [Turn("Total?", (page,)), Turn("Total?", (page,))]
    )
    assert twice[0] == twice[1]
    assert cropper.batches == [["Total?"]]


def test_what_is_remembered_is_bounded() -> None:
    cropper = CountingCropper()
    zoom = TurnZoom(ZoomPipeline(cropper), remembered=2)
    page = png_of(noise())
    for question in ("1?", "2?", "1?", "3?", "1?", "2?"):  # 2? was used longest ago when 3? came
        zoom.crops([Turn(question, (page,))])
    assert cropper.batches == [["1?"], ["2?"], ["3?"], ["2?"]]


def test_without_images_or_question_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "default_pipeline", lambda: pytest.fail("built"))
    page = png_of(noise())
    talk = [Turn("Hello", ()), Turn("  \n", (page,)), Turn("", (page, page))]
    assert TurnZoom().crops(talk) == [[], [()], [(), ()]]


def test_without_a_pipeline_the_shared_default_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_default", pipeline())
    page = noise()
    (((crop,),),) = TurnZoom().crops([Turn("What?", (png_of(page),))])
    assert shown(crop).tobytes() == middle_of(page).tobytes()


def test_the_question_is_found_in_the_text() -> None:
    cropper = CountingCropper()

    def after_mark(text: str) -> str:
        return text.partition("Q:")[2]

    zoom = TurnZoom(ZoomPipeline(cropper), question=after_mark)
    talk = [Turn("Be brief. Q: Total?", (png_of(noise()),)), Turn("No mark.", (png_of(noise()),))]
    assert [len(crops) for (crops,) in zoom.crops(talk)] == [1, 0]
    assert cropper.batches == [["Total?"]]


def test_of_a_text_too_long_for_a_question_the_last_line_is_asked() -> None:
    cropper = CountingCropper()
    zoom = TurnZoom(ZoomPipeline(cropper))
    page = png_of(noise())
    zoom.crops([Turn("context " * MAX_QUESTION + "\nTotal?\n", (page,))])
    zoom.crops([Turn("x" * (MAX_QUESTION + 5), (page,))])
    assert cropper.batches == [["Total?"], ["x" * MAX_QUESTION]]


@pytest.mark.parametrize("text", ["page.png", "/etc/passwd", "", "https://example.com/a.png"])
def test_a_text_is_never_taken_for_a_path(text: str) -> None:
    with pytest.raises(SourceError, match="bytes or a data: URI"):
        TurnZoom(pipeline()).crops([Turn("What?", (text,))])


def test_what_fails_is_raised_or_passed_over_with_a_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = noise()
    refused = SourceError("expected an image as data, got a URL")
    talk = [Turn("What?", (refused, png_of(page), b"\x89PNG\r\n\x1a\nbroken"))]
    with pytest.raises(SourceError, match="got a URL"):
        TurnZoom(pipeline()).crops(talk)
    with pytest.raises(ImageError):
        TurnZoom(pipeline()).crops([Turn("What?", (b"no image",))])
    with caplog.at_level(logging.WARNING):
        ((url, good, broken),) = TurnZoom(pipeline(), on_error="skip").crops(talk)
    assert (url, broken) == ((), ())
    assert shown(good[0]).tobytes() == middle_of(page).tobytes()
    assert [record.getMessage()[:16] for record in caplog.records] == ["not zoomed into:"] * 2
    assert "got a URL" in caplog.records[0].getMessage()


def test_a_cropper_that_fails_is_asked_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turn = Turn("What?", (png_of(noise()),))
    with pytest.raises(ModelError, match="no connection"):
        TurnZoom(ZoomPipeline(FailingCropper())).crops([turn])
    cropper = FailingCropper()
    zoom = TurnZoom(ZoomPipeline(cropper), on_error="skip")
    assert [zoom.crops([turn]) for _ in range(5)] == [[[()]]] * 5
    assert cropper.asked == 1  # an agent's next turn does not wait for it again
    assert len(caplog.records) == 1
    monkeypatch.setattr(turns, "RETRY_AFTER", 0.0)
    zoom.crops([turn])
    assert cropper.asked == 2


def test_one_that_fails_costs_the_others_of_its_batch_nothing() -> None:
    class Picky(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            if any("bad" in question.question for question in questions):
                raise ModelError("expected a box, got nonsense")
            return super().propose_batch(questions)

    asked = [(png_of(noise()), question) for question in ("1?", "bad?", "2?")]
    outcomes = list(zoom_each(ZoomPipeline(Picky()), asked))
    assert [type(outcome) for outcome in outcomes] == [Zoom, ModelError, Zoom]


def test_a_server_that_is_too_slow_is_waited_for_once() -> None:
    class Slow(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            super().propose_batch(questions)
            raise DeadlineError("expected boxes within 60 s")

    cropper = Slow()
    asked = [(png_of(noise()), question) for question in ("1?", "2?")]
    assert [type(outcome) for outcome in zoom_each(ZoomPipeline(cropper), asked)] == [
        DeadlineError,
        DeadlineError,
    ]
    assert cropper.batches == [["1?", "2?"]]


def test_what_could_not_be_read_is_asked_again() -> None:
    class Mumbling(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            super().propose_batch(questions)
            return [Proposal(reason="unreadable") for _ in questions]

    cropper = Mumbling()
    zoom = TurnZoom(ZoomPipeline(cropper))
    turn = Turn("What?", (png_of(noise()),))
    assert [zoom.crops([turn]) for _ in range(2)] == [[[()]]] * 2
    assert cropper.batches == [["What?"]] * 2


@pytest.mark.parametrize("again", [copy.deepcopy, lambda zoom: pickle.loads(pickle.dumps(zoom))])
def test_it_can_be_copied_without_what_it_remembers(again: Any) -> None:
    zoom = TurnZoom(pipeline(), on_error="skip")
    turn = Turn("What?", (png_of(noise()), SourceError("expected an image")))
    first = zoom.crops([turn])
    twin = again(zoom)
    assert not twin._known
    assert twin.crops([turn]) == first


def test_another_on_error_is_refused() -> None:
    with pytest.raises(ValueError, match="'ignore'"):
        TurnZoom(on_error="ignore")  # type: ignore[arg-type]


def test_images_are_opened_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PIXELS_A_BATCH", 2 * 200 * 300)
    cropper = CountingCropper()
    asked = [(png_of(noise()), f"{number}?") for number in range(5)]
    zooms = [seen(zoom) for zoom in zoom_each(ZoomPipeline(cropper), asked)]
    assert [zoom.asked.question for zoom in zooms] == ["0?", "1?", "2?", "3?", "4?"]
    assert cropper.batches == [["0?", "1?"], ["2?", "3?"], ["4?"]]


def seen(outcome: Zoom | CropVLMError) -> Zoom:
    assert isinstance(outcome, Zoom)
    return outcome


def test_several_questions_about_one_image_share_its_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = png_of(noise())
    opened: list[Any] = []

    def opening(source: Any, **options: Any) -> Image.Image:
        opened.append(source)
        return open_image(source, **options)

    monkeypatch.setattr(questions, "open_image", opening)
    first, second = map(seen, zoom_each(pipeline(), [(page, "Total?"), (page, "Date?")]))
    assert opened == [page]
    assert first.image is second.image
    assert (first.asked.question, second.asked.question) == ("Total?", "Date?")


def test_errors_keep_their_places(caplog: pytest.LogCaptureFixture) -> None:
    broken = SourceError("expected an image, got a URL")
    asked: list[tuple[bytes | CropVLMError, str]] = [
        (broken, "1?"),
        (png_of(noise()), "2?"),
        (broken, "3?"),
        (png_of(noise()), " "),
    ]
    outcomes = list(zoom_each(pipeline(), asked))
    assert [type(outcome) for outcome in outcomes] == [
        SourceError,
        Zoom,
        SourceError,
        QuestionError,
    ]
    assert caplog.records == []
    assert list(zoom_each(pipeline(), [])) == []
    failed = zoom_each(ZoomPipeline(FailingCropper()), asked)
    assert [type(outcome) for outcome in failed] == [
        SourceError,
        ModelError,
        SourceError,
        QuestionError,
    ]


def test_an_outcome_is_returned_raised_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    (zoom,) = zoom_each(pipeline(), [(noise(), "What?")])
    assert zoomed(zoom, "raise") is zoom
    refused = SourceError("expected an image, got a URL")
    with pytest.raises(SourceError) as caught:
        zoomed(refused, "raise")
    assert any("skip" in note for note in caught.value.__notes__)
    assert zoomed(refused, "skip") is None
    assert "got a URL" in caplog.text


def test_what_was_done_is_told_without_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(zoom_each(pipeline(), [(noise(), "Secret?"), (noise(), "Secret?")]))
    assert "looked at 2 images and questions: 2 crops" in caplog.text
    assert "Secret" not in caplog.text


def test_messages_right_after_one_another_belong_together() -> None:
    page = b"page"
    alone = Turn("", (page,))
    talk = [alone, Turn("Total?", ()), None, Turn("Hi", ()), Turn(" ", (page,)), Turn("Date?", ())]
    assert to_turns(talk) == [
        Turn("Total?", (page,), past=True),
        Turn("Total?", (), past=True),
        Turn("", ()),  # somebody else's
        Turn("Hi", ()),
        Turn("Hi\nDate?", (page,)),
        Turn("Date?", ()),
    ]
    own = [Turn("Total?", (page,)), Turn("Date?", (page,))]
    assert to_turns(own) == own
    assert to_turns([]) == []
    assert to_turns([None]) == [Turn("", ())]
    assert to_turns([alone, None]) == [alone, Turn("", ())]


def test_what_failed_yesterday_fails_no_question_of_today(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = noise()
    refused = SourceError("expected an image as data, got a URL")
    zoom = TurnZoom(pipeline())
    talk = [Turn("What?", (refused,), past=True), Turn("And this?", (png_of(page),))]
    for _ in range(3):
        old, (new,) = zoom.crops(talk)
        assert old == [()]
        assert shown(new[0]).tobytes() == middle_of(page).tobytes()
    assert len(caplog.records) == 1  # told once, not at every turn
    with pytest.raises(SourceError):
        zoom.crops([*talk, Turn("What?", (refused,))])


def test_only_a_pipeline_is_a_pipeline() -> None:
    with pytest.raises(TypeError, match=r"got a CountingCropper: ZoomPipeline\(cropper\)"):
        TurnZoom(CountingCropper())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got a str"):
        TurnZoom("embedded")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function of a text, got 'Total"):
        TurnZoom(question="Total?")  # type: ignore[arg-type]


def test_threads_share_one_object() -> None:
    pages = [noise() for _ in range(4)]
    zoom = TurnZoom(pipeline(), remembered=2)
    gate = threading.Barrier(8)

    def work(number: int) -> bool:
        gate.wait()
        page = pages[number % 4]
        return all(
            shown(zoom.crops([Turn(f"{turn}?", (png_of(page),))])[0][0][0]).tobytes()
            == middle_of(page).tobytes()
            for turn in range(5)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_no_text_is_read_as_a_path_unless_that_is_allowed(tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(png_of(noise()))
    said = [Turn("Total?", (str(page),))]
    with pytest.raises(SourceError, match="got another text"):
        TurnZoom(pipeline()).crops(said)
    with pytest.raises(SourceError, match="URLs are off"):
        TurnZoom(pipeline(), allowed=Allowed((str(tmp_path),))).crops(
            [Turn("Total?", ("https://example.com/a",))]
        )
    ((crops,),) = TurnZoom(pipeline(), allowed=Allowed((str(tmp_path),))).crops(said)
    assert len(crops) == 1


def test_a_path_is_read_when_it_is_needed_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = sources.read_reference

    def noting(reference: str, **options: Any) -> bytes:
        read.append(reference)
        return real(reference, **options)

    monkeypatch.setattr(sources, "read_reference", noting)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png_of(noise()))
    zoom = TurnZoom(pipeline(), allowed=Allowed((str(tmp_path),)))
    talk = [Turn("Total?", ("a.png",)), Turn("Date?", ("a.png", "b.png")), Turn(" ", ("c.png",))]
    assert [len(each) for each in zoom.crops(talk)] == [1, 2, 1]
    assert read == ["a.png", "b.png"]
    zoom.crops(talk)
    assert len(read) == 2
    gone = [Turn("Total?", ("gone.png",), past=True), Turn("Who?", ("b.png",))]
    assert next(crops for (crops,) in zoom.crops(gone)) == ()
    assert read[2:] == ["gone.png", "b.png"]
    zoom.crops(gone)  # what failed is passed over for a while
    assert len(read) == 4


def test_what_is_passed_over_is_told_and_its_image_is_not_held() -> None:
    broken = png_of(noise())[:900]
    zoom = TurnZoom(pipeline(), on_error="skip")
    talk = [Turn("Total?", (broken, png_of(noise())))]
    ((first, crops),) = zoom.outcomes(talk)
    ((again, _),) = zoom.outcomes(talk)
    assert isinstance(first, ImageError)
    assert isinstance(again, ImageError)
    assert str(first) == str(again)
    assert (again.__traceback__, again.__cause__) == (None, None)
    assert zoom.crops(talk) == [[(), crops]]
    assert isinstance(crops, tuple)
    assert len(crops) == 1


def test_images_are_decoded_apart_where_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    page = png_of(noise())
    here = TurnZoom(pipeline()).crops([Turn("Total?", (page,))])
    monkeypatch.setattr(decoding_pictures, "decoded", lambda _: pytest.fail("decoded here"))
    assert TurnZoom(pipeline(), isolate=True).crops([Turn("Total?", (page,))]) == here
