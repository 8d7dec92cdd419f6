"""What docs/training.md shows can be done as it stands there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from cropvlm_core.cli import build_parser, main
from cropvlm_core.training.public_sets import PUBLIC_SETS
from cropvlm_core.training.run_settings import GRPOSettings, SFTSettings, read_settings
from scripts import estimate_run
from tests.programs import require_fonts, require_package

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
LATER = [line for block in BLOCKS[1:] for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_fonts()
    for package in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
        require_package(package)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for line in BLOCKS[0].splitlines():
        program, *words = shlex.split(line)
        if program == "python":
            assert words[0] == "-c"
            exec(words[1], {})  # noqa: S102 - our own guide
        else:
            assert program == "cropvlm"
            assert main(words) == 0
    assert "of the page" in capsys.readouterr().out
    dry = tmp_path / "runs" / "dry"
    assert (dry / "zoom.png").stat().st_size > 1000
    for made in ("settings.yaml", "checkpoints", "adapter", "model/cropvlm.json", "held_out.jsonl"):
        assert (dry / "grpo" / made).exists()
    figures = (dry / "grpo" / "held_out.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in figures] == [0, 10]


@pytest.mark.parametrize("line", [line for line in LATER if line.startswith("cropvlm ")])
def test_the_other_commands_are_ours(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_package("yaml")
    monkeypatch.chdir(ROOT)
    given = build_parser().parse_args(shlex.split(line)[1:])
    if getattr(given, "config", None) is not None:
        read_settings(GRPOSettings if "train grpo" in line else SFTSettings, given.config)


def test_the_scripts_are_there() -> None:
    scripts = {shlex.split(line)[1] for line in LATER if line.startswith("python ")}
    assert scripts == {"scripts/prepare_data.py"}
    assert all((ROOT / script).is_file() for script in scripts)
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / link).exists()


def test_the_sets_are_those_that_are_read() -> None:
    for chosen in PUBLIC_SETS.values():
        assert f"| `{chosen.name}` | `{chosen.hub}`" in GUIDE


def test_the_estimate_is_what_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["estimate_run.py"])
    estimate_run.main()
    assert capsys.readouterr().out in GUIDE
