"""The examples that need a model on this machine run, with a tiny one, and do what they say."""

import json
from pathlib import Path

import pytest

from cropvlm_core.errors import DataError
from examples import grpo_own_documents, local_target
from tests import small_models
from tests.chat_server import ChatServer, says
from tests.programs import require_package

require_package("torch")
require_package("transformers")


def test_local_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_models.page(200, 300).save(tmp_path / "page.png")
    model = f"hf:{small_models.whole_vlm()}"
    words = [str(tmp_path / "page.png"), "What?", "--target", model, "--cropper", "centre"]
    local_target.main([*words, "--answer", "12.90"])
    alone, first, both, second = capsys.readouterr().out.splitlines()
    assert alone.startswith("page alone: ")
    assert both.startswith("page and crop: ")
    values = [float(line.removeprefix("  log-likelihood of '12.90': ")) for line in (first, second)]
    assert max(values) < 0
    assert values[0] != values[1]  # the crop was seen
    local_target.main(words)
    assert capsys.readouterr().out.splitlines() == [alone, both]


def test_local_target_on_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    local_target.main(["--target", "constant:x", "--answer", "y"])
    assert capsys.readouterr().out == "page alone: x\npage and crop: x\n"


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    """A folder of pages and a CSV, as the command line names them."""
    (tmp_path / "pages").mkdir()
    lines = ["file,question,answer"]
    for number in range(10):
        small_models.page(90, 60, number).save(tmp_path / "pages" / f"{number}.png")
        lines += [f'{number}.png,"Who, exactly?",NASA|N.A.S.A.', f"{number}.png,When?,1969"]
    (tmp_path / "questions.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return [
        str(tmp_path / "pages"),
        str(tmp_path / "questions.csv"),
        "--out",
        str(tmp_path / "own"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["api", "local"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_grpo_own_documents(
    judge: str,
    documents: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("trl", "peft", "datasets", "openai"):
        require_package(package)
    model = str(small_models.whole_vlm())
    words = [*documents, "--model", model, "--max-steps", "1"]
    with ChatServer(says("NASA")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        grpo_own_documents.main(
            words + ([f"--reward-model=hf:{model}"] if judge == "local" else [])
        )
    assert bool(server.requests) == (judge == "api")
    told = capsys.readouterr().out
    assert "18 questions to train on, 2 held out\n" in told
    assert told.endswith(f"--cropper hf:{tmp_path / 'own' / 'run' / 'model'}\n")
    first = json.loads((tmp_path / "own" / "held_out.jsonl").read_text().splitlines()[0])
    assert (tmp_path / "own" / first["image"]).exists()
    rows = (tmp_path / "own" / "run" / "held_out.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [0, 1]
    local_target.main(
        [
            str(tmp_path / "pages" / "0.png"),
            "Who?",
            "--target=constant:x",
            f"--cropper=hf:{tmp_path / 'own' / 'run' / 'model'}",
        ]
    )
    assert "page and crop: x" in capsys.readouterr().out


def test_own_documents_are_checked_before_hours_are_spent(
    documents: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "questions.csv"
    good = table.read_text(encoding="utf-8-sig")
    for line, words in (
        ("0.png,Who?,", r"questions\.csv:22: expected file, question and answer"),
        ("10.png,Who?,NASA", r"questions\.csv:22: expected an image 10\.png"),
    ):
        table.write_text(f"{good}\n{line}\n", encoding="utf-8")
        with pytest.raises(DataError, match=words):
            grpo_own_documents.main([*documents, "--model", "none"])
