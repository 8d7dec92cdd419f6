"""The fuzz targets: their seeds always, and new inputs for a while where atheris is installed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("CROPVLM_FUZZ_SECONDS") or (60 if os.environ.get("CI") else 6))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_get_nothing_out(name: str) -> None:
    found = seeds(name)
    assert found
    for data in [*found, b"", b"\0", b"\xff" * 40]:
        TARGETS[name](data)
        for length in range(0, len(data), max(1, len(data) // 7)):
            TARGETS[name](data[:length])


def test_an_escape_is_seen() -> None:
    """That a target can fail at all: its expectations are held against what it reads."""
    from fuzz import targets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "INSIDE", b"something else")
        with pytest.raises(AssertionError):
            targets.reference(b"a/b.png")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="missing: the package atheris")
def test_fuzzing_for_a_while_gets_nothing_out(tmp_path: Path) -> None:
    """Sixty seconds in all in the continuous integration."""
    found = tmp_path / "found"
    command = [sys.executable, "fuzz/run.py", "--seconds", str(SECONDS), "--found", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == list(TARGETS)
    assert all(int(row[2]) > 0 for row in rows), done.stdout
    assert not found.exists()
