"""What is in the wheel, and what its metadata promises."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import cropvlm_core

ROOT = Path(__file__).parents[1]
PACKAGES = ("cropvlm_core", "langchain_cropvlm", "llamaindex_cropvlm")
EXTRAS = {
    "local",
    "api",
    "train",
    "finetune",
    "ocr",
    "pdf",
    "langchain",
    "llamaindex",
    "mcp",
    "proxy",
    "ray",
    "all",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (file,) = folder.glob("*.whl")
    return zipfile.Path(file)


def metadata_of(wheel: zipfile.Path) -> Message:
    (about,) = (path for path in wheel.iterdir() if path.name.endswith(".dist-info"))
    return Parser().parsestr((about / "METADATA").read_text())


def names_in(wheel: zipfile.Path) -> list[str]:
    return [name for name in wheel.root.namelist() if not name.endswith("/")]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]


def test_the_wheel_holds_every_module_and_nothing_else(wheel: zipfile.Path) -> None:
    packed = {name for name in names_in(wheel) if name.startswith(PACKAGES)}
    sources = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert sources <= packed
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed
    others = {Path(name).suffix for name in packed - sources}
    assert others == {".typed", ".onnx", ".sha256", ".md", ".html", ".css", ".js"}
    assert {name.split("/")[0].split("-")[0] for name in names_in(wheel)} == {
        "cropvlm",
        *PACKAGES,
    }


def test_the_wheel_holds_the_embedded_policy_and_its_card(wheel: zipfile.Path) -> None:
    embedded = [name for name in names_in(wheel) if name.startswith("cropvlm_core/embedded/")]
    (weights,) = (name for name in embedded if name.endswith(".onnx"))
    assert wheel.root.getinfo(weights).file_size <= 12 * 2**20
    assert {"cropvlm_core/embedded/MODEL_CARD.md", "cropvlm_core/embedded/WEIGHTS.md"} <= set(
        embedded
    )
    digest = (wheel / "cropvlm_core/embedded/policy.sha256").read_text().split()
    assert digest == [hashlib.sha256((wheel / weights).read_bytes()).hexdigest(), "policy.onnx"]


def test_the_wheel_is_small(wheel: zipfile.Path) -> None:
    assert Path(str(wheel.root.filename)).stat().st_size <= 14 * 2**20


def test_version_licence_and_program(wheel: zipfile.Path) -> None:
    about = metadata_of(wheel)
    assert about["Name"] == "cropvlm"
    assert about["Version"] == cropvlm_core.__version__
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11"
    (folder,) = (path for path in wheel.iterdir() if path.name.endswith(".dist-info"))
    assert "cropvlm = cropvlm_core.cli:main" in (folder / "entry_points.txt").read_text()
    assert "Apache License" in (folder / "licenses" / "LICENSE").read_text()


def test_extras_are_the_promised_names(wheel: zipfile.Path) -> None:
    assert set(metadata_of(wheel).get_all("Provides-Extra") or ()) == EXTRAS


def test_base_requirements_are_three(wheel: zipfile.Path) -> None:
    lines = metadata_of(wheel).get_all("Requires-Dist") or []
    base = {re.split(r"[^a-z]", line)[0] for line in lines if "extra ==" not in line}
    assert base == {"pillow", "numpy", "onnxruntime"}


def test_no_torchvision_and_no_cap_on_torch() -> None:
    extras = project()["optional-dependencies"]
    for extra, requirements in extras.items():
        for requirement in requirements:
            assert "torchvision" not in requirement, extra
            assert "[vision]" not in requirement, extra
            if re.match(r"torch\b", requirement):
                assert "<" not in requirement, extra
                assert "==" not in requirement, extra


def test_all_is_everything_but_ray() -> None:
    (line,) = project()["optional-dependencies"]["all"]
    inner = re.fullmatch(r"cropvlm\[(.*)\]", line)
    assert inner is not None
    assert set(inner[1].split(",")) == EXTRAS - {"all", "ray"}
