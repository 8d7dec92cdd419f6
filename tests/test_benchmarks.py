"""Named benchmarks in small files of the Hub's layouts, read by the real ``datasets``."""

import base64
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.benchmarks.named import BENCHMARKS, Benchmark, is_benchmark, open_benchmark
from cropvlm_core.benchmarks.opening import open_rows
from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, MissingExtraError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.scoring import METRICS
from tests.data_hub import DataHub
from tests.programs import require_package
from tests.public_rows import (
    GLOVE,
    chartqa_query_rows,
    chartqa_rows,
    docvqa_rows,
    hrbench_rows,
    infographicvqa_rows,
    parquet,
    picture,
    stvqa_image_rows,
    stvqa_rows,
    textvqa_rows,
    write_docvqa_repository,
    write_parquet,
    write_tsv,
    write_vstar,
)

require_package("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def first(benchmark: Benchmark) -> AnsweredQuestion:
    return next(benchmark.questions)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("textvqa", "textvqa"),
        ("TextVQA:test", "textvqa"),
        ("ST-VQA", "stvqa"),
        ("V*Bench", "vstar"),
        ("V*", "vstar"),
        ("vstar_bench=somewhere", "vstar"),
        ("HR-Bench 4K", "hrbench4k"),
        ("hr_bench_8k", "hrbench8k"),
        ("InfoVQA", "infographicvqa"),
        ("docvqa:validation=lmms-lab/DocVQA", "docvqa"),
        ("", None),
        ("=textvqa", None),
        ("coco", None),
        ("textvqa2", None),
        ("data/textvqa", None),
    ],
)
def test_names(data: str, name: str | None, tmp_path: Path) -> None:
    assert is_benchmark(data) is (name is not None)
    if name is None:
        with pytest.raises(DataError, match=r"with a name of textvqa, docvqa.*chartqa, got"):
            open_benchmark(data)
    else:
        parquet(tmp_path / "copy", textvqa_rows())
        head = data.partition("=")[0].partition(":")[0]
        assert open_benchmark(f"{head}:train={tmp_path / 'copy'}").name == name


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_benchmark("textvqa")
    (tmp_path / "textvqa").mkdir()
    assert not is_benchmark("textvqa")


def test_every_metric_is_a_metric_and_every_licence_is_told() -> None:
    assert {name: layout.metric for name, layout in BENCHMARKS.items()} == {
        "textvqa": "vqa_accuracy",
        "docvqa": "anls",
        "infographicvqa": "anls",
        "stvqa": "anls",
        "vstar": "multiple_choice",
        "hrbench4k": "multiple_choice",
        "hrbench8k": "multiple_choice",
        "chartqa": "relaxed_accuracy",
    }
    for layout in BENCHMARKS.values():
        assert layout.metric in METRICS
        assert layout.licence


@pytest.mark.parametrize(
    ("name", "rows", "count", "wanted"),
    [
        (
            "textvqa",
            textvqa_rows(),
            3,
            ("34602", "what is written on sign 0?", ("stop", "stop", "Stop"), "0" * 16, None),
        ),
        (
            "docvqa",
            docvqa_rows(),
            3,
            (
                "337",
                "what is the date 0?",
                ("1/8/93", "1/8/1993"),
                "xnbl0037_1",
                "form, handwritten",
            ),
        ),
        (
            "infographicvqa",
            infographicvqa_rows(),
            1,
            (
                "65718",
                "Which platform has a heavy female audience?",
                ("pinterest",),
                ...,
                "single span",
            ),
        ),
        (
            "stvqa",
            stvqa_rows(),
            2,
            (
                "0",
                "Where is the train going 0?",
                ("New York", "york"),
                "coco-text/COCO_train2014_000000209618.jpg",
                None,
            ),
        ),
        ("stvqa", stvqa_image_rows(), 4, ("0", "0.0?", ("a",), ..., None)),
        ("chartqa", chartqa_rows(), 2, ("0", "How many bars are there 0?", ("14",), ..., "human")),
        ("chartqa", chartqa_query_rows(), 2, ("0", "What is the sum?", ("1.5",), ..., "human")),
    ],
)
def test_layouts(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], count: int, wanted: tuple[Any, ...]
) -> None:
    layout = BENCHMARKS[name]
    source = parquet(tmp_path / "copy", rows, layout.split)
    benchmark = open_benchmark(f"{name}={source}")
    assert (benchmark.split, benchmark.source) == (layout.split, str(source))
    questions = list(benchmark.questions)
    asked = questions[0]
    assert len(questions) == count
    identity, question, answers, doc, field = wanted
    assert (asked.id, asked.question, asked.answers[:3], asked.field) == (
        identity,
        question,
        answers,
        field,
    )
    assert asked.doc if doc is ... else asked.doc == doc
    assert {each.set_name for each in questions} == {name}
    assert len({each.id for each in questions}) == count
    # as they came, not decoded
    assert asked.image == (rows[0]["image"] or {})["bytes"]
    assert asked.open().size in {(40, 30), (30, 90)}
    # the questions of one image go together
    for one, other in itertools.combinations(questions, 2):
        assert (one.doc == other.doc) is (one.image == other.image)
    assert list(benchmark.questions) == questions  # begins anew


def test_neighbours_about_a_page_share_one_decoding(tmp_path: Path) -> None:
    source = parquet(tmp_path / "copy", textvqa_rows(), "validation")
    questions = open_benchmark(f"textvqa={source}").questions
    groups = [
        len(list(group)) for _, group in itertools.groupby(questions, lambda asked: asked.image)
    ]
    assert groups == [2, 1]


def test_vstar_has_boxes(tmp_path: Path) -> None:
    folder = write_vstar(tmp_path / "vstar_bench")
    glove, dog = open_benchmark(f"vstar={folder}").questions
    assert glove.question == GLOVE
    assert glove.answers == ("A", "rubber")
    assert glove.boxes == (Box(0.564, 142 / 800, 0.719, 299 / 800),)
    assert glove.extra == {"objects": ["glove"]}
    assert glove.field == "direct_attributes"
    assert glove.image == (folder / "direct_attributes" / "sa_4690.jpg").read_bytes()
    # around both objects, cut at the picture's edge; the right option is no letter of its own
    assert dog.boxes == (Box(0.1, 0.375, 1.0, 1.0),)
    assert dog.answers == ("B", "no")
    assert dog.hit([Box(0.1, 0.375, 0.3, 0.5)]) is False  # the dog alone
    assert METRICS["multiple_choice"]("B", dog.answers) == 1
    for file in folder.rglob("*.json"):
        file.unlink()  # not every copy has them
    assert [question.boxes for question in open_benchmark(f"vstar={folder}").questions] == [(), ()]


def test_vstar_in_one_table_asks_for_a_letter(tmp_path: Path) -> None:
    """As lmms-eval reads lmms-lab/vstar-bench, which holds the pictures."""
    row = {
        "image": {"bytes": picture(5), "path": None},
        "text": "What is the color? (A) red (B) dark blue",
        "label": "B",
        "category": "direct_attributes",
        "question_id": "7",
    }
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [row])
    asked = first(open_benchmark(f"vstar={tmp_path / 'data'}"))
    assert asked.question == (
        "What is the color? (A) red (B) dark blue\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (asked.id, asked.answers, asked.boxes) == ("7", ("B", "dark blue"), ())


@pytest.mark.parametrize("image", ["../secret.jpg", "/etc/passwd", "", "direct_attributes/no.jpg"])
def test_vstar_reads_only_what_lies_inside(tmp_path: Path, image: str) -> None:
    folder = write_vstar(tmp_path / "vstar_bench")
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    row = {"question_id": 0, "image": image, "text": GLOVE, "category": "x", "label": "A"}
    (folder / "test_questions.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"expected (an image inside|the image)"):
        first(open_benchmark(f"vstar={folder}"))


def test_vstar_with_broken_boxes(tmp_path: Path) -> None:
    folder = write_vstar(tmp_path / "vstar_bench")
    beside = folder / "direct_attributes" / "sa_4690.json"
    beside.write_text('{"bbox": [[1, 2, 3]]}')
    with pytest.raises(DataError, match=r"expected boxes as \[left, top, width, height\]"):
        first(open_benchmark(f"vstar={folder}"))
    beside.write_text("not JSON")
    with pytest.raises(DataError, match="expected JSON beside"):
        first(open_benchmark(f"vstar={folder}"))
    (folder / "direct_attributes" / "sa_4690.jpg").write_bytes(b"\xff\xd8\xff broken")
    beside.write_text('{"bbox": [[100, 80, 100, 80]]}')
    assert [asked.id for asked in open_benchmark(f"vstar={folder}").questions] == ["1"]
    (folder / "direct_attributes" / "sa_4690.jpg").write_bytes(picture(9, size=(1000, 800)))
    beside.write_text('{"bbox": [100, 80, 100, 80]}')  # one object, not in a list
    assert first(open_benchmark(f"vstar={folder}")).boxes == (Box(0.1, 0.1, 0.2, 0.2),)


@pytest.mark.parametrize("kind", ["parquet", "tsv", "both", "a file"])
def test_hrbench(tmp_path: Path, kind: str) -> None:
    rows = hrbench_rows()
    others = [row | {"question": "8K?"} for row in rows]
    for name, each in (("hr_bench_4k", rows), ("hr_bench_8k", others)):
        if kind != "parquet":
            write_tsv(tmp_path / f"{name}.tsv", each)
        if kind != "tsv":
            write_parquet(tmp_path / f"{name}.parquet", each)
    source = tmp_path / "hr_bench_4k.tsv" if kind == "a file" else tmp_path
    questions = list(open_benchmark(f"hrbench4k={source}").questions)
    assert [asked.id for asked in questions] == ["0", "1", "2", "3"]
    assert questions[0].question == (
        "What is the number on the door?\nA. 12\nB. None\nC. 1.50\nD. B\n"
        "Answer the option letter directly."
    )
    assert {asked.answers[1] for asked in questions} == {"None"}
    assert "".join(asked.answers[0] for asked in questions) == "BADC"
    assert {asked.extra["cycle"] for asked in questions} == {"0", "1", "2", "3"}
    assert {asked.field for asked in questions} == {"single"}
    assert questions[0].image == base64.b64decode(rows[0]["image"])
    assert len({asked.doc for asked in questions}) == 1
    assert first(open_benchmark(f"hrbench8k={tmp_path}")).question.startswith("8K?\nA. 12")


def test_an_option_that_is_a_letter_is_no_answer(tmp_path: Path) -> None:
    row = hrbench_rows()[0] | {"answer": "D"}  # option D reads "B"
    write_tsv(tmp_path / "hr_bench_4k.tsv", [row])
    asked = first(open_benchmark(f"hrbench4k={tmp_path}"))
    assert asked.answers == ("D",)
    assert METRICS["multiple_choice"]("B", asked.answers) == 0


def test_a_copied_repository_says_its_splits_itself(tmp_path: Path) -> None:
    folder = write_docvqa_repository(tmp_path / "DocVQA")
    assert len(list(open_benchmark(f"docvqa={folder}").questions)) == 3
    assert first(open_benchmark(f"infographicvqa={folder}")).answers == ("pinterest",)
    with pytest.raises(DataError, match="docvqa:test, which has none; validation has"):
        first(open_benchmark(f"docvqa:test={folder}"))
    with pytest.raises(DataError, match=r"split of \['test', 'validation'\], got 'nowhere'"):
        open_benchmark(f"docvqa:nowhere={folder}")
    (folder / "README.md").write_text("No metadata here.")
    assert len(list(open_benchmark(f"docvqa={folder}").questions)) == 3
    assert len(list(open_benchmark(f"infographicvqa={folder}").questions)) == 1
    with pytest.raises(DataError, match="expected files of the split train"):
        open_benchmark(f"docvqa:train={folder}")


def test_a_part_of_a_set_is_refused(tmp_path: Path) -> None:
    source = parquet(tmp_path / "copy", textvqa_rows(), "validation")
    (source / "validation-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="expected all 2 files of a split, got 1 beside"):
        open_benchmark(f"textvqa={source}")
    file = source / "validation-00000-of-00002.parquet"
    assert len(list(open_benchmark(f"textvqa={file}").questions)) == 2  # one that a person named


@pytest.mark.parametrize("count", range(12))
def test_rows_are_skipped(tmp_path: Path, count: int) -> None:
    pyarrow = require_package("pyarrow")
    rows = [row | {"question_id": number} for number, row in enumerate(textvqa_rows() * 3)]
    for part in range(2):
        file = tmp_path / f"validation-{part:05}-of-00002.parquet"
        some = pyarrow.Table.from_pylist(rows[5 * part : 5 * part + 5])
        require_package("pyarrow.parquet").write_table(some, file, row_group_size=3)
    opened = open_rows(BENCHMARKS["textvqa"], str(tmp_path))
    left = [row["question_id"] for row in opened.skip(count // 2).skip(count - count // 2)]
    assert left == list(range(9))[count:]


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    source = parquet(tmp_path / "copy", textvqa_rows(), "validation")
    second = source / "validation-00001-of-00002.parquet"
    second.write_bytes(second.read_bytes()[:-100])  # broken, and never come to
    assert [asked.id for asked in open_benchmark(f"textvqa={source}", limit=2).questions] == [
        "34602",
        "34603",
    ]


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    pyarrow = require_package("pyarrow")
    rows = textvqa_rows()[:1] * 400
    dice = random.Random(0)
    rows = [row | {"image": {"bytes": dice.randbytes(100_000), "path": None}} for row in rows]
    require_package("pyarrow.parquet").write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=20
    )
    code = (
        "import sys, pyarrow\n"
        "from cropvlm_core.benchmarks.named import open_benchmark\n"
        "print(sum(len(asked.image) for asked in open_benchmark(sys.argv[1]).questions))\n"
        "print(pyarrow.default_memory_pool().max_memory())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"textvqa={tmp_path}"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    read, held = map(int, ran.stdout.split())
    assert read == 40_000_000
    assert held < 8_000_000


def test_what_cannot_be_asked_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = hrbench_rows()
    rows[1] |= {"question": "x" * 11_000}
    rows[2] |= {"image": "%%%"}
    rows[3] |= {"answer": ""}
    write_tsv(tmp_path / "hr_bench_4k.tsv", rows)
    questions = list(open_benchmark(f"hrbench4k={tmp_path}").questions)
    assert [asked.id for asked in questions] == ["0"]
    assert [record.getMessage() for record in caplog.records] == [
        "hrbench4k: left out 1 questions without a question",
        "hrbench4k: left out 1 questions with a damaged or too large image",
        "hrbench4k: left out 1 questions without an answer",
    ]


def test_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected Parquet files, got none in"):
        open_benchmark(f"textvqa={tmp_path / 'empty'}")
    write_parquet(tmp_path / "text" / "a.parquet", [{"image": "a.png", "question": "?"}])
    with pytest.raises(DataError, match="expected the columns image, question and answers"):
        first(open_benchmark(f"textvqa={tmp_path / 'text'}"))
    write_parquet(tmp_path / "path" / "a.parquet", [{"image": "a", "question": "?", "answer": "a"}])
    with pytest.raises(DataError, match="expected an image column that holds pictures, got 'a'"):
        first(open_benchmark(f"textvqa={tmp_path / 'path'}"))


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"cropvlm\[train\]"):
        open_rows(BENCHMARKS["textvqa"])


def test_names_cost_no_heavy_import() -> None:
    code = (
        "import sys; from cropvlm_core.benchmarks.named import is_benchmark\n"
        "assert is_benchmark('textvqa')\n"
        "print([name for name in ('datasets', 'pyarrow', 'torch', 'onnxruntime') "
        "if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


FROM_A_HUB = """
import sys
from cropvlm_core.benchmarks.named import BENCHMARKS, open_benchmark
from cropvlm_core.benchmarks.opening import open_rows
from cropvlm_core.errors import DataError
for data in sys.argv[1:]:
    try:
        if data.startswith("stream "):
            rows = open_rows(BENCHMARKS[data.split()[1]])
            count = 1 + sum(1 for row in rows.skip(1))
            print(data, count, next(iter(rows))["questionId"])  # and leave the stream
            continue
        if data.startswith("all "):
            print([len(asked.boxes) for asked in open_benchmark(data.split()[1]).questions])
            continue
        asked = next(open_benchmark(data).questions)
        print(data, asked.id, asked.answers, len(asked.boxes), len(asked.image))
    except DataError as error:
        print(data, error)
"""


@pytest.mark.slow
def test_from_a_hub_and_from_its_cache(tmp_path: Path) -> None:
    """Through the real clients, from a server here that holds copies of the layouts."""
    write_docvqa_repository(tmp_path / "hub" / "lmms-lab" / "DocVQA")
    vstar = write_vstar(tmp_path / "hub" / "craigwu" / "vstar_bench")
    (vstar / "relative_position" / "sa_7.json").unlink()
    high = tmp_path / "hub" / "DreamMr" / "HR-Bench"
    write_parquet(high / "hr_bench_4k.parquet", hrbench_rows())

    def said(url: str, offline: str) -> dict[str, str]:
        asked = {
            "docvqa": "docvqa",
            "kept back": "docvqa:test",
            "infographic": "infographicvqa",
            "vstar": "vstar",
            "high": "hrbench4k",
            "missing": "textvqa",
            "other": "chartqa=lmms-lab/DocVQA",
            "no split": "docvqa:nowhere",
            "stream": "stream docvqa",
            "boxes": "all vstar",
        }
        told = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": offline}
        ran = subprocess.run(
            [sys.executable, "-c", FROM_A_HUB, *asked.values()],
            capture_output=True,
            text=True,
            env=os.environ | told,
            cwd=Path(__file__).parents[1],
            check=True,
        )
        return dict(zip(asked, ran.stdout.splitlines(), strict=True))

    sizes = [
        len(data)
        for data in (
            picture(30, "PNG"),
            picture(40, "PNG", (30, 90)),
            picture(90, size=(1000, 800)),
            picture(80, size=(400, 300)),
        )
    ]
    with DataHub(tmp_path / "hub") as hub:
        online = said(hub.url, "0")
    assert online["docvqa"] == f"docvqa 337 ('1/8/93', '1/8/1993') 0 {sizes[0]}"
    assert online["infographic"] == f"infographicvqa 65718 ('pinterest',) 0 {sizes[1]}"
    assert online["vstar"] == f"vstar 0 ('A', 'rubber') 1 {sizes[2]}"
    assert online["high"] == f"hrbench4k 0 ('B', 'None') 0 {sizes[3]}"
    assert "docvqa:test, which has none; validation has" in online["kept back"]
    assert "got 'lmms-lab/textvqa': " in online["missing"]
    assert "Not Found" in online["missing"]
    assert "got 'lmms-lab/DocVQA'" in online["other"]
    assert "expected a split of ['test', 'validation'], got 'nowhere'" in online["no split"]
    assert online["stream"] == "stream docvqa 3 337"
    assert online["boxes"] == "[1, 0]"  # one has no file beside it
    offline = said(hub.url, "1")
    for name in ("infographic", "vstar", "high"):
        assert offline[name] == online[name]
    # a file is fetched when its turn comes, and what is missing of a set is no smaller set
    assert "docvqa expected all 2 files of a split, got 1 beside" in offline["docvqa"]
    assert "expected the files of vstar" in offline["boxes"]  # never heard whether there is one
    assert "got 'lmms-lab/textvqa': " in offline["missing"]
