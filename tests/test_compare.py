"""Evaluations beside each other: matched by key, read as a stream, told in a table."""

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import cli
from cropvlm_core.cli import compare as command
from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.compare import Flip, compare
from cropvlm_core.evaluation.rows import ROWS_FILE, RowStore
from cropvlm_core.evaluation.statistics import Counts
from cropvlm_core.questions import AnsweredQuestion
from tests.cli_calls import one_line_error, run

TOLD = {"target": "tesseract@512", "target_size": 512, "metric": "contains", "max_crops": 1}


def cell(
    score: float | None, hit: bool | None = None, area: float = 0.5, answer: str | None = None
) -> dict[str, Any]:
    return {"score": score, "hit": hit, "area": area, "answer": answer or f"scored {score}"}


def row(key: str, views: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    told = {"set": "bills", "id": f"id-{key}", "doc": None, "image": f"{key[0]}.png"}
    return {"key": key, "question": f"What is {key}?", "views": views} | told | more


def folder(
    place: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any] = TOLD
) -> Path:
    with RowStore(place, settings) as store:
        for each in rows:
            store.add(each)
    return place


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Eight questions about pages a, b, c, d; the base lacks d3, the other a1."""
    base = [
        row("a1", {"ours": cell(1.0, True, 0.2)}),
        row("a2", {"ours": cell(1.0, True, 0.2), "no crop": cell(0.0, True, 1.0)}),
        row("b1", {"ours": cell(0.0, False, 0.4)}),
        row("b2", {"ours": cell(0.5, True, 0.4)}, question="Long? " * 100),
        row("c1", {"ours": cell(0.4, False, 0.3), "no crop": cell(0.0, None, 1.0)}, set="forms"),
        row("c2", {"ours": cell(0.0, None, 0.3)}, set="forms"),
        row("d1", {"ours": cell(1.0, None, 1.0)}, set="forms", id=None),
    ]
    here = [
        row("d1", {"theirs": cell(0.0, None, 0.5, "\x1b[31m" + "x" * 300)}, set="forms"),
        row("d3", {"theirs": cell(1.0, True)}, set="forms"),
        row("c2", {"theirs": cell(1.0, None, 0.1)}, set="forms"),
        row("c1", {"theirs": cell(0.4, True, 0.1), "no crop": cell(1.0, None, 1.0)}, set="forms"),
        row("b2", {"theirs": cell(0.25, True, 0.4)}),
        row("b1", {"theirs": cell(1.0, True, 0.2)}),
        row("a2", {"theirs": cell(1.0, True, 0.2), "no crop": cell(0.0, True, 1.0)}),
    ]
    told = TOLD | {"target_size": 768, "croppers": {"theirs": "1"}}
    return folder(tmp_path / "base", base), folder(tmp_path / "here", here, told)


def test_shared_questions_are_compared_in_pairs(two: tuple[Path, Path]) -> None:
    compared = compare(two)
    assert (compared.base.view, compared.base.questions) == ("ours", 7)
    assert (compared.base.target, compared.base.target_size) == ("tesseract@512", 512)
    (other,) = compared.others
    assert (other.side.view, other.side.questions, other.side.target_size) == ("theirs", 7, 768)
    assert (other.shared, other.only_base, other.only_here) == (6, 1, 1)
    assert other.remarks == ("another target size: 768, in the base 512",)
    figures = {(each.figure, each.set): each for each in other.figures}
    assert list(figures) == [
        (figure, part) for figure in ("score", "hit", "area") for part in (None, "bills", "forms")
    ]
    score = figures["score", None]
    assert (score.questions, score.base, score.here) == (6, 2.9 / 6, 3.65 / 6)
    assert score.difference.mean == pytest.approx(0.75 / 6)
    assert score.difference.low is not None
    assert score.difference.low < score.difference.mean
    # by page: a 0, b +0.75, c +1, d -1: no signs give less than 0.75; hits: b +1, c +1
    assert score.p == 1.0
    assert figures["hit", None].p == 2 / 4
    assert figures["hit", "forms"].questions == 1
    assert figures["hit", "forms"].difference.low is None  # one page
    assert figures["hit", None].difference.mean == pytest.approx(2 / 4)
    assert figures["area", "bills"].here == pytest.approx(0.8 / 3)


def test_flipped_questions_are_told_with_both_answers(two: tuple[Path, Path]) -> None:
    (other,) = compare(two).others
    assert other.counts == Counts(rescued=2, harmed=2, both_right=1, both_wrong=1)
    assert other.flipped_by == "score"
    assert [(flip.kind, flip.key) for flip in other.flips] == [
        ("harmed", "b2"),
        ("harmed", "d1"),
        ("rescued", "b1"),
        ("rescued", "c2"),
    ]
    assert other.flips[2] == Flip(
        "rescued", "b1", "bills", "id-b1", "What is b1?", "scored 0.0", "scored 1.0"
    )
    long, coloured = other.flips[:2]
    assert (len(long.question), long.question[-6:]) == (200, "ng?...")
    assert coloured.id is None
    assert len(coloured.after or "") == 200


def test_any_view_can_be_compared(two: tuple[Path, Path]) -> None:
    (other,) = compare(two, view="no crop").others
    assert (other.shared, other.only_base, other.only_here) == (2, 0, 0)
    assert [flip.key for flip in other.flips] == ["c1"]
    with pytest.raises(DataError, match=r"a view of \['ours', 'no crop'\] in .* got 'theirs'"):
        compare(two, view="theirs")


def test_the_first_folder_is_the_base_of_all(two: tuple[Path, Path]) -> None:
    compared = compare((*two, two[0]))
    assert [other.side.view for other in compared.others] == ["theirs", "ours"]
    same = compared.others[1]
    assert (same.shared, same.remarks, same.flips) == (7, (), ())
    assert {each.p for each in same.figures} == {1.0}
    assert {each.difference.mean for each in same.figures} == {0.0}


def test_without_a_target_hits_decide(tmp_path: Path) -> None:
    told = {"target": None}
    hits = (True, False, None)
    base = folder(
        tmp_path / "a",
        [row(f"{n}", {"embedded": cell(None, hit)}) for n, hit in enumerate(hits)],
        told,
    )
    here = folder(tmp_path / "b", [row(f"{n}", {"ocr": cell(None, False)}) for n in range(3)], told)
    (compared,) = compare((base, here)).others
    assert compared.flipped_by == "hit"
    assert [(flip.kind, flip.key) for flip in compared.flips] == [("harmed", "0")]
    assert {each.figure for each in compared.figures} == {"hit", "area"}
    only_areas = folder(tmp_path / "c", [row("2", {"whole": cell(None)})], told)
    (compared,) = compare((base, only_areas)).others
    assert (compared.flipped_by, compared.flips) == (None, ())
    assert [each.figure for each in compared.figures] == ["area"]


@pytest.mark.parametrize(
    ("names", "view"),
    [
        (["no crop", "page twice", "centre", "random:5", "ocr", "true box"], "ocr"),
        (["no crop", "centre", "centre, shuffled", "centre, crop alone", "random"], "centre"),
        (["no crop", "openai:m@http://h", "openai:m@http://h, equal cost"], "openai:m@http://h"),
    ],
)
def test_the_only_cropper_is_found(tmp_path: Path, names: list[str], view: str) -> None:
    place = folder(tmp_path / "one", [row("a1", {name: cell(1.0) for name in names})])
    assert compare((place, place)).base.view == view


@pytest.mark.parametrize("names", [["no crop", "centre"], ["no crop", "embedded", "ocr"]])
def test_else_a_view_must_be_named(tmp_path: Path, names: list[str]) -> None:
    place = folder(tmp_path / "one", [row("a1", {name: cell(1.0) for name in names})])
    with pytest.raises(DataError, match=r"expected a view to compare, as .* has [02] croppers"):
        compare((place, place))
    assert compare((place, place), view=names[1]).others[0].shared == 1


def test_a_torn_last_line_is_left_out(two: tuple[Path, Path]) -> None:
    with (two[1] / ROWS_FILE).open("a") as stream:
        stream.write('{"key": "a1", "views": {"theirs": {"sco')
    assert compare(two).others[0].only_base == 1


def test_what_is_no_pair_is_refused(tmp_path: Path, two: tuple[Path, Path]) -> None:
    def refuse(folders: Sequence[Path], message: str) -> None:
        with pytest.raises(DataError, match=message):
            compare(folders)

    good = two[0]
    refuse([good], "at least two folders to compare, got 1")
    refuse([good, tmp_path / "nowhere"], r"holds rows\.jsonl, got .*nowhere")
    refuse([good, folder(tmp_path / "empty", [])], r"expected rows in .*empty', got none")
    other = folder(tmp_path / "other", [row("z", {"ours": cell(1.0)})])
    refuse([good, other], r"expected questions in both .*base' and .*other', got none")
    twice = folder(tmp_path / "twice", [row("a1", {"ours": cell(1.0)})] * 2)
    refuse([good, twice], r"each key once in .*twice', got a1")
    for name, views in (("list", [1]), ("number", {"ours": 3})):
        broken = folder(tmp_path / name, [row("a1", {}) | {"views": views}])
        refuse([good, broken], "expected a row of an evaluation with views")
    wordy = folder(tmp_path / "wordy", [row("a1", {"ours": cell(1.0) | {"score": "full"}})])
    refuse([good, wordy], "expected numbers in row a1, got 'full'")


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Answers of whole pages do not stay in memory."""
    answer = "word " * 1000
    for name, right in (("a", 1), ("b", 0)):
        rows = [
            row(f"{n:05}", {"ours": cell(n % 10 == right, answer=answer)}, image=f"{n // 4}.png")
            for n in range(2000)
        ]
        folder(tmp_path / name, rows)
    assert (tmp_path / "a" / ROWS_FILE).stat().st_size > 10e6
    tracemalloc.start()
    try:
        (other,) = compare((tmp_path / "a", tmp_path / "b")).others
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(other.flips) == 400
    assert peak < 8e6  # most of it for drawing samples


def test_real_evaluations_can_be_compared(tmp_path: Path) -> None:
    from cropvlm_core.evaluation.evaluate import evaluate

    page = Image.new("RGB", (80, 100), "white")
    questions = [AnsweredQuestion(page, f"{n}?", answers=("1",), id=str(n)) for n in range(6)]
    for spec in ("random:3", "random:4"):
        evaluate(questions, [spec], "constant:1", out=tmp_path / spec, metric="exact_match")
    compared = compare((tmp_path / "random:3", tmp_path / "random:4"))
    assert (compared.base.view, compared.base.target) == ("random:3", "constant:1")
    assert compared.others[0].shared == 6
    assert compared.others[0].counts.both_right == 6


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = tuple(dict.fromkeys((*cli._COMMANDS, command)))
    monkeypatch.setattr(cli, "_COMMANDS", commands)


@pytest.mark.usefixtures("registered")
def test_the_command_prints_tables(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", *two) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines[0] == (
        f"base  {two[0]}: ours, 7 questions, target tesseract@512 at 512 pixels, contains"
    )
    assert lines[2:4] == [
        "6 questions in both, 1 only in the base, 1 only here",
        "another target size: 768, in the base 512",
    ]
    assert lines[5].split() == ["figure", "set", "questions", "base", "here", "difference", "p"]
    score = [line for line in lines if line.startswith("score   all")]
    assert score[0].split()[:6] == ["score", "all", "6", "48.3%", "60.8%", "+12.5"]
    assert score[0].endswith("]  1.000")
    assert len({len(line) for line in lines[5:15]}) == 1  # aligned
    assert "rescued 2, harmed 2, both right 1, both wrong 1 (right: a score of at least" in told
    assert "harmed   forms  d1     'What is d1?'" in told
    assert "\x1b" not in told
    assert "95 % intervals (bootstrap over\ndocuments)" in told


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("harmed", "rescued", "shown"), [(23, 0, (20, 0)), (23, 4, (16, 4)), (3, 30, (3, 17))]
)
def test_the_command_lists_twenty_flips_and_json_all(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harmed: int,
    rescued: int,
    shown: tuple[int, int],
) -> None:
    for name, scores in (("a", (1.0, 0.0)), ("b", (0.0, 1.0))):
        all_scores = [scores[0]] * harmed + [scores[1]] * rescued
        rows = [row(f"k{n}", {"ours": cell(score)}) for n, score in enumerate(all_scores)]
        folder(tmp_path / name, rows)
    assert run("compare", tmp_path / "a", tmp_path / "b") == 0
    told = capsys.readouterr().out
    assert (told.count("\nharmed "), told.count("\nrescued  ")) == shown
    assert f"... and {harmed + rescued - 20} more (--json has all)" in told
    assert run("compare", tmp_path / "a", tmp_path / "b", "--view", "ours", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(compare((tmp_path / "a", tmp_path / "b")).to_dict()))
    assert len(told["others"][0]["flips"]) == harmed + rescued
    assert told["others"][0]["counts"]["harmed"] == harmed


@pytest.mark.usefixtures("registered")
def test_the_command_tells_of_boxes_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxed = folder(tmp_path / "a", [row("k", {"ocr": cell(None, True)})], {"target": None})
    assert run("compare", boxed, boxed) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"base  {boxed}: ocr, 1 questions\n")
    assert "rescued 0, harmed 0, both right 1, both wrong 0 (right: a hit)" in told
    assert "flipped" not in told
    areas = folder(tmp_path / "b", [row("k", {"ocr": cell(None)})], {"target": None})
    assert run("compare", areas, areas) == 0
    told = capsys.readouterr().out
    assert "area    all          1  50.0%  50.0%        +0.0  1.000" in told
    assert "both right" not in told


@pytest.mark.usefixtures("registered")
def test_the_command_complains_in_one_line(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", two[0]) == 2
    assert "expected at least two folders" in one_line_error(capsys)
    assert run("compare", *two, "--view", "nothing") == 2
    assert "got 'nothing'" in one_line_error(capsys)
