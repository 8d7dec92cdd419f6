"""scripts/release_weights.py: what it refuses, and what is in the wheel after it."""

import dataclasses
import hashlib
import importlib
import json
import re
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.embedded.confidence import ConfidenceMap
from cropvlm_core.embedded.settings import FORMAT
from cropvlm_core.embedded.weights import DIGEST, MAX_SHIPPED, WEIGHTS, shipped_digest
from cropvlm_core.errors import WeightsError
from tests.programs import require_package

require_package("onnx")
require_package("torch")

from cropvlm_core.training.export import export_policy, read_network  # noqa: E402

FOLDER = Path(__file__).parents[1] / "cropvlm_core" / "embedded"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
    try:
        return importlib.import_module("release_weights")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that came to the weights in the wheel, calibrated."""
    folder = tmp_path_factory.mktemp("run")
    shipped = EmbeddedCropper()
    settings = dataclasses.replace(shipped.settings, calibration=ConfidenceMap(1.0, 0.5, 0.1))
    about = {"trained": shipped.about["trained"]}
    export_policy(read_network(FOLDER / WEIGHTS), folder / WEIGHTS, settings, about)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Stands for cropvlm_core/embedded."""
    (tmp_path / "WEIGHTS.md").write_text((FOLDER / "WEIGHTS.md").read_text())
    return tmp_path


def test_the_changelog_is_about_the_file_in_the_wheel() -> None:
    package = resources.files("cropvlm_core.embedded")
    written = (package / "WEIGHTS.md").read_text(encoding="utf-8")
    content = (package / WEIGHTS).read_bytes()
    newest = re.findall(r"SHA-256 \| `([0-9a-f]{64})`", written)[0]
    assert newest == shipped_digest() == hashlib.sha256(content).hexdigest()
    assert f"{len(content):,} bytes" in written
    assert len(content) <= MAX_SHIPPED
    told = EmbeddedCropper().about.get("version")
    assert told is None or re.findall(r"^## (\S+)", written, re.MULTILINE)[0] == told


def test_a_release_is_stamped_and_written_down(
    script: ModuleType, run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(run), "--version", "2099.1.1", "--note", "Reads more."]
    assert script.main(command, folder=folder) == 0
    content = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert (folder / DIGEST).read_text() == f"{digest}  {WEIGHTS}\n"
    cropper = EmbeddedCropper(folder / WEIGHTS, sha256=digest)
    told = {key: cropper.about[key] for key in ("name", "version", "licence", "format")}
    assert told == {
        "name": "cropvlm-embedded",
        "version": "2099.1.1",
        "licence": "Apache-2.0",
        "format": FORMAT,
    }
    assert f"2099.1.1 {digest[:16]}" in cropper.version
    assert cropper.about["trained"] == EmbeddedCropper().about["trained"]
    written = (folder / "WEIGHTS.md").read_text()
    headings = re.findall(r"^## (\S+)", written, re.MULTILINE)
    assert headings[0] == "2099.1.1"
    assert headings[1:] == re.findall(
        r"^## (\S+)", (FOLDER / "WEIGHTS.md").read_text(), re.MULTILINE
    )
    entry = written.split("## ")[1]
    assert all(part in entry for part in ("Reads more.", digest, "Not measured yet."))
    assert digest in capsys.readouterr().out

    results = {
        "croppers": {"embedded": cropper.version, "ocr": "ocr"},
        "views": [
            {"kind": kind, "cropper": name, "sets": {"forms": {"figures": figures}}}
            for kind, name, figures in (
                ("cropper", "embedded", figures_of(0.875, 0.1)),
                ("shuffled", "embedded", figures_of(0.25, 0.1)),
                ("cropper", "ocr", figures_of(0.5, 0.2)),
            )
        ],
    }
    measured = folder / "results.json"
    measured.write_text(json.dumps(results))
    assert script.main(["--figures", str(measured)], folder=folder) == 0
    entry = (folder / "WEIGHTS.md").read_text().split("## ")[1]
    row = "| forms | 40 | 87.5 % [77.5, 97.5] | 10.0 % | 25.0 % [15.0, 35.0] | 50, 80 | "
    assert row + "50.0 % [40.0, 60.0] at 20.0 % |" in entry
    assert "Not measured yet." not in entry
    (folder / DIGEST).write_text(f"{'0' * 64}  {WEIGHTS}\n")
    assert script.main(["--figures", str(measured)], folder=folder) == 2
    assert "expected an evaluation of weights 0000" in capsys.readouterr().err


def figures_of(rate: float, area: float) -> dict[str, object]:
    return {
        "questions": 40,
        "hit_rate": {"mean": rate, "low": rate - 0.1, "high": rate + 0.1},
        "area": area,
        "crop_ms": {"median": 50.2, "p95": 80.1},
    }


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.0", "a version such as"), ("2026.13.1", "a version such as"), ("2026.11.1", "above")],
)
def test_a_version_that_is_none_or_not_new_is_refused(
    script: ModuleType, run: Path, folder: Path, version: str, expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = (folder / "WEIGHTS.md").read_text()
    assert script.main([str(run), "--version", version, "--note", "x"], folder=folder) == 2
    assert expected in capsys.readouterr().err
    assert (folder / "WEIGHTS.md").read_text() == before
    assert not (folder / WEIGHTS).exists()


def test_files_that_are_not_whole_are_refused(
    script: ModuleType, run: Path, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refused(source: Path) -> str:
        told = [str(source), "--version", "2099.1.1", "--note", "x"]
        assert script.main(told, folder=folder) == 2
        assert not (folder / WEIGHTS).exists()
        assert not (folder / DIGEST).exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "no such file" in refused(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("text")
    assert "expected an ONNX model" in refused(tmp_path / "text.onnx")
    settings = EmbeddedCropper(run / WEIGHTS).settings
    network = read_network(run / WEIGHTS)
    loose = tmp_path / "loose.onnx"
    export_policy(network, loose, dataclasses.replace(settings, calibration=None), {})
    assert "without calibration" in refused(loose)
    export_policy(network, loose, settings, {})
    assert "how the file was trained" in refused(loose)
    monkeypatch.setattr(script, "MAX_SHIPPED", 1_000_000)
    assert "at most 1000000 bytes" in refused(run)
    assert script.main([], folder=folder) == 2
    assert script.main([str(run)], folder=folder) == 2


def test_the_digest_must_be_one(run: Path) -> None:
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        EmbeddedCropper(run / WEIGHTS, sha256="abc")
    with pytest.raises(WeightsError, match=r"damaged or another file$"):
        EmbeddedCropper(run / WEIGHTS, sha256="0" * 64)
