"""Settings of training runs: from YAML and flags, with errors that say what is wrong."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.errors import DataError
from tests.cli_calls import one_line_error, run
from tests.programs import require_package

require_package("yaml")

from cropvlm_core.cli import main  # noqa: E402
from cropvlm_core.cli.training_flags import add_flags, read_flags  # noqa: E402
from cropvlm_core.training.run_settings import (  # noqa: E402
    RunSettings,
    SFTSettings,
    read_settings,
    setting,
    template,
    to_yaml,
)

GIVEN = {"model": "org/model", "data": "questions.jsonl"}


def read(**overrides: Any) -> SFTSettings:
    return read_settings(SFTSettings, None, GIVEN | overrides)


def written(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_defaults_are_the_papers() -> None:
    settings = read()
    assert (settings.lora_rank, settings.lora_alpha, settings.lora_dropout) == (128, 256, 0.05)
    assert settings.lora_vision
    assert (settings.learning_rate, settings.schedule, settings.warmup) == (5e-5, "cosine", 0.03)
    assert (settings.batch_size, settings.gradient_accumulation, settings.epochs) == (2, 8, 1)


def test_flags_are_stronger_than_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "model: a\ndata: b\nlearning_rate: 1e-4\nlora_vision: no\nseed: 7\n")
    settings = read_settings(SFTSettings, file, {"seed": "8", "data": "c", "epochs": "2"})
    assert (settings.model, settings.data, settings.seed) == ("a", "c", 8)
    # YAML 1.1 reads 1e-4 as text
    assert (settings.learning_rate, settings.epochs, settings.lora_vision) == (1e-4, 2.0, False)
    assert isinstance(settings.epochs, float)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"max_steps": "none"}, None),
        ({"max_steps": "12"}, 12),
        ({"no_zoom": "true"}, True),
        ({"no_zoom": "Off"}, False),
        ({"report_to": "wandb, tensorboard"}, ("wandb", "tensorboard")),
        ({"report_to": ["wandb"]}, ("wandb",)),
        ({"report_to": "none"}, ()),
        ({"precision": "bf16"}, "bf16"),
        ({"weight_decay": 1}, 1.0),
        ({"held_out": "x"}, "x"),
    ],
)
def test_values_may_be_text_as_flags_give_them(overrides: dict[str, Any], expected: Any) -> None:
    (name,) = overrides
    value = getattr(read(**overrides), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lerning_rate": 1}, "expected a setting such as learning_rate, got 'lerning_rate'"),
        ({"batch_size": "two"}, "expected batch_size as a whole number, got 'two'"),
        ({"batch_size": 2.5}, "expected batch_size as a whole number, got 2.5"),
        ({"batch_size": True}, "expected batch_size as a whole number, got True"),
        ({"batch_size": 0}, "expected batch_size >= 1, got 0"),
        ({"max_steps": 0}, "expected max_steps >= 1, got 0"),
        ({"max_steps": "many"}, "expected max_steps as a whole number or none, got 'many'"),
        ({"learning_rate": 0}, "expected learning_rate > 0, got 0.0"),
        ({"learning_rate": "nan"}, "expected learning_rate > 0, got nan"),
        ({"learning_rate": "inf"}, "expected learning_rate > 0, got inf"),
        ({"learning_rate": [1]}, r"expected learning_rate as a number, got \[1\]"),
        ({"warmup": 1}, "expected warmup >= 0 and <= 0.99, got 1.0"),
        ({"lora_vision": 1}, "expected lora_vision as true or false, got 1"),
        ({"lora_vision": "maybe"}, "expected lora_vision as true or false, got 'maybe'"),
        ({"precision": "fp8"}, "expected precision as auto or bf16 or fp32, got 'fp8'"),
        ({"report_to": [1]}, r"expected report_to as a list of names, got \[1\]"),
        ({"report_to": 1}, "expected report_to as a list of names, got 1"),
        ({"notation": "inches"}, r"expected a box notation \(percent, .*'inches' as setting not"),
        ({"model": 3}, "expected model as text, got 3"),
        ({"model": " "}, r"expected a setting model \(folder or Hub id .*\), got none"),
        ({"data": ""}, "expected a setting data .*, got none"),
        ({"seed": -1}, "expected seed >= 0 and <= 4294967295, got -1"),
    ],
)
def test_what_does_not_fit_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(**overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", r"expected a mapping of settings in '.*run.yaml', got \['a', 'b'\]"),
        ("a: [1\n", "expected YAML in '.*run.yaml', got"),
        ("!!python/object/apply:os.getcwd []\n", "expected YAML in .*could not determine a const"),
        ("epochs: 0\nmodel: a\ndata: b\n", "expected epochs > 0, got 0.0"),
        ("epoch: 2\n", "^run.yaml: expected a setting such as epochs, got 'epoch'"),
        ("3: 2\n", "^run.yaml: expected a setting such as .*, got 3$"),
        ("seed: x\n", "^run.yaml: expected seed as a whole number, got 'x'$"),
    ],
)
def test_a_bad_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_settings(SFTSettings, written(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a file of settings, got .*no\.yaml.*No such"):
        read_settings(SFTSettings, tmp_path / "no.yaml")
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="expected YAML in"):
        read_settings(SFTSettings, tmp_path / "run.yaml")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read_settings(SFTSettings, written(tmp_path, "# nothing\n"), GIVEN) == read()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    changed = read(
        data="ein: Wort, 'quoted' – é",
        held_out="null and void",
        notation="per_mille",
        max_steps=3,
        learning_rate=1e-7,
        report_to=("a", "b"),
        lora_vision=False,
    )
    text = to_yaml(changed)
    assert read_settings(SFTSettings, written(tmp_path, text)) == changed
    assert "\n# the highest learning rate\nlearning_rate: 1.0e-07\n" in text


def test_paths_hold_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions.jsonl").touch()
    settings = read(held_out="absent.jsonl").located()
    assert settings.data == str(tmp_path / "questions.jsonl")
    assert (settings.model, settings.held_out) == ("org/model", "absent.jsonl")


@dataclasses.dataclass(frozen=True)
class Other(RunSettings):
    """As another kind of run would have them."""

    learning_rate: float = setting(1e-6, "slower", above=0)
    group: int = setting(6, "boxes drawn for each question", least=2)


def test_another_run_adds_settings_and_defaults_of_its_own() -> None:
    settings = read_settings(Other, None, GIVEN | {"group": "4"})
    assert (settings.group, settings.learning_rate) == (4, 1e-6)
    with pytest.raises(DataError, match="expected group >= 2, got 1"):
        read_settings(Other, None, GIVEN | {"group": 1})
    assert "# slower\nlearning_rate: 1.0e-06\n" in template(Other)


def flags(cls: type[RunSettings], names: tuple[str, ...], *words: str) -> RunSettings:
    parser = argparse.ArgumentParser()
    add_flags(parser, cls, names)
    return read_flags(parser.parse_args(words), cls)


def test_flags_come_from_the_settings(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--model", "m", "--data", "d"]
    names = ("model", "data", "group", "lora_vision", "no_zoom")
    settings = flags(Other, names, *out, "--group", "3", "--no-lora-vision", "--set", "seed = 4")
    assert settings == Other(model="m", data="d", group=3, lora_vision=False, seed=4)
    assert flags(Other, names, *out, "--no-zoom").no_zoom
    with pytest.raises(DataError, match="expected --set KEY=VALUE, got 'seed'"):
        flags(Other, names, *out, "--set", "seed")


def test_resuming_reads_the_runs_own_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(to_yaml(read(seed=5, epochs=3)), encoding="utf-8")
    out = ("--out", str(tmp_path), "--resume")
    resumed = flags(SFTSettings, ("epochs",), *out, "--epochs", "4")
    assert (resumed.seed, resumed.epochs) == (5, 4)
    other = str(written(tmp_path, "model: m\ndata: d\n"))
    assert flags(SFTSettings, (), *out, "--config", other).seed == 0


def test_the_template_is_complete_and_can_be_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("torch", "trl", "peft"):
        require_package(package)
    with pytest.raises(SystemExit) as left:
        main(["train", "sft", "--print-settings"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    file = written(tmp_path, text.replace("model: ''", "model: m").replace("data: ''", "data: d"))
    assert read_settings(SFTSettings, file) == SFTSettings(model="m", data="d")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "batch=3"], "expected a setting such as batch_size"),
        (["--epochs", "some"], "expected epochs as a number, got 'some'"),
        (["--config", "no.yaml"], "expected a file of settings, got 'no.yaml'"),
        ([], "expected a setting model (folder or Hub id"),
    ],
)
def test_the_command_complains_in_one_line(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("trl", "peft", "datasets", "accelerate"):
        require_package(package)
    assert run("train", "sft", "--out", tmp_path / "out", *words) == 2
    assert expected in one_line_error(capsys)
    assert not (tmp_path / "out").exists()


def test_without_the_extra_the_command_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    assert run("train", "sft", "--out", tmp_path, "--model", "m", "--data", "d") == 2
    assert "the warm start needs an extra package: pip install 'cropvlm[train]'" in (
        one_line_error(capsys)
    )
