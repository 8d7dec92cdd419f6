"""The core under ``python -O``, where asserts are gone, and with every open file an error."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cropvlm_core", "langchain_cropvlm", "llamaindex_cropvlm")
CORE = (
    "test_box",
    "test_errors",
    "test_questions",
    "test_sources",
    "test_cropper",
    "test_zoom",
    "test_journal",
    "test_images",
    "test_scoring",
)


def core_files(*files: Path | str) -> subprocess.CompletedProcess[str]:
    """Run tests under ``-O`` and ``-W error::ResourceWarning``; pytest keeps their asserts."""
    command = [sys.executable, "-O", "-W", "error::ResourceWarning", "-m", "pytest", "-q", "-x"]
    command += ["-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.slow
def test_the_core_does_without_asserts_and_leaves_nothing_open() -> None:
    done = core_files(*(ROOT / "tests" / f"{name}.py" for name in CORE))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("assert 1 == 2", "assert 1 == 2"),
        ("from pathlib import Path; Path(__file__).open(); import gc; gc.collect()", "unclosed"),
        ("assert not __debug__", None),
    ],
    ids=["assert", "open file", "optimised"],
)
def test_what_is_wrong_is_seen(body: str, said: str | None, tmp_path: Path) -> None:
    """That the run above can fail at all."""
    file = tmp_path / "test_wrong.py"
    file.write_text(f"def test_it():\n    {body}\n")
    done = core_files(file, f"--rootdir={ROOT}", "-c", ROOT / "pyproject.toml")
    if said is None:
        assert done.returncode == 0, done.stdout
    else:
        assert done.returncode == 1
        assert said in done.stdout


def for_types_alone(node: ast.Assert) -> bool:
    """``x is not None`` or ``isinstance(x, ...)``: what a type checker cannot see by itself."""
    text = ast.unparse(node.test)
    return text.endswith(" is not None") or text.startswith("isinstance(")


def test_no_check_is_an_assert() -> None:
    """What ``-O`` takes away must not be what keeps hostile input out."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
            lines = [node.lineno for node in found if not for_types_alone(node)]
            assert not lines, f"{file.relative_to(ROOT)}: {lines}"
