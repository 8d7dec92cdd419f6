"""What every command has in common: exit codes, one line a complaint, streams, start-up."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cropvlm_core import __version__
from cropvlm_core.cli import main
from tests import bad_input
from tests.chat_server import ChatServer, Exchange, fails, hangs
from tests.cli_calls import one_line_error, run


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize(
    "case",
    [
        "missing file",
        "directory",
        "empty file",
        "text",
        "truncated",
        "200 megapixels",
        "URL",
        "empty question",
        "blank question",
        "endless question",
    ],
)
def test_bad_input_is_one_line_and_code_2(
    case: str, json_too: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_input.table(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    words = ["--cropper", "centre", "-o", tmp_path / "out.png", *json_too]
    assert run("zoom", bad.image, bad.question, *words) == 2
    message = one_line_error(capsys)
    assert [word for word in bad.words if word not in message] == []
    assert sorted(tmp_path.iterdir()) == before
    assert run("ask", bad.image, bad.question, "--model", "constant:x", *json_too) == 2
    assert one_line_error(capsys) == message


def test_every_kind_of_bad_input_is_tried(tmp_path: Path) -> None:
    cases = test_bad_input_is_one_line_and_code_2.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert sorted(cases) == sorted(bad_input.table(tmp_path))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "COMMAND"),
        (["zoom"], "IMAGE"),
        (["zoom", "page.png"], "QUESTION"),
        (["ask", "page.png", "What?"], "--model"),
        (["zoom", "page.png", "What?", "--max-crops", "0"], "above 0, got '0'"),
        (["zoom", "page.png", "What?", "--max-crops", "many"], "above 0, got 'many'"),
        (["evaluate", ".", "--limit", "-1"], "above 0, got '-1'"),
        (["dance"], "dance"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert expected in told


def test_a_failing_server_is_code_1(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(fails(404, "no such\nmodel")) as server:
        spec = f"openai:m@{server.url}"
        assert run("ask", page, "What?", "--cropper", "centre", "--model", spec) == 1
        assert "HTTP 404" in one_line_error(capsys)
        assert run("zoom", page, "What?", "--cropper", spec) == 1
        assert "HTTP 404" in one_line_error(capsys)


def test_a_missing_extra_is_code_2_and_one_command(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    assert run("ask", page, "What?", "--model", "openai:m") == 2
    assert "pip install 'cropvlm[api]'" in one_line_error(capsys)


def test_interrupted_is_code_130(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cropvlm_core.zoom.ZoomPipeline.zoom_batch", interrupt)
    assert run("zoom", page, "What?", "--cropper", "centre") == 130
    assert capsys.readouterr().err == "cropvlm: interrupted\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"cropvlm {__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from cropvlm_core.cli import build_parser\n"
        "build_parser().format_help()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "argparse" in loaded
    heavy = {"PIL", "numpy", "onnxruntime", "torch", "openai", "transformers", "asyncio"}
    assert heavy.isdisjoint(loaded)


PROGRAM = [sys.executable, "-c", "import sys; from cropvlm_core.cli import main; sys.exit(main())"]


def test_in_a_process_of_its_own(page: Path) -> None:
    """Output in an encoding that lacks the letters, exit codes, no traceback."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}

    def start(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*PROGRAM, *words], capture_output=True, env=environment, check=False, timeout=60
        )

    done = start("ask", str(page), "合計は？", "--model", "constant:¥12", "--cropper", "centre")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"\\xa512\n"
    failed = start("zoom", str(page.with_name("näher.png")), "What?")
    assert failed.returncode == 2
    assert failed.stderr.startswith(b"cropvlm: error: ")
    assert failed.stderr.count(b"\n") == 1
    told = start("zoom", str(page), "合計は？", "--cropper", "centre", "--json")
    assert json.loads(told.stdout)["question"] == "合計は？"


def test_a_closed_pipe_is_quiet(page: Path) -> None:
    words = ["zoom", str(page), "What?", "--cropper", "centre"]
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_interrupting_a_waiting_process(page: Path) -> None:
    arrived = threading.Event()

    def wait(exchange: Exchange) -> None:
        arrived.set()
        hangs()(exchange)

    with ChatServer(wait) as server:
        words = ["ask", str(page), "What?", "--model", f"openai:m@{server.url}", "--no-zoom"]
        with subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE) as process:
            try:
                assert arrived.wait(60)
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 130
            finally:
                process.kill()
            assert process.stderr is not None
            assert process.stderr.read() == b"cropvlm: interrupted\n"
