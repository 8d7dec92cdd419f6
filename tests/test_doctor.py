"""cropvlm doctor: what it finds, and that nothing it finds makes it fall."""

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import cropvlm_core
import cropvlm_core.transformers_vlm
from cropvlm_core.cli import doctor, main
from cropvlm_core.embedded import weights
from cropvlm_core.embedded.weights import shipped_digest
from tests.printed import require_tesseract
from tests.programs import require_package


def diagnose(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def test_what_it_finds_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose(capsys)
    assert set(found) == {"versions", "weights", "extras", "croppers", "targets", "warnings"}
    versions = found["versions"]
    assert versions["cropvlm"] == cropvlm_core.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["pillow"] == metadata.version("pillow")
    assert versions["onnxruntime"] == metadata.version("onnxruntime")
    croppers, targets = found["croppers"], found["targets"]
    assert [croppers[name] for name in ("whole", "centre", "random")] == [None, None, None]
    assert targets["constant:TEXT"] is None
    assert "OPENAI_API_KEY" in str(targets["openai:MODEL"])


def test_tesseract_runs_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    require_tesseract()
    found = diagnose(capsys)
    assert re.match(
        r"[45]\.[0-9.]+ \((program|tesserocr [0-9.]+)\)", str(found["versions"]["tesseract"])
    )
    assert found["croppers"]["ocr"] is None
    assert found["targets"]["tesseract@512"] is None


def test_a_missing_tesseract_names_both_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = diagnose(capsys)
    assert found["versions"]["tesseract"] is None
    for why in (found["croppers"]["ocr"], found["targets"]["tesseract@512"]):
        assert "pip install 'cropvlm[ocr]'" in str(why)
        assert "apt-get install tesseract-ocr" in str(why)


def test_the_embedded_cropper_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(capsys)["croppers"]["embedded"] is None


def test_it_tells_which_weights_are_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    told = diagnose(capsys)["weights"]
    assert told["sha256"] == shipped_digest()
    assert str(told["format"]).startswith("cropvlm-embedded-")
    assert main(["doctor"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("weights"))
    assert f"sha256 {shipped_digest()[:16]}" in line
    assert str(told["version"] or "unversioned") in line


def test_damaged_weights_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    (tmp_path / weights.WEIGHTS).write_bytes(b"damaged")
    (tmp_path / weights.DIGEST).write_text("0" * 64)
    found = diagnose(capsys)
    assert not found["weights"]
    assert "SHA-256" in str(found["croppers"]["embedded"])
    assert main(["doctor"]) == 0
    assert "weights      cannot be loaded" in capsys.readouterr().out


def test_extras_are_those_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    extras = diagnose(capsys)["extras"]
    about = metadata.metadata("cropvlm").get_all("Provides-Extra")
    assert sorted(extras) == sorted(about or [])
    assert extras["api"] == {"installed": True, "packages": {"openai": metadata.version("openai")}}
    train = extras["train"]
    assert isinstance(train, dict)
    # `train` contains `local`, by way of cropvlm[local]
    assert {"torch", "transformers", "trl", "peft"} <= set(train["packages"])
    assert "cropvlm" not in train["packages"]


def test_a_key_or_a_server_makes_openai_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    assert main(["doctor", "--json"]) == 0
    told = capsys.readouterr().out
    assert "sk-test" not in told
    found = json.loads(told)
    assert found["targets"]["openai:MODEL"] is None
    assert found["croppers"]["openai:MODEL"] is None


def test_a_missing_client_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    assert "pip install 'cropvlm[api]'" in str(diagnose(capsys)["targets"]["openai:MODEL"])


def test_a_broken_onnxruntime_is_told_and_not_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert diagnose(capsys)["croppers"]["embedded"] is not None


def test_models_of_the_hub_run_where_their_extra_is(capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("torch", "transformers", "jinja2"):
        require_package(package)
    found = diagnose(capsys)  # HF_HUB_OFFLINE is set: looking for a model would fail
    assert found["croppers"]["hf:MODEL"] is None
    assert found["targets"]["hf:MODEL"] is None


@pytest.mark.parametrize("package", ["torch", "transformers", "jinja2"])
def test_a_missing_package_of_local_names_the_command(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    found = diagnose(capsys)
    for kind in ("croppers", "targets"):
        assert "pip install 'cropvlm[local]'" in str(found[kind]["hf:MODEL"])


def test_a_broken_torch_is_told_and_not_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("torch", "transformers", "jinja2"):
        require_package(package)
    monkeypatch.delitem(sys.modules, "cropvlm_core.transformers_vlm.cropper", raising=False)
    monkeypatch.delitem(
        sys.modules["cropvlm_core.transformers_vlm"].__dict__, "TransformersCropper", raising=False
    )
    monkeypatch.setitem(sys.modules, "cropvlm_core.transformers_vlm.vlm", ModuleType("broken"))
    assert "ImportError" in str(diagnose(capsys)["croppers"]["hf:MODEL"])


def test_an_old_pillow_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "12.3.0" if name == "pillow" else real(name)
    )
    (warning,) = diagnose(capsys)["warnings"]
    assert "Pillow 12.3.0 is older than 13.0" in warning


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),
        ("import os; os._exit(3)", "exit code 3"),
        ("", None),
    ],
)
def test_a_broken_torchvision_is_warned_of(
    code: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "torchvision.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    warnings = [line for line in diagnose(capsys)["warnings"] if "torchvision" in line]
    if expected is None:
        assert warnings == []
    else:
        assert len(warnings) == 1
        assert expected in warnings[0]
    assert "torchvision" not in sys.modules


def test_not_installed_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", absent)
    found = diagnose(capsys)
    assert found["extras"] == {}
    assert any("without being installed" in warning for warning in found["warnings"])


def test_plain_output_has_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for title in ("extras", "croppers", "targets", "warnings"):
        assert title in lines
    assert f"cropvlm      {cropvlm_core.__version__}" in lines
    assert "  api          installed" in lines
    assert "  constant:TEXT  runs" in lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("openai<4,>=2; extra == 'api'", ("openai", None)),
        ('ray[data]>=2.40; extra == "ray"', ("ray", "data")),
        ("cropvlm[local,api] ; extra == 'all'", ("cropvlm", "local,api")),
        ("numpy>=1.26", ("numpy", None)),
    ],
)
def test_requirements_are_read(line: str, expected: tuple[str, str | None]) -> None:
    match = doctor._REQUIREMENT.match(line)
    assert match is not None
    assert (match[1], match[2]) == expected
