"""scripts/embedded_throughput.py: what it times is what the cropper does."""

import importlib
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image, ImageDraw

from cropvlm_core.questions import VisualQuestion


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    script = importlib.import_module("embedded_throughput")
    monkeypatch.setattr(script, "BATCH", 2)
    monkeypatch.setattr(
        script, "rendered", lambda most, _: (asked(number) for number in range(most))
    )
    return script


def asked(number: int) -> list[VisualQuestion]:
    """A page of rows of marks of small print, so that it is prepared twice."""
    page = Image.new("RGB", (900, 1200), "white")
    pen = ImageDraw.Draw(page)
    for top in range(60, 1140, 14):
        for left in range(60, 840, 9):
            pen.rectangle((left, top, left + 5, top + 4 + (left + number) % 3), fill="black")
    return [VisualQuestion(page, "What is the total?")]


def test_every_stage_is_found_and_together_they_are_all(script: Any) -> None:
    spent = dict(script.stages(None, None, 2))
    whole, rest = spent.pop("all"), spent.pop("the rest")
    assert all(spent.values()), spent
    assert rest > 0  # no stage is counted twice
    assert max(spent, key=spent.__getitem__) == "network"
    assert all(seconds < whole for seconds in spent.values())


def test_the_bare_network_runs_on_what_the_cropper_gave_it(script: Any) -> None:
    ours, floor = script.work(None, None, 2, 2, 0, threading.Barrier(1))
    assert len(ours.clock) == len(floor.clock) == 2
    assert min(floor.processor + ours.processor) > 0
    cropper = script.EmbeddedCropper(threads=1)
    watched = script.Watched(cropper)
    batch = script.batches(None, 2)[0]
    for _ in range(2):  # no page is found again
        watched.runs.clear()
        cropper.propose_batch(script.anew(batch))
        assert sum(len(feeds["pixels"]) for _, feeds in watched.runs) == 2
    with mock.patch.object(watched, "bare") as bare:
        watched.again()
    assert [call.args for call in bare.run.call_args_list] == watched.runs
    cropper.propose_batch(batch)
    assert not len(watched.runs[-1][1]["pixels"])


def test_too_few_pages_are_refused(script: Any) -> None:
    with pytest.raises(SystemExit, match="at least 2 pages, got 1"):
        script.batches(None, 1)
