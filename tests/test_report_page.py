"""report.html without a browser: what is shown, what is said, what may never get in or out."""

import base64
import dataclasses
import io
import json
import re
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.evaluation.page import summary, write_page
from cropvlm_core.evaluation.page.choice import choose
from cropvlm_core.evaluation.page.excerpt import excerpt
from cropvlm_core.evaluation.page.plot import plotted
from cropvlm_core.evaluation.page.wording import interval, name, points, share, times
from cropvlm_core.questions import AnsweredQuestion
from tests import report_pages
from tests.pages import jpeg_lying_down

RESULTS = {
    "views": [
        {"view": "no crop", "kind": "baseline"},
        {"view": "aim", "kind": "cropper"},
        {"view": "aim, crop alone", "kind": "crop_alone"},
    ]
}


def scored(key: str, before: float, after: float, alone: float, **more: Any) -> dict[str, Any]:
    scores = {"no crop": before, "aim": after, "aim, crop alone": alone}
    cells = {view: {"score": score, "hit": None} for view, score in scores.items()}
    return {"key": key, "set": "s", "field": "f", "views": cells} | more


def picture(uri: str) -> Image.Image:
    assert uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


# ---- which questions are shown


def test_changed_questions_come_first_and_some_room_stays_for_the_others() -> None:
    rows = [scored(f"h{n}", 1, 1, 0) for n in range(20)]  # harmed by the crop alone
    rows += [scored(f"r{n}", 0, 1, 0) for n in range(100)]
    rows += [scored(f"o{n}", 1, 1, 1) for n in range(100)]
    choice = choose(RESULTS, iter(rows), 80)
    assert choice.shown == {"harmed": (20, 20), "rescued": (40, 100), "other": (20, 100)}
    assert Counter(key[0] for key in choice.keys) == {"h": 20, "r": 40, "o": 20}
    assert choice.questions == 220
    assert choose(RESULTS, reversed(rows), 80).keys == choice.keys
    assert choose(RESULTS, iter(rows), 500).keys == {row["key"] for row in rows}
    assert not choose(RESULTS, iter(rows), 0).keys


def test_a_question_that_only_the_crop_alone_answers_is_not_rescued() -> None:
    assert choose(RESULTS, [scored("a", 0, 0, 1)], 5).shown == {"other": (1, 1)}


def test_fields_and_sets_take_turns() -> None:
    rows = [scored(f"big{n}", 1, 1, 1, field="big") for n in range(300)]
    rows += [scored(f"small{n}", 1, 1, 1, set="other") for n in range(5)]
    keys = choose(RESULTS, iter(rows), 40).keys
    assert Counter(re.sub(r"\d", "", key) for key in keys) == {"big": 35, "small": 5}


def test_without_scores_missed_questions_come_first() -> None:
    rows = [scored(f"k{n}", 0, 0, 0) for n in range(10)]
    for number, row in enumerate(rows):
        for cell in row["views"].values():
            cell.update(score=None, hit=number > 2)
    choice = choose(RESULTS, rows, 4)
    assert choice.shown == {"missed": (3, 3), "other": (1, 7)}


def test_rows_are_not_kept() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(10_000):
            yield scored(f"{number:x}", 0, 1, 0, answer="x" * 10_000 + str(number))

    tracemalloc.start()
    try:
        choose(RESULTS, rows(), 200)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # the rows come to 100 MB
    finally:
        tracemalloc.stop()


def test_added_pixels_are_those_beyond_no_crop_on_the_same_questions() -> None:
    rows = [scored("a", 1, 1, 1), scored("b", 1, 1, 1)]
    for row, side in zip(rows, (10, 20), strict=True):
        row["views"]["no crop"].update(page_size=[side, 10], crop_sizes=[])
        row["views"]["aim"].update(page_size=[side, 10], crop_sizes=[[5, 4], [1, 2]])
    rows[1]["views"]["aim, crop alone"].update(page_size=None, crop_sizes=[[5, 4]])
    added = choose(RESULTS, rows, 5).added_pixels
    assert added == {"no crop": 0, "aim": 22, "aim, crop alone": -180}


# ---- long answers


def test_an_excerpt_lies_around_the_right_answer() -> None:
    page = " ".join(f"word{n}" for n in range(500))
    told = excerpt(f"{page}\nGRAND TOTAL 12.90 RM {page}", ["12.90"])
    assert told["match"] == "12.90"
    line = f"{told['before']}{told['match']}{told['after']}"
    assert "GRAND TOTAL 12.90 RM word0" in line
    assert line.startswith("… word")
    assert line.endswith(" …")
    assert len(line) <= 244
    assert len(str(told["whole"])) == 2000
    assert told["more"] == 2 * len(page) + 22 - 2000


def test_an_answer_read_with_faults_is_found() -> None:
    told = excerpt(
        "x " * 200 + "BOOK TA .K(TAMAN DAYA) SDN BHD" + " y" * 200,
        ["BOOK TA .K (TAMAN DAYA) SDN BHD"],
    )
    assert "TAMAN DAYA" in str(told["match"])


def test_a_short_answer_stays_whole() -> None:
    assert excerpt("It is 12.90.", ["12.90"]) == {
        "before": "It is ",
        "match": "12.90",
        "after": ".",
        "whole": None,
        "more": 0,
    }
    assert excerpt("No idea", ["12.90"])["match"] == ""
    assert excerpt("in 2018", ["0129"])["match"] == ""  # three letters of four say nothing
    assert excerpt("", ["12.90"])["whole"] is None
    assert excerpt("one\ntwo", [])["whole"] == "one\ntwo"
    assert excerpt("İİİ 12.90", ["12.90"])["match"] == "12.90"  # lower case makes these longer


# ---- figures in words


def test_figures_in_words() -> None:
    assert share(0.8214) == "82.1&nbsp;%"
    assert (points(0.034), points(-0.0004), points(-0.05)) == ("+3.4", "0.0", "−5.0")
    ends = {"mean": 0.05, "low": -0.01, "high": 0.11}
    assert interval(ends, difference=True) == '+5.0 <small class="interval">−1.0 to +11.0</small>'
    assert "–" in interval(None)
    assert share(float("nan")) == share(None)
    assert times({"median": 1234.5, "p95": 9.87}).startswith("1.2&nbsp;s")
    assert name("<b>") == "<bdi>&lt;b&gt;</bdi>"


def test_what_a_reader_of_text_cannot_show_is_said(tmp_path: Path) -> None:
    results, _ = report_pages.run(report_pages.questions(tmp_path), target="tesseract@512")
    told = " ".join(summary.blind_spots(results))
    assert "harms none" in told
    assert "<strong><bdi>aim, crop alone</bdi></strong> scores 50.0&nbsp;%" in told
    assert "<strong>0 of the 6</strong> questions" in told
    assert not any(
        "harms none" in line for line in summary.blind_spots(results | {"target": "hf:x"})
    )


def test_warnings_come_before_figures(tmp_path: Path) -> None:
    results, _ = report_pages.run(report_pages.questions(tmp_path))
    assert not list(summary.warnings(results))
    short = results | {"complete": False, "failed": 2, "target": "constant:x"}
    told = list(summary.warnings(short))
    assert len(told) == 3
    assert "2 questions failed" in told[1]


def test_a_gain_that_a_control_also_has_is_no_help(tmp_path: Path) -> None:
    results, _ = report_pages.run(report_pages.questions(tmp_path))
    verdict = {"helps": (0.4, 0.3, 0.5), "unclear": (0.1, -0.1, 0.3)}
    for told in results["comparisons"]:
        kind = "unclear" if told["against"] == "centre" else "helps"
        told["difference"] = dict(zip(("mean", "low", "high"), verdict[kind], strict=True))
    aim, _wide = summary.verdicts(results)
    assert "Not shown to beat: <bdi>centre</bdi>." in aim
    assert "not beyond every control" in aim
    for told in results["comparisons"]:
        told["difference"] = dict(zip(("mean", "low", "high"), verdict["helps"], strict=True))
    aim, _wide = summary.verdicts(results)
    assert "It beats every control." in aim
    assert "▲ helps" in aim


def test_the_plot_takes_tokens_then_pixels_then_area(tmp_path: Path) -> None:
    results, _ = report_pages.run(report_pages.questions(tmp_path))
    by_area = plotted(results, {})
    by_pixels = plotted(results, {"no crop": 0.0, "aim": 9000.0})
    for view in results["views"]:
        view["figures"]["added_tokens"] = 85.0
    by_tokens = plotted(results, {"no crop": 0.0, "aim": 9000.0})
    assert by_area is not None
    assert by_pixels is not None
    assert by_tokens is not None
    assert [p.x_title.split()[0] for p in (by_area, by_pixels, by_tokens)] == [
        "share",
        "thousand",
        "image",
    ]
    assert {p.view: p.x for p in by_pixels.points} == {"no crop": 0.0, "aim": 9.0}
    assert {p.x for p in by_tokens.points} == {0.0, 85.0} or {p.x for p in by_tokens.points} == {
        85.0
    }
    aim = next(p for p in by_area.points if p.view == "aim")
    assert aim.low <= aim.y == 0.0 <= aim.high


# ---- the file


def test_pictures_show_the_page_and_the_crop_once_each(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path)
    results, rows = report_pages.run(asked)
    file = tmp_path / "report.html"
    assert report_pages.write(file, results, rows, asked) == 12
    told = report_pages.blocks(file, "question")
    pictures = report_pages.blocks(file, "picture")
    assert len(told) == 12
    assert len(pictures) == 3  # all pages look alike; the crops of two croppers
    first = told["question-1"]
    assert picture(pictures[first["page"]]).size == report_pages.SIZE
    (cut,) = first["views"]["aim"]["pictures"]
    shown = picture(pictures[cut])
    assert shown.size == (240, 120)
    red = shown.getpixel((120, 60))
    assert isinstance(red, tuple)
    assert red[0] > 200 > 60 > red[1]
    assert first["views"]["centre"]["pictures"] == [None]


def test_crops_are_cut_from_the_upright_page(tmp_path: Path) -> None:
    report_pages.draw_page(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as page:
        (tmp_path / "0.jpg").write_bytes(jpeg_lying_down(page.copy()))
    asked = [dataclasses.replace(report_pages.questions(tmp_path, 1)[0], image=tmp_path / "0.jpg")]
    results, rows = report_pages.run(asked)
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    (told,) = report_pages.blocks(tmp_path / "report.html", "question").values()
    pictures = report_pages.blocks(tmp_path / "report.html", "picture")
    assert told["size"] == list(report_pages.SIZE)
    red = picture(pictures[told["views"]["aim"]["pictures"][0]]).getpixel((120, 60))
    assert isinstance(red, tuple)
    assert red[0] > 200 > 60 > red[1]


def test_large_pages_are_shown_small(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path, 1)[:1]
    Image.new("RGB", (2000, 8000), "white").save(tmp_path / "0.png")
    results, rows = report_pages.run(asked)
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    sizes = [
        picture(uri).size
        for uri in report_pages.blocks(tmp_path / "report.html", "picture").values()
    ]
    assert sizes[0] == (387, 1549)  # 600,000 pixels
    assert all(max(size) <= 600 for size in sizes[1:])


def test_a_page_that_is_gone_is_told(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path)
    results, rows = report_pages.run(asked)
    (tmp_path / "0.png").unlink()
    assert report_pages.write(tmp_path / "report.html", results, rows, asked) == 12
    told = report_pages.blocks(tmp_path / "report.html", "question")
    assert "0.png" in told["question-1"]["missing"]
    assert told["question-1"]["page"] is None
    assert told["question-5"]["page"] is not None


def test_pages_are_let_go(tmp_path: Path) -> None:
    seen: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    class Watched(AnsweredQuestion):
        def open(self, *, isolate: bool = False) -> Image.Image:
            image = super().open(isolate=isolate)
            seen.append(weakref.ref(image))
            alive.append(sum(ref() is not None for ref in seen))
            return image

    asked = [Watched(**{f.name: getattr(one, f.name) for f in dataclasses.fields(one) if f.init})
             for one in report_pages.questions(tmp_path, 5)]  # fmt: skip
    results, rows = report_pages.run(asked)
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    assert alive == [1] * 5  # one decoding a page, and never two pages


def test_the_limit_is_kept_and_told(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path)
    results, rows = report_pages.run(asked)
    file = tmp_path / "report.html"
    assert report_pages.write(file, results, rows, asked, limit=8) == 8
    assert len(report_pages.blocks(file, "question")) == 8
    text = file.read_text()
    assert "8 of 12 questions are here: 3 of the 3 that a cropper harmed" in text
    assert "rows.jsonl" in text
    assert report_pages.write(file, results, rows, asked, limit=0) == 0


def test_a_failure_leaves_the_old_page(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path)
    results, rows = report_pages.run(asked)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.html").write_text("old")

    def broken(_: object) -> Iterator[Any]:
        yield rows[0], asked[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_page(folder / "report.html", results, rows, broken)
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("report.html", "old")]


def test_nothing_in_the_file_points_outside(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path)
    results, rows = report_pages.run(asked)
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    text = (tmp_path / "report.html").read_text()
    assert set(re.findall(r"[a-z]+://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) <= {
        "data:,", "#verdict", "#figures", "#cost", "#changes", "#browser"
    }  # fmt: skip
    assert "default-src 'none'; img-src data:;" in text
    assert "unsafe" not in text
    assert " style=" not in text


@pytest.mark.parametrize(
    "hostile", ["</script><img src=x>", "\ud800", "a\u2028b\0", "<!--<script>"]
)
def test_text_of_the_data_stays_text(tmp_path: Path, hostile: str) -> None:
    asked = [
        dataclasses.replace(one, answers=(hostile,), field=hostile, set_name=hostile, doc=hostile)
        for one in report_pages.questions(tmp_path, 1)
    ]
    results, rows = report_pages.run(asked, ("aim", hostile), data=hostile, target=hostile)
    file = tmp_path / "report.html"
    report_pages.write(file, results, rows, asked)
    told = report_pages.blocks(file, "question")
    assert told["question-1"]["answers"] == [hostile]
    assert told["question-1"]["field"] == hostile
    text = re.sub(r"<script.*?</script>", "", file.read_text(), flags=re.S)
    assert "<img" not in text
    assert "<!--" not in text


def test_numbers_that_are_none_stay_out(tmp_path: Path) -> None:
    asked = report_pages.questions(tmp_path, 1)
    results, rows = report_pages.run(asked)
    rows[0]["views"]["aim"].update(confidence=float("nan"), tokens=None, seconds=float("inf"))
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    told = report_pages.blocks(tmp_path / "report.html", "question")["question-1"]
    assert told["views"]["aim"]["confidence"] is None
    assert json.dumps(told, allow_nan=False)


# ---- colours


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read(scheme: int) -> None:
    style = (resources.files("cropvlm_core.evaluation.page") / "assets/report.css").read_text()
    colours = dict(
        re.findall(
            r"--([a-z0-9]+): (#[0-9a-f]+);", re.findall(r":root \{.*?\}", style, re.S)[scheme]
        )
    )
    inks = set(colours) - {"paper", "panel", "line", "mark", "box", "truth"}
    assert {"ink", "soft", "good", "bad", "c0", "c5", "control"} <= inks
    for ink in inks:
        for ground in ("paper", "panel"):
            pair = sorted((luminance(colours[ink]), luminance(colours[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, ground)
