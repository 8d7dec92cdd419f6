"""The Hub's layouts of the paper's data sets: the same columns, in Parquet files made here."""

import json
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.benchmarks.opening import open_rows
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion, read_questions
from cropvlm_core.training.public_sets import (
    PROGRESS_FILE,
    PUBLIC_SETS,
    Preparation,
    prepare,
)
from scripts import prepare_data
from tests.bad_input import huge_png
from tests.programs import require_package
from tests.public_rows import (
    docvqa_rows,
    infographicvqa_rows,
    parquet,
    picture,
    stvqa_image_rows,
    stvqa_rows,
    textvqa_rows,
)

datasets = require_package("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def prepared(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], **options: Any
) -> tuple[Preparation, Path]:
    source, out = tmp_path / "hub" / name, tmp_path / "data" / name
    if not source.exists():
        parquet(source, rows)
    opened = open_rows(PUBLIC_SETS[name], str(source), split="train")
    return prepare(PUBLIC_SETS[name], opened, out, source="hub", **options), out


def test_textvqa_keeps_ten_answers_and_shares_image_files(tmp_path: Path) -> None:
    done, out = prepared(tmp_path, "textvqa", textvqa_rows())
    assert (done.written, done.skipped, done.complete) == (3, {}, True)
    first, second, third = read_questions(out)
    assert (first.id, first.doc, first.set_name) == ("34602", "0" * 16, "textvqa")
    assert first.answers == ("stop", "stop", "Stop", "stop sign", *["stop"] * 6)
    assert (first.width, first.height) == (40, 30)
    assert first.image == second.image != third.image
    assert len(list((out / "images").iterdir())) == 2
    assert isinstance(first.image, Path)
    assert first.image.suffix == ".jpg"
    assert first.image.read_bytes() == picture(10)  # as it came, not encoded again


@pytest.mark.parametrize(
    ("name", "rows", "wanted"),
    [
        (
            "docvqa",
            docvqa_rows(),
            ("337", "xnbl0037_1", "form, handwritten", ("1/8/93", "1/8/1993"), 3, 1),
        ),
        (
            "infographicvqa",
            infographicvqa_rows(),
            ("65718", None, "single span", ("pinterest",), 1, 1),
        ),
        (
            "stvqa",
            stvqa_rows(),
            ("0", "coco-text/COCO_train2014_000000209618.jpg", None, ("New York", "york"), 2, 1),
        ),
        ("stvqa", stvqa_image_rows(), ("0", None, None, ("a",), 4, 2)),
    ],
)
def test_the_other_layouts(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], wanted: tuple[Any, ...]
) -> None:
    _, out = prepared(tmp_path, name, rows)
    questions = list(read_questions(out))
    first = questions[0]
    images = len(list((out / "images").iterdir()))
    assert (first.id, first.doc, first.field, first.answers, len(questions), images) == wanted
    assert len({question.id for question in questions}) == len(questions)
    assert first.open().size == (first.width, first.height)


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = textvqa_rows()
    rows += [
        rows[0] | {"image": {"bytes": huge_png(20_000, 10_000), "path": None}},
        rows[0] | {"image": {"bytes": b"\x89PNG\r\n\x1a\nbroken", "path": None}},
        rows[0] | {"question": " "},
        rows[0] | {"answers": ["", " "]},
        rows[0] | {"question_id": 7},
    ]
    done, out = prepared(tmp_path, "textvqa", rows)
    assert (done.rows, done.seen, done.written) == (8, 8, 4)
    assert done.skipped == {"image": 2, "question": 1, "no answer": 1}
    assert [question.id for question in read_questions(out)][-1] == "7"
    assert len(list((out / "images").iterdir())) == 2


class Breaks:
    """Rows of a line that breaks after so many of them."""

    def __init__(self, rows: list[dict[str, Any]], after: int | None = None) -> None:
        self.rows = rows
        self.after = after

    def skip(self, count: int) -> "Breaks":
        return Breaks(self.rows[count:], self.after)

    def __iter__(self) -> Any:
        for number, row in enumerate(self.rows):
            if number == self.after:
                raise ConnectionError("the line broke")
            yield row


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    rows = [
        textvqa_rows()[0] | {"question_id": number, "question": " " if number == 5 else "what?"}
        for number in range(450)
    ]
    chosen = PUBLIC_SETS["textvqa"]
    straight = prepare(chosen, Breaks(rows), tmp_path / "straight", source="hub")
    stopped = tmp_path / "stopped"
    with pytest.raises(ConnectionError):
        prepare(chosen, Breaks(rows, after=250), stopped, source="hub")
    assert json.loads((stopped / PROGRESS_FILE).read_text())["rows"] == 200
    told: list[Preparation] = []
    again = prepare(chosen, Breaks(rows), stopped, source="hub", progress=told.append)
    assert again == straight
    assert [state.rows for state in told] == [400]
    for file in ("questions.jsonl", PROGRESS_FILE):
        assert (stopped / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()
    # nothing is asked of the source once it is complete
    assert prepare(chosen, Breaks(rows, after=0), stopped, source="hub") == straight


def test_limits_grow(tmp_path: Path) -> None:
    rows = stvqa_image_rows() * 3
    whole, _ = prepared(tmp_path / "a", "stvqa", rows)
    some, out = prepared(tmp_path / "b", "stvqa", rows, limit=3)
    assert (some.written, some.complete) == (4, False)  # the questions of an image stay together
    assert prepared(tmp_path / "b", "stvqa", rows, limit=2)[0] == some
    assert prepared(tmp_path / "b", "stvqa", rows)[0] == whole
    assert [question.id for question in read_questions(out)] == [str(n) for n in range(12)]


def test_another_source_is_refused(tmp_path: Path) -> None:
    _, out = prepared(tmp_path, "stvqa", stvqa_rows())
    with pytest.raises(DataError, match="expected a folder of 'elsewhere'"):
        prepare(PUBLIC_SETS["stvqa"], Breaks([]), out, source="elsewhere")
    (out / PROGRESS_FILE).unlink()
    with pytest.raises(DataError, match=r"got one with questions\.jsonl"):
        prepare(PUBLIC_SETS["stvqa"], Breaks([]), out, source="hub")


def test_other_columns_are_named(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(1), "path": None}, "asked": "what?", "answer": "a"}]
    with pytest.raises(DataError, match=r"expected the columns .*'asked'"):
        prepared(tmp_path, "textvqa", rows)
    datasets.Dataset.from_list([{"question": "?"}]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="expected a column image"):
        next(iter(open_rows(PUBLIC_SETS["textvqa"], str(tmp_path / "a.parquet"))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected Parquet files"):
        open_rows(PUBLIC_SETS["textvqa"], str(tmp_path / "empty"))


@pytest.mark.parametrize("download", [False, True])
def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str], download: bool) -> None:
    sources = [
        f"--source=textvqa={parquet(tmp_path / 'hub' / 'textvqa', textvqa_rows())}",
        f"--source=docvqa={parquet(tmp_path / 'hub' / 'docvqa', docvqa_rows())}",
    ]
    words = ["--out", str(tmp_path / "data"), "--sets", "textvqa,docvqa", *sources]
    assert prepare_data.main([*words, *(["--download"] if download else [])]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path / 'data' / 'textvqa'}: 3 questions, left out: none\n" in told
    assert told.count("licence") >= 1
    questions: list[AnsweredQuestion] = list(read_questions(tmp_path / "data"))
    assert [question.set_name for question in questions] == ["docvqa"] * 3 + ["textvqa"] * 3


def test_the_script_complains_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = parquet(tmp_path / "hub", [{"image": {"bytes": b"", "path": None}, "query": "?"}])
    words = ["--out", str(tmp_path / "data"), "--sets", "stvqa", f"--source=stvqa={source}"]
    capsys.readouterr()
    assert prepare_data.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare_data: expected the columns image")
    assert error.count("\n") == 1
