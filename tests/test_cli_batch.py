"""``cropvlm batch``: what it prints, and how it ends when it is told to, or killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.images import open_image
from tests.bulk_croppers import HARMS, page
from tests.chat_server import ChatServer, says
from tests.cli_calls import one_line_error, run
from tests.programs import require_package

COMMAND = (sys.executable, "-c", "from cropvlm_core.cli import main; raise SystemExit(main())")
SLOWLY = (
    "import sys\n"
    "from cropvlm_core.bulk import zoom_pages\n"
    "from tests.bulk_croppers import slow\n"
    "zoom_pages(sys.argv[1], ['What?'], out=sys.argv[2], cropper=slow, workers=2)\n"
)
ASK = ("--question", "What is the total?", "--cropper", "centre")


def rows(out: Path) -> list[dict[str, Any]]:
    with (out / "rows.jsonl").open() as stream:
        return [json.loads(line) for line in stream]


def lines(out: Path) -> int:
    file = out / "rows.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def pages(folder: Path, count: int) -> Path:
    for number in range(count):
        page(folder / f"{number // 50}" / f"{number}.png", number)
    return folder


def workers_of(process: int) -> list[int]:
    """The processes below a process, at any depth."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *workers_of(child)]
    return found


def state(process: int) -> str:
    """R, S, T (stopped), Z (dead) ... as the kernel calls it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def alive(process: int) -> bool:
    return state(process) != "Z"


def gone(processes: list[int]) -> bool:
    """Whether they all end soon: those that decode hear a little later that nobody listens."""
    end = time.monotonic() + 20
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, processes))


def test_tells_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = pages(tmp_path / "pages", 2), tmp_path / "out"
    (data / "letter.png").write_text("Dear reader")
    assert run("batch", data, *ASK, "--question", "Who?", "--out", out, "--workers", 1) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"{out}: 6 rows: 4 ok (4 with a crop), 2 failed; 6 in 0:0")
    assert told.err == ""
    assert run("batch", data, *ASK, "--out", out, "--json") == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report.pop("seconds") > 0
    assert report == {
        "rows": 6,
        "ok": 4,
        "zoomed": 4,
        "failed": 2,
        "quarantined": 0,
        "fresh": 0,
        "missing": 0,
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere", *ASK], "expected a folder of pages"),
        (["pages"], "expected questions to put"),
        (["pages", "--question", " "], "expected a question"),
        (["pages", "--question", "What?", "--cropper", "nonsense"], "expected a cropper"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pages(tmp_path / "pages", 1)
    assert run("batch", *words, "--out", "out") == 2
    assert expected in one_line_error(capsys)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "cropvlm: interrupted"), (signal.SIGTERM, 143, "goes on there\n")],
)
def test_told_to_stop_it_leaves_whole_rows_and_no_process(
    number: int, code: int, words: str, tmp_path: Path
) -> None:
    data, out = pages(tmp_path / "pages", 150), tmp_path / "out"
    command = [*COMMAND, "batch", str(data), *ASK, "--out", str(out), "--workers", "2"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        while lines(out) < 5:
            assert job.poll() is None
            time.sleep(0.01)
        workers = workers_of(job.pid)
        os.killpg(job.pid, number)  # as a terminal does: its workers hear it too
        _, told = job.communicate(timeout=30)
    assert job.returncode == code
    assert "Traceback" not in told
    assert f"rows are kept in {out}; the same command goes on there" in told
    assert words in told
    there = lines(out)
    assert len(rows(out)) == there < 150
    assert workers
    assert gone(workers)
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    names = [row["image"] for row in rows(out)]
    assert len(names) == len(set(names)) == 150


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux tells of processes there")
def test_killed_at_random_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    data, out = pages(tmp_path / "pages", 80), tmp_path / "out"
    dice = random.Random(0)
    command = [sys.executable, "-c", SLOWLY, str(data), str(out)]
    for mark in (1, 20, 45):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as job:
            while lines(out) < mark:
                assert job.poll() is None
                time.sleep(dice.uniform(0.001, 0.01))
            workers = workers_of(job.pid)
            job.kill()
        assert gone(workers)
    assert subprocess.run(command, check=False).returncode == 0
    found = rows(out)
    names = [row["image"] for row in found]
    assert len(names) == len(set(names)) == 80
    assert {row["status"] for row in found} == {"ok"}
    files = {file.name for file in (out / "crops").iterdir()}
    assert files == {Path(row["crops"][0]["file"]).name for row in found}
    for row in found:
        assert open_image(out / row["crops"][0]["file"]).size == tuple(row["crops"][0]["size"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a minute")
def test_a_killed_job_takes_a_worker_along_that_does_not_move(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "stops.png", HARMS["lime"])
    code = SLOWLY.replace("slow", "TouchyCropper")
    command = [sys.executable, "-c", code, str(tmp_path / "pages"), str(tmp_path / "out")]
    with subprocess.Popen(command) as job:
        while not any(state(worker) == "T" for worker in workers_of(job.pid)):
            assert job.poll() is None
            time.sleep(0.05)
        workers = workers_of(job.pid)
        job.kill()
    assert gone(workers)


def test_progress_in_a_terminal_is_a_living_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cropvlm_core.cli.living_line._LIVING_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    data = pages(tmp_path / "pages", 2)
    assert run("batch", data, *ASK, "--out", tmp_path / "out", "--workers", 1) == 0
    told = capsys.readouterr().err
    assert "\n" not in told
    assert told.startswith("\r\x1b[K1 of 2, ")
    assert told.endswith(" to go\r\x1b[K")


def test_progress_without_a_terminal_is_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cropvlm_core.cli.living_line._PLAIN_SECONDS", 0.0)
    data = pages(tmp_path / "pages", 3)
    assert run("batch", data, *ASK, "--out", tmp_path / "out", "--workers", 1) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert told[0].startswith("1 of 3, ")
    assert told[2].endswith(" a second, 0:00 to go")


def test_a_served_cropper_is_held_to_a_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_package("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with ChatServer(says("[10, 20, 60, 70]")) as server:
        words = ["batch", pages(tmp_path / "pages", 2), "--question", "What?", "--workers", 1]
        words += ["--cropper", f"openai:m@{server.url}", "--notation", "percent"]
        assert run(*words, "--constrain", "vllm", "--out", tmp_path / "out") == 0
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", "ok"]
    assert all("regex" in request["structured_outputs"] for request in server.requests)
    assert len(server.requests) == 3  # each worker tries the cropper first
