"""The embedded cropper on own documents: what is learned from, a whole run, stopping, going on."""

import dataclasses
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.printed import printed, require_tesseract, where
from tests.programs import require_fonts, require_package

torch = require_package("torch")
require_package("onnx")
require_fonts()

from cropvlm_core.cli import main  # noqa: E402
from cropvlm_core.cropper import ZoomRules  # noqa: E402
from cropvlm_core.embedded import EmbeddedCropper  # noqa: E402
from cropvlm_core.embedded.settings import PolicySettings  # noqa: E402
from cropvlm_core.errors import DataError  # noqa: E402
from cropvlm_core.questions import AnsweredQuestion, write_questions  # noqa: E402
from cropvlm_core.tesseract import TesseractReader  # noqa: E402
from cropvlm_core.training.export import export_policy, read_network  # noqa: E402
from cropvlm_core.training.network import PolicyNetwork, PolicySize  # noqa: E402
from cropvlm_core.training.own_documents import run as runs  # noqa: E402
from cropvlm_core.training.own_documents.learning import Teacher, dealt_out  # noqa: E402
from cropvlm_core.training.own_documents.locate import PageReader, ReadWord, places  # noqa: E402
from cropvlm_core.training.own_documents.material import gather, read_own  # noqa: E402
from cropvlm_core.training.own_documents.schedule import Schedule  # noqa: E402
from cropvlm_core.training.reply_cache import ReplyCache  # noqa: E402
from cropvlm_core.training.rewards import AnswerScore  # noqa: E402
from cropvlm_core.vlm import ConstantVLM  # noqa: E402

TINY = PolicySize(
    stem=8, middle=8, grid=16, context=16, blocks=1, stages=1, lanes=4, word=16, thought=32,
    layers=1, probes=3, head=8, head_lanes=2,
)  # fmt: skip
SETTINGS = PolicySettings(32_768, 0.5, ZoomRules(grow=(1.1, 1.3)), least=(60.0, 30.0))
LINES = ((60, 100, "Heat number B07"), (60, 300, "K48213"), (500, 300, "719,4"), (60, 600, "Mass"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of a tiny network that has learned nothing."""
    file = tmp_path_factory.mktemp("weights") / "tiny.onnx"
    torch.manual_seed(0)
    plan = {"size": TINY.to_dict(), "budget": SETTINGS.budget}
    network = PolicyNetwork(TINY).eval()
    export_policy(network, file, SETTINGS, {"trained": json.dumps({"plan": plan})})
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pages of the same print, two questions each, without boxes."""
    folder = tmp_path / "own"
    folder.mkdir()
    rows = []
    for number in range(6):
        file = folder / f"page-{number}.png"
        printed(LINES, size=(900, 800), letters=22 + number).save(file)
        for question, answer in (("Which heat?", "K48213"), ("What is the strength?", "719,4")):
            rows.append(AnsweredQuestion(file, question, answers=(answer,), doc=f"page-{number}"))
    write_questions(folder / "questions.jsonl", rows)
    return folder


@pytest.fixture(autouse=True)
def few_rendered_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RENDERED_PAGES", 1)


def command(data: Path, start: Path, out: Path, *more: str, minutes: str = "0.02") -> list[str]:
    return [
        "train", "embedded", "--data", str(data), "--reward", "constant:nothing", "--no-locate",
        "--start", str(start), "--out", str(out), "--minutes", minutes, *more,
    ]  # fmt: skip


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_writes_a_file_that_every_cropper_takes_and_says_when_nothing_got_better(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(data, start, out)) == 0
    told, complained = capsys.readouterr()
    assert "4 documents" not in told
    assert "kept back" in told
    assert f"did not clearly get better: stay with --cropper embedded:{start}" in complained
    assert "too few to judge by" in complained
    report = json.loads((out / "report.json").read_text())
    assert report["use"] == f"embedded:{start}"
    assert report["held_out"]["questions"] + report["material"]["questions"] == 12
    assert report["held_out"]["score"]["after"]["mean"] == 0.0
    assert report["held_out"]["hits"] is None  # no box is known
    assert report["rendered"]["hits"]["questions"] > 0
    cropper = EmbeddedCropper(out / "policy.onnx")
    assert cropper.settings == SETTINGS
    assert json.loads(cropper.about["trained"])["own_documents"]["reader"] == "constant:nothing"
    page = data / "page-0.png"
    assert main(["zoom", str(page), "Which heat?", "--cropper", f"embedded:{out}/policy.onnx"]) == 0
    read_network(out / "policy.onnx")  # one can go on from it


def test_a_stopped_run_says_so_and_the_same_command_goes_on(
    data: Path,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, take = tmp_path / "run", Schedule._learn
    before = signal.getsignal(signal.SIGTERM)

    def until_the_third(self: Schedule, *pages: Any, **how: Any) -> dict[str, float]:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, *pages, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Schedule, "_learn", until_the_third)
        assert main(command(data, start, out, minutes="5")) == 143
    assert "the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    held = torch.load(out / "checkpoint.pt", weights_only=True)
    assert held["step"] == 3
    assert not (out / "policy.onnx").exists()
    minutes = str(held["minutes"] + 0.005)
    assert main(command(data, start, out, minutes=minutes)) == 0
    assert json.loads((out / "report.json").read_text())["steps"] > 3
    capsys.readouterr()
    assert main(command(data, start, out, "--seed", "2")) == 2
    assert "expected the seed of the run in --out (1), or another folder, got 2" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--device", "cpu"], "--device: not allowed with --data"),
        (["--area", "0.1", "--export-only"], "--area, --export-only: not allowed with --data"),
        (["--metric", "best"], "expected a metric of"),
        (["--held-out", "1"], "expected a share below 1"),
        (["--reward", "oracle"], "expected a target of"),
        (["--start", "nowhere.onnx"], "no such file"),
    ],
)
def test_bad_options_are_told_in_one_line(
    more: list[str],
    complaint: str,
    data: Path,
    start: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = main(command(data, start, tmp_path / "run", *more))
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    told = capsys.readouterr().err
    assert code == 2
    assert complaint in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--reward", "tesseract@512"], "--reward: expected --data beside it"),
        (["--shuffle-rewards", "--no-locate"], "--locate, --shuffle-rewards: expected --data"),
        (["--data", "somewhere"], "--data: expected --reward beside it"),
    ],
)
def test_options_of_one_road_are_refused_on_the_other(
    given: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "embedded", "--out", "nowhere", *given])
    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


def test_questions_without_answers_and_single_pages_are_refused(tmp_path: Path) -> None:
    page = Image.new("RGB", (60, 60), "white")
    file = tmp_path / "questions.jsonl"
    write_questions(file, [AnsweredQuestion(page, "What?", answers=(" ",), id="q7")])
    with pytest.raises(DataError, match="a question with an answer, got none for 'q7'"):
        read_own(file)
    file.write_text("")
    with pytest.raises(DataError, match="expected questions with answers, got none"):
        read_own(file)
    write_questions(file, [AnsweredQuestion(page, "What?", answers=("x",))])
    score = AnswerScore(ConstantVLM("nothing"))
    with pytest.raises(DataError, match="at least two pages to split"):
        gather(read_own(file), SETTINGS, score, None, held_out=0.5, seed=1, check=lambda: None)


def spoken(text: str, *, line: int = 0, left: float = 0.0, top: float = 0.0) -> Iterator[ReadWord]:
    for index, word in enumerate(text.split()):
        at = left + 100 * index
        yield ReadWord(word, (at, top, at + 90, top + 20), line)


def test_places_are_runs_of_words_that_say_the_answer() -> None:
    words = [
        *spoken("Heat number K4821S.", line=0),
        *spoken("of 12 May 2025, Friday", line=1, top=50),
        *spoken("total 7 7 70 9.50", line=2, top=100),
        *spoken("total 9.50", line=3, top=150, left=500),
    ]
    assert places(words, ["K48213"]) == [(200, 0, 290, 20)]  # one letter misread
    assert places(words, ["12 May 2025"]) == [(100, 50, 390, 70)]
    assert places(words, ["7"]) == [(100, 100, 190, 120), (200, 100, 290, 120)]
    assert places(words, ["9.50"]) == [(400, 100, 490, 120), (600, 150, 690, 170)]
    assert places(words, ["8.50"]) == []
    assert places(words, ["Monday", "Friday"]) == [(400, 50, 490, 70)]
    assert places([], ["Friday"]) == []


def test_words_are_read_once_and_stand_where_they_are_printed(tmp_path: Path) -> None:
    require_tesseract()
    page = printed(LINES, size=(900, 800))
    reader = PageReader(ReplyCache(tmp_path / "words.jsonl"))
    words = reader.words([page])[0]
    found = places(words, ["K48213"])
    assert len(found) == 1
    right = where(60, 300, "K48213", size=(900, 800)).to_pixels((900, 800))
    assert [round(side) for side in found[0]] == pytest.approx(list(right), abs=6)
    written = (tmp_path / "words.jsonl").read_text()
    again = PageReader(ReplyCache(tmp_path / "words.jsonl"))
    assert again.words([page]) == [words]
    assert (tmp_path / "words.jsonl").read_text() == written


def test_what_the_whole_page_answers_is_left_out_and_the_rest_is_found() -> None:
    require_tesseract()
    reader = TesseractReader(256)
    rows = [
        AnsweredQuestion(
            printed([(60, 90, "K48213"), (60, 600, "719,4 again")], size=(900, 800), letters=size),
            "Which heat?",
            answers=("K48213",),
            id=f"{size} {number}",
        )
        for number, size in enumerate((20, 20, 20, 120, 120))
    ]
    material = gather(
        rows, SETTINGS, AnswerScore(reader, "contains"), PageReader(ReplyCache()),
        held_out=0.2, seed=1, check=lambda: None,
    )  # fmt: skip
    kept_back = {row.id for row in material.held_out}
    learned = [str(row.id) for row in rows if row.id not in kept_back]
    assert len(learned) == material.questions == 4
    left = sorted(str(page.questions[0].id) for page in material.pages)
    assert left == [name for name in learned if name.startswith("20 ")]
    assert material.answered == 4 - len(left) > 0
    assert material.located == len(left)
    for page in material.pages:
        right = where(60, 90, "K48213", size=(900, 800), letters=20).to_pixels((900, 800))
        assert list(page.spans[0][0]) == pytest.approx(list(right), abs=6)


def test_boxes_are_used_where_they_are_given(start: Path) -> None:
    box = where(60, 300, "K48213", size=(900, 800))
    rows = [
        AnsweredQuestion(
            printed(LINES, size=(900, 800), letters=size),
            "Which?",
            answers=("K48213",),
            boxes=(box,),
        )
        for size in (20, 24, 28)
    ]
    score = AnswerScore(ConstantVLM("nothing"))
    material = gather(rows, SETTINGS, score, None, held_out=0.3, seed=1, check=lambda: None)
    assert material.boxed == len(material.pages) == 2
    network = read_network(start)
    teacher = Teacher(network, SETTINGS, [score], group=2, questions=4, shuffle=False, seed=1)
    losses = []
    optimizer = torch.optim.Adam(
        [each for each in network.parameters() if each.requires_grad], lr=3e-3
    )
    for step in range(25):
        loss, figures = teacher.from_places(material.pages[step % 2], random.Random(step))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(figures["pointing"])
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_the_control_gives_questions_each_others_answers() -> None:
    from cropvlm_core.training.pages import render_page
    from cropvlm_core.training.supervision import lesson

    one = lesson(render_page(3, "receipt"), random.Random(3), SETTINGS.budget, questions=6)
    other = dealt_out(one, random.Random(1))
    assert torch.equal(other.right, one.right)
    assert not torch.equal(other.grams, one.grams)
    assert sorted(other.grams.sum((1, 2)).tolist()) == sorted(one.grams.sum((1, 2)).tolist())
    for field in dataclasses.fields(one):
        assert field.name == "grams" or torch.equal(
            getattr(one, field.name), getattr(other, field.name)
        )
