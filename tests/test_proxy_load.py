"""scripts/proxy_load.py runs against the proxy as it is."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx"):
    require_package(package)


def test_the_load_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    script = importlib.import_module("proxy_load")
    monkeypatch.setattr(script, "REQUESTS", 3)
    monkeypatch.setattr(script, "QUEUE", 1)
    words = ["--seconds", "0.02", "--clients", "2", "--answer-ms", "1"]
    monkeypatch.setattr(sys, "argv", ["proxy_load.py", *words])
    script.main()
    told = capsys.readouterr().out
    assert [line.split()[1] for line in told.splitlines()[2:5]] == ["no", "image,", "image,"]
    assert "40 at once: " in told
    assert "lost: 0" in told
