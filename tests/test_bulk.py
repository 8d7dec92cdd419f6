"""Bulk jobs: every page gets a row, whatever happens; none gets two."""

import functools
import json
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.bulk import BulkProgress, BulkReport, read_rows, zoom_pages
from cropvlm_core.bulk.run import PATIENCE
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import (
    DataError,
    ModelError,
    QuestionError,
    SpecError,
    WeightsError,
)
from cropvlm_core.images import encode_png, open_image, to_data_uri
from cropvlm_core.zoom import ZoomPipeline
from tests.bulk_croppers import (
    TouchyCropper,
    dies,
    greedy,
    impatient,
    middle,
    page,
    refuses,
)
from tests.cli_calls import KEYS
from tests.programs import require_package

WHAT = ["What is the total?"]


def zoom(data: Path, out: Path, questions: list[str] = WHAT, **options: Any) -> BulkReport:
    chosen: dict[str, Any] = {"cropper": middle, "workers": 1} | options
    return zoom_pages(data, questions, out=out, **chosen)


def rows(out: Path) -> list[dict[str, Any]]:
    with (out / "rows.jsonl").open() as stream:
        return [json.loads(line) for line in stream]


def by_page(out: Path) -> dict[str, dict[str, Any]]:
    """Rows by the name of their page, of which there is one each."""
    found = {row["image"]: row for row in rows(out)}
    assert len(found) == len(rows(out))
    return found


def test_a_row_is_what_zooming_one_page_says(tmp_path: Path) -> None:
    for number in range(3):
        page(tmp_path / "pages" / f"{number}.png", number)
    questions = ["What is the total?", "Où ?"]
    report = zoom(tmp_path / "pages", tmp_path / "out", questions, cropper="centre", workers=2)
    assert (report.rows, report.ok, report.zoomed, report.fresh) == (6, 6, 6, 6)
    assert (report.failed, report.quarantined, report.missing) == (0, 0, 0)
    assert len({row["key"] for row in rows(tmp_path / "out")}) == 6
    pipeline = ZoomPipeline(FixedCropper(Box(0.25, 0.25, 0.75, 0.75)))
    for row in rows(tmp_path / "out"):
        assert row.keys() == KEYS | {"key", "status", "attempts"}
        alone = pipeline.zoom(tmp_path / "pages" / row["image"], row["question"])
        file = f"crops/{row['key']}.png"
        ours = {"image": row["image"], "seconds": row["seconds"]}
        assert (
            row
            == {"key": row["key"], "status": "ok", "attempts": 1}
            | alone.to_dict(cropper="centre", files=[file])
            | ours
        )
        assert row["seconds"] > 0
        assert alone.crop is not None
        assert (tmp_path / "out" / file).read_bytes() == encode_png(alone.crop.image)


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    zoom(tmp_path / "pages", tmp_path / "out")
    assert list(read_rows(tmp_path / "out")) == rows(tmp_path / "out")
    with pytest.raises(DataError, match="expected a folder of a bulk job"):
        read_rows(tmp_path / "pages").__next__()


def test_what_is_a_page_of_a_folder(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    for number, name in enumerate(["b.PNG", "a/c.png", "a/b/d.JPG", "e.tiff", "out.png/f.webp"]):
        page(pages / name, number)
    for name in (".hidden.png", ".git/g.png", "a/._b.png", "notes.txt"):
        page(pages / "x.png").rename(pages / "x")
        (pages / name).parent.mkdir(exist_ok=True)
        (pages / "x").rename(pages / name)
    page(tmp_path / "elsewhere" / "linked.png", 9)
    (pages / "link.png").symlink_to(tmp_path / "elsewhere" / "linked.png")
    (pages / "linked").symlink_to(tmp_path / "elsewhere")
    (pages / "round").symlink_to(pages)
    out = pages / "out"  # its crops are no pages
    expected = ["a/b/d.JPG", "a/c.png", "b.PNG", "e.tiff", "link.png", "out.png/f.webp"]
    assert zoom(pages, out).fresh == 6
    assert [row["image"] for row in rows(out)] == expected
    assert zoom(pages, out).fresh == 0


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for number in range(4):
        page(pages / f"{number}.png", number)
    assert zoom(pages, out, limit=2).fresh == 2
    assert zoom(pages, out).fresh == 2
    page(pages / "new.png", 77)
    assert zoom(pages, out).fresh == 1
    assert zoom(pages, out, [*WHAT, "Who?"]).fresh == 5
    page(pages / "0.png", 88)  # a page that was changed is another page
    assert zoom(pages, out).fresh == 1
    pages.rename(tmp_path / "moved")
    assert zoom(tmp_path / "moved", out).fresh == 0
    assert len(rows(out)) == len({row["key"] for row in rows(out)}) == 11


def test_pages_that_are_the_same_have_a_row_each(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for name in "bd":
        page(pages / f"{name}.png")
    assert zoom(pages, out).fresh == 2
    for name in "ac":
        page(pages / f"{name}.png")
    assert zoom(pages, out).fresh == 2
    assert zoom(pages, out).fresh == 0
    assert set(by_page(out)) == {"a.png", "b.png", "c.png", "d.png"}
    assert len({row["key"] for row in rows(out)}) == 4
    assert len({row["key"][:32] for row in rows(out)}) == 1


def test_questions_about_a_page_are_put_in_one_call(tmp_path: Path) -> None:
    questions = [f"Question {number}?" for number in range(40)]
    page(tmp_path / "pages" / "a.png")
    zoom(tmp_path / "pages", tmp_path / "out", questions, cropper=TouchyCropper, crops=False)
    sizes = Counter(round(1 / row["confidence"]) for row in rows(tmp_path / "out"))
    assert sizes == {32: 32, 8: 8}


def test_a_question_set(tmp_path: Path) -> None:
    page(tmp_path / "set" / "images" / "a.png", 1)
    page(tmp_path / "set" / "images" / "b.png", 2)
    uri = to_data_uri(Image.new("RGB", (30, 30), "gray"))
    lines = [
        {"image": "images/a.png", "question": "What?", "id": "1"},
        {"image": "images/a.png", "question": "Who?", "id": "2"},
        {"image": "images/a.png", "question": "What?", "id": "3"},
        {"image": "images/b.png", "question": "What?"},
        {"image": uri, "question": "What?"},
        {"image": "images/a.png", "question": "What?", "id": "1"},  # said before
    ]
    file = tmp_path / "set" / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    assert zoom(file, out, [], cropper=TouchyCropper).fresh == 5
    assert zoom(tmp_path / "set", out, [], cropper=TouchyCropper).fresh == 0
    found = {(row["image"], row["question"], row.get("id")) for row in rows(out)}
    assert found == {
        ("images/a.png", "What?", "1"),
        ("images/a.png", "Who?", "2"),
        ("images/a.png", "What?", "3"),
        ("images/b.png", "What?", None),
        (uri[:57] + "...", "What?", None),
    }
    assert {row["confidence"] for row in rows(out) if row.get("id")} == {1 / 3}


@pytest.mark.parametrize("suffix", ["tiff", "pdf"])
def test_each_page_of_a_document_is_a_page(suffix: str, tmp_path: Path) -> None:
    if suffix == "pdf":
        require_package("pypdfium2")
    pages, out = tmp_path / "pages", tmp_path / "out"
    page(pages / "a.png")
    sheets = [Image.new("RGB", (40, 40 + 10 * number), "white") for number in range(4)]
    sheets[0].save(pages / f"scan.{suffix}", save_all=True, append_images=sheets[1:])
    sheets[0].save(pages / "waving.gif", save_all=True, append_images=sheets[1:])
    report = zoom(pages, out, ["What?", "Who?"], limit=2)
    assert (report.rows, report.missing) == (2 + 8, 0)
    assert zoom(pages, out, ["What?", "Who?"]).fresh == 2
    assert zoom(pages, out, ["What?", "Who?"]).fresh == 0
    found = Counter((row["image"], row.get("page")) for row in rows(out))
    scan = {(f"scan.{suffix}", number): 2 for number in (1, 2, 3, 4)}
    assert found == scan | {("a.png", None): 2, ("waving.gif", None): 2}
    assert len({row["key"] for row in rows(out)}) == 12
    if suffix == "tiff":
        heights = {row["page"]: row["crops"][0]["size"][1] for row in rows(out) if "page" in row}
        assert sorted(heights.items()) == [(1, 28), (2, 28), (3, 30), (4, 36)]


def test_a_question_about_one_page_of_a_document(tmp_path: Path) -> None:
    sheets = [Image.new("RGB", (40, 40 + 10 * number), "white") for number in range(3)]
    sheets[0].save(tmp_path / "scan.tiff", save_all=True, append_images=sheets[1:])
    lines = [{"image": "scan.tiff", "question": "What?", "page": n} for n in (3, 1, 9)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = zoom(tmp_path / "questions.jsonl", tmp_path / "out", [])
    assert (report.ok, report.failed, report.missing) == (2, 1, 0)
    status = {row.get("page"): row["status"] for row in rows(tmp_path / "out")}
    assert status == {3: "ok", None: "ok", 9: "failed"}


def test_what_harms_a_worker_is_tried_alone_and_then_quarantined(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for number in range(6):
        page(pages / f"{number}.png", number)
    for colour in ("red", "lime", "blue", "yellow", "magenta"):
        page(pages / f"3-{colour}.png", colour)
    cropper = functools.partial(TouchyCropper, tmp_path)
    report = zoom(pages, out, cropper=cropper, workers=2, timeout=3)
    assert (report.ok, report.failed, report.quarantined) == (7, 0, 4)
    assert report.missing == 0
    found = by_page(out)
    outcome = {name: (row["status"], row["attempts"]) for name, row in found.items()}
    assert outcome == {f"{number}.png": ("ok", 1) for number in range(6)} | {
        "3-red.png": ("quarantined", 2),
        "3-lime.png": ("quarantined", 2),
        "3-blue.png": ("quarantined", 2),
        "3-magenta.png": ("quarantined", 2),
        "3-yellow.png": ("ok", 2),
    }
    assert found["3-red.png"].keys() == KEYS | {"key", "status", "attempts", "error"}
    why = {name: (row["reason"], row.get("error", "")) for name, row in found.items()}
    assert why["3-red.png"][0] == why["3-blue.png"][0] == why["3-magenta.png"][0] == "died"
    assert "SIGSEGV" in why["3-red.png"][1]
    assert "ZeroDivisionError: of the cropper" in why["3-blue.png"][1]
    assert "SIGKILL" in why["3-magenta.png"][1]
    assert why["3-lime.png"][0] == "timed_out"
    assert "at most 3 s" in why["3-lime.png"][1]
    assert zoom(pages, out, cropper=cropper).fresh == 0
    (pages / "3-lime.png").unlink()  # what takes long would do so again
    assert zoom(pages, out, cropper=cropper, again=True).quarantined == 3


def test_one_harmful_question_spares_the_others(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    questions = ["What?", "Does it crash?", "Who?"]
    report = zoom(tmp_path / "pages", tmp_path / "out", questions, cropper=TouchyCropper)
    assert (report.ok, report.quarantined) == (2, 1)
    status = {row["question"]: (row["status"], row["attempts"]) for row in rows(tmp_path / "out")}
    assert status["Does it crash?"] == ("quarantined", 2)
    assert status["What?"] == status["Who?"] == ("ok", 2)


def test_a_page_that_could_not_be_decoded_in_time_is_tried_again(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    for times, outcome in ((1, ("ok", 2)), (9, ("quarantined", 2))):
        (tmp_path / str(times)).mkdir()
        cropper = functools.partial(impatient, tmp_path / str(times), times)
        zoom(tmp_path / "pages", tmp_path / str(times) / "out", cropper=cropper)
        [row] = rows(tmp_path / str(times) / "out")
        assert (row["status"], row["attempts"]) == outcome
        if row["status"] == "quarantined":
            assert row["reason"] == "image"
            assert "to decode" in row["error"]


def test_a_crop_that_cannot_be_written_ends_the_job(tmp_path: Path) -> None:
    Image.effect_noise((800, 800), 90).save(tmp_path / "a.png")
    (tmp_path / "pages").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "pages" / "a.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            zoom(tmp_path / "pages", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert rows(tmp_path / "out") == []
    assert zoom(tmp_path / "pages", tmp_path / "out").ok == 1


def test_memory_of_a_worker_is_bounded(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for width in (1, 5, 40):
        page(pages / f"{width}.png", size=(width, 40))
    zoom(pages, out, cropper=greedy, memory=250, crops=False)
    found = by_page(out)
    assert {name: row["status"] for name, row in found.items()} == {
        "1.png": "ok",
        "5.png": "quarantined",
        "40.png": "ok",
    }
    assert "MemoryError" in found["5.png"]["error"]


def test_what_is_no_image_has_a_row_that_says_so(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    page(pages / "good.png")
    (pages / "bad.png").write_bytes(b"This is a letter.")
    (pages / "nowhere.png").symlink_to(tmp_path / "later.png")
    report = zoom(pages, out)
    assert (report.ok, report.failed) == (1, 2)
    bad, nowhere = by_page(out)["bad.png"], by_page(out)["nowhere.png"]
    assert (bad["status"], bad["attempts"], bad["reason"], bad["zoomed"]) == (
        "failed",
        1,
        "image",
        False,
    )
    assert "expected" in bad["error"]
    assert nowhere["reason"] == "source"
    page(tmp_path / "later.png", 5)
    report = zoom(pages, out)  # a file may be there later, but a letter is no picture
    assert (report.ok, report.failed, report.fresh) == (2, 1, 1)
    report = zoom(pages, tmp_path / "both", WHAT)
    report = zoom(pages, tmp_path / "both", [*WHAT, "Who?"])
    assert (report.ok, report.failed, report.fresh, report.missing) == (4, 2, 3, 0)
    page(pages / "good.png", 6)
    assert zoom(pages, out, again=True).fresh == 2
    assert {row["status"] for row in rows(out)} == {"ok", "failed"}


def test_a_model_that_is_down_ends_the_job_and_is_asked_again(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for number in range(2 * PATIENCE):
        page(pages / f"{number}.png", "cyan", (40, 60 + number))
    with pytest.raises(ModelError, match="got HTTP 500"):
        zoom(pages, out, cropper=TouchyCropper)
    assert [row["reason"] for row in rows(out)] == ["model"] * PATIENCE
    for number in range(2 * PATIENCE):
        page(pages / f"{number}.png", number)
    report = zoom(pages, out, cropper=TouchyCropper)
    assert (report.ok, report.failed) == (2 * PATIENCE, 0)


def test_workers_are_replaced_after_a_number_of_pages(tmp_path: Path) -> None:
    for number in range(5):
        page(tmp_path / "pages" / f"{number}.png", number)
    cropper = functools.partial(TouchyCropper, tmp_path)
    zoom(tmp_path / "pages", tmp_path / "out", cropper=cropper, pages_a_worker=2)
    pids = (tmp_path / "pids").read_text().split()
    # Each has tried the cropper out once before its first page.
    assert sorted(Counter(pids).values()) == [2, 3, 3]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    for number in range(3):
        page(tmp_path / "pages" / f"{number}.png", number)
    told: list[BulkProgress] = []
    zoom(tmp_path / "pages", tmp_path / "out", progress=told.append)
    assert [each.done for each in told] == [1, 2, 3]
    assert {each.total for each in told} == {3}
    assert told[-1].seconds_left == 0
    assert told[0].seconds_left == pytest.approx(2 * told[0].seconds)


def test_told_to_stop_it_keeps_what_is_done(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for number in range(8):
        page(pages / f"{number}.png", number)
    done: list[int] = []
    report = zoom(
        pages, out, progress=lambda each: done.append(each.done), stop=lambda: len(done) >= 3
    )
    assert 3 <= report.fresh < 8
    assert report.missing == 8 - report.fresh
    assert zoom(pages, out).fresh == 8 - report.fresh


def test_overlays_and_no_crops(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    zoom(tmp_path / "pages", tmp_path / "out", crops=False, overlays=True)
    [row] = rows(tmp_path / "out")
    assert row["crops"][0]["file"] is None
    assert not (tmp_path / "out" / "crops").exists()
    assert open_image(tmp_path / "out" / row["overlay"]).size == (40, 60)


def test_half_written_pictures_of_a_killed_run_go(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    part = tmp_path / "out" / "crops" / ".0123.png.77.part"
    part.parent.mkdir(parents=True)
    part.touch()
    zoom(tmp_path / "pages", tmp_path / "out")
    assert [file.name[-4:] for file in (tmp_path / "out" / "crops").iterdir()] == [".png"]


@pytest.mark.parametrize(
    "options", [{"cropper": TouchyCropper}, {"max_crops": 2}, {"crops": False}]
)
def test_other_settings_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    zoom(tmp_path / "pages", tmp_path / "out")
    with pytest.raises(DataError, match="name another folder"):
        zoom(tmp_path / "pages", tmp_path / "out", **options)


def test_bad_calls(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for data, questions, words in [
        ("pages", [], "expected questions to put"),
        ("nowhere", WHAT, "expected a folder of pages"),
        ("nowhere", [], "expected a JSONL file"),
        ("empty", WHAT, "expected pages .*, got none"),
    ]:
        with pytest.raises(DataError, match=words):
            zoom(tmp_path / data, out, questions)
    with pytest.raises(DataError, match="other than that of the pages"):
        zoom(tmp_path / "pages", tmp_path / "pages")
    with pytest.raises(QuestionError):
        zoom(tmp_path / "pages", out, [" "])
    with pytest.raises(SpecError, match="expected a cropper"):
        zoom(tmp_path / "pages", out, cropper="nonsense")
    with pytest.raises(WeightsError, match="expected weights, got none"):
        zoom(tmp_path / "pages", out, cropper=refuses)
    with pytest.raises(ModelError, match=r"workers that can load .* SIGSEGV.*3 times"):
        zoom(tmp_path / "pages", out, cropper=dies)
    assert not out.exists()
