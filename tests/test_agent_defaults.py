"""With no configuration an agent reads no file and opens no connection but to its model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.audited_agent import URL
from tests.chat_server import ChatServer
from tests.model_server import Call, answers, calls, zooms
from tests.programs import require_package

WANTED = (
    "/etc/passwd",
    "page.png",
    "../../secret.png",
    "file:///etc/passwd",
    URL,
    "http://127.0.0.1/",
    "http://169.254.169.254/latest/meta-data",
    "data:image/png;base64,AAAA",
)


def tries(number: int, image: object) -> Call:
    return Call("zoom", {"question": "What is the total?", "image": image}, f"c{number}")


def audited(framework: str, server: ChatServer) -> list[list[str]]:
    """What is opened and connected to, but the model's server."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.audited_agent", framework, server.url],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": "."},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    noted: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    mine = {f"('127.0.0.1', {urlsplit(server.url).port})", "127.0.0.1", "b'127.0.0.1'"}
    return [event for event in noted if event[1] not in mine]


@pytest.mark.parametrize("way", ["client", "proxy"])
def test_ways_into_an_app_read_nothing_by_default(way: str) -> None:
    for package in ("openai", *(("starlette", "uvicorn", "httpx") if way == "proxy" else ())):
        require_package(package)
    with ChatServer(answers("12.90")) as server:
        assert audited(way, server) == []
    assert len(server.requests) == 2
    for request in server.requests:  # references went on as they were, and the picture has its crop
        parts = request["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        assert urls[: len(WANTED)] == [*WANTED]
        assert len(urls) == len(WANTED) + 2


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_an_agent_call_reads_nothing_by_default(framework: str) -> None:
    require_package(
        {"langchain": "langchain_openai", "llamaindex": "llama_index.llms.openai"}[framework]
    )
    hostile = [tries(number, image) for number, image in enumerate(WANTED)]
    one_talk = [calls(*hostile), calls(zooms("What is the total?", 1, 99)), answers("12.90")]
    with ChatServer(*one_talk, *one_talk) as server:
        assert audited(framework, server) == []
    results = json.dumps(server.requests[-1])  # the model was told, and saw the crop it may see
    assert len(server.requests) == 6
    assert "Part of image 1 at full resolution" in results
    assert "root:" not in results


def test_the_mcp_server_reads_nothing_by_default() -> None:
    require_package("mcp")
    done = subprocess.run(
        [sys.executable, "-m", "tests.audited_agent", "mcp", "none"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_what_is_read_would_be_noted(tmp_path: Path) -> None:
    """The audit sees what the test above says is not there."""
    (tmp_path / "page.png").write_bytes(b"x")
    code = (
        "import sys\n"
        "from tests import audited_agent as a\n"
        "sys.addaudithook(a._note)\n"
        "from cropvlm_core.sources import read_reference\n"
        "from cropvlm_core.fetch.fetcher import Fetcher\n"
        "import ipaddress\n"
        "a._noting = True\n"
        f"read_reference('page.png', roots=[{str(tmp_path)!r}])\n"
        "try:\n"
        "    Fetcher()._connected(ipaddress.ip_address('127.0.0.1'), 9, 1)\n"
        "except OSError:\n"
        "    pass\n"
        "a._noting = False\n"
        "print(a._noted)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )
    assert "['open', 'page.png']" in done.stdout
    assert "['socket.connect', \"('127.0.0.1', 9)\"]" in done.stdout
