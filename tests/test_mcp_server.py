"""The MCP server as clients meet it: in this process, on stdin and stdout, and over HTTP."""

# ruff: noqa: E402
import asyncio
import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.programs import absent, require_package

require_package("mcp")

import anyio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server.lowlevel import Server
from mcp.types import CallToolResult

from cropvlm_core import __version__
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.images import to_data_uri
from cropvlm_core.listening import listen
from cropvlm_core.mcp_server import calls as mcp_calls
from cropvlm_core.mcp_server.calls import MOST_CALLS, Calls
from cropvlm_core.mcp_server.http import BODY_BYTES
from cropvlm_core.mcp_server.server import build_server
from cropvlm_core.mcp_server.tools import ImageTools
from cropvlm_core.prompts import LOOK_TOOL, ZOOM_TOOL
from cropvlm_core.sources import Allowed
from cropvlm_core.zoom import ZoomPipeline
from tests.bad_input import huge_png
from tests.cli_calls import one_line_error, run
from tests.documents import commands, is_ours
from tests.model_server import decoded
from tests.pages import MIDDLE, middle_of, noise, png_of, same

ROOT = Path(__file__).parents[1]
MODES = ("auto", "legacy")
ASKED = {"image": "page.png", "question": "What is the total?"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.png").write_bytes(png_of(noise()))
    return folder


def server_of(root: Path | None, cropper: Cropper | None = None, **options: Any) -> Server[Calls]:
    allowed = Allowed.of(None if root is None else [root], False)
    return build_server(
        ImageTools(ZoomPipeline(cropper or FixedCropper(MIDDLE)), allowed), **options
    )


def images(result: CallToolResult) -> list[Any]:
    return [decoded(part.data) for part in result.content if part.type == "image"]


def text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


# In this process


@pytest.mark.parametrize("mode", MODES)
async def test_the_two_tools_are_declared(root: Path, mode: str) -> None:
    async with Client(server_of(root), mode=mode) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("cropvlm", __version__)
        zoom, look = (await client.list_tools()).tools
    assert (zoom.name, zoom.title, zoom.description) == ("zoom", "Zoom into an image", ZOOM_TOOL)
    assert (look.name, look.title, look.description) == ("look", "Look at a whole image", LOOK_TOOL)
    for tool in (zoom, look):
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.annotations is not None
        hints = tool.annotations.model_dump(exclude_none=True)
        assert hints == {
            "read_only_hint": True,
            "destructive_hint": False,
            "idempotent_hint": True,
            "open_world_hint": False,
        }
        assert set(tool.input_schema["properties"]) == {"image", "question", "page", "max_crops"}
        assert "path of an image file" in tool.input_schema["properties"]["image"]["description"]
        assert tool.output_schema is None
        assert str(root) not in tool.model_dump_json()
    assert zoom.input_schema["required"] == ["image", "question"]
    assert look.input_schema["required"] == ["image"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_answers_words_and_the_crop(root: Path, mode: str) -> None:
    async with Client(server_of(root), mode=mode) as client:
        result = await client.call_tool("zoom", ASKED)
        looked = await client.call_tool("look", {"image": "page.png"})
    assert [part.type for part in result.content] == ["text", "image"]
    assert text(result) == (
        "Part of 'page.png' at full resolution, from 25% to 75% of its width and 25% to 75% of its "
        "height. 100 x 150 pixels."
    )
    assert same(images(result)[0], middle_of(decoded_file(root / "page.png")))
    assert not result.is_error
    assert result.structured_content is None  # several clients would show nothing else
    assert same(images(looked)[0], decoded_file(root / "page.png"))


def decoded_file(file: Path) -> Any:
    return decoded(base64.b64encode(file.read_bytes()).decode())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["zoom", "look"])
async def test_programs_may_have_the_figures(root: Path, mode: str, name: str) -> None:
    async with Client(server_of(root, structured=True), mode=mode) as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        result = await client.call_tool(name, ASKED)  # the client checks it against the schema
        page = await client.call_tool("look", {"image": "page.png"})
    told = result.structured_content
    schema = schemas[name]
    assert schema is not None
    Draft202012Validator(schema).validate(told)
    Draft202012Validator(schema).validate(page.structured_content)
    assert told["crops"][0]["pixels"] == [50, 75, 150, 225]
    assert (told["page"], told["pages"], told["zoomed"]) == (1, 1, True)
    assert len(images(result)) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "expected image as text"),
        ({"image": 5, "question": "x"}, "expected image as text, got 5"),
        ({"image": "../secret.png", "question": "x"}, "expected a path without '..'"),
        ({"image": "/etc/passwd", "question": "x"}, "under the allowed folders"),
        ({"image": "http://127.0.0.1/", "question": "x"}, "URLs are off"),
        ({"image": "page.png", "question": "x", "page": 2}, "page 1, the only one"),
        ({"image": "bomb.png", "question": "x"}, "at most 50 megapixels"),
        ({"image": "w" * 10_000_000, "question": "x"}, "at most 4096 characters"),
        ({"image": "page.png", "question": "x", "nonsense": [[]] * 1000}, "got 'nonsense'"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_goes_wrong_comes_back_as_a_result(
    root: Path, mode: str, arguments: dict[str, Any], words: str
) -> None:
    (root / "bomb.png").write_bytes(huge_png(20_000, 10_000))
    async with Client(server_of(root), mode=mode) as client:
        result = await client.call_tool("zoom", arguments)
    assert result.is_error
    assert text(result).startswith("zoom failed: expected")
    assert words in text(result)
    assert "\n" not in text(result)
    assert str(root) not in text(result)
    assert images(result) == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_fault_of_our_own_is_logged_and_not_told(
    root: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Cropper):
        name = "broken"

        def propose_batch(self, questions: Any) -> list[Proposal]:
            raise ZeroDivisionError("a secret of the server")

    async with Client(server_of(root, Broken()), mode=mode) as client:
        result = await client.call_tool("zoom", ASKED)
    assert result.is_error
    assert text(result) == "zoom failed: an internal error, told in the server's log"
    assert "a secret of the server" in caplog.text


@pytest.mark.parametrize("mode", MODES)
async def test_another_tool_is_an_error_of_the_protocol(root: Path, mode: str) -> None:
    async with Client(server_of(root), mode=mode) as client:
        with pytest.raises(MCPError, match="Unknown tool: 'nonsense'"):
            await client.call_tool("nonsense", {})


class Waiting(Cropper):
    """Waits until it may go on; counts who came and who was done."""

    name = "waiting"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.come = 0
        self.done = 0

    def propose_batch(self, questions: Any) -> list[Proposal]:
        self.come += 1
        assert self.go.wait(30)
        self.done += 1
        return [Proposal((MIDDLE,)) for _ in questions]


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_ends_at_its_deadline(root: Path, mode: str) -> None:
    cropper = Waiting()
    async with Client(server_of(root, cropper, seconds=0.5), mode=mode) as client:
        started = time.monotonic()
        result = await client.call_tool("zoom", ASKED)
        assert time.monotonic() - started < 10
        cropper.go.set()
    assert result.is_error
    assert text(result) == "zoom failed: expected an answer within 0.5 s, got none yet"


@pytest.mark.parametrize("mode", MODES)
async def test_calls_are_bounded_and_cancelling_frees_those_that_wait(
    root: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_calls, "AT_ONCE", 2)
    monkeypatch.setattr(mcp_calls, "MOST_CALLS", 5)
    cropper = Waiting()
    async with Client(server_of(root, cropper), mode=mode) as client:
        async with anyio.create_task_group() as crowd:
            for _ in range(5):
                crowd.start_soon(client.call_tool, "zoom", ASKED)
            await until(lambda: cropper.come == 2)
            refused = await client.call_tool("zoom", ASKED)
            assert text(refused) == (
                "zoom failed: expected at most 5 calls at a time; call again later"
            )
            crowd.cancel_scope.cancel()
        # three never began; two are at work until their work ends, and count until then
        kept: list[CallToolResult] = []

        async def ask() -> None:
            kept.append(await client.call_tool("zoom", ASKED))

        async with anyio.create_task_group() as crowd:
            await asyncio.sleep(0.2)
            for _ in range(3):
                crowd.start_soon(ask)
            await asyncio.sleep(0.2)
            assert (cropper.come, len(kept)) == (2, 0)
            cropper.go.set()
        assert [result.is_error for result in kept] == [False] * 3
        assert (cropper.come, cropper.done) == (5, 5)


async def test_many_cancels_leave_nothing_behind() -> None:
    calls = Calls(60)
    go = threading.Event()
    held = [asyncio.create_task(calls.run(go.wait)) for _ in range(mcp_calls.AT_ONCE)]
    await asyncio.sleep(0.05)
    for _ in range(1000):
        task = asyncio.create_task(calls.run(lambda: None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert calls._calls <= MOST_CALLS
    go.set()
    await asyncio.gather(*held)
    await until(lambda: calls._calls == 0)
    assert calls._threads._work_queue.qsize() <= MOST_CALLS
    await calls.run(lambda: None)
    calls.close()


# On stdin and stdout


def program() -> str:
    """The installed command."""
    found = shutil.which("cropvlm", path=str(Path(sys.executable).parent))
    return found or absent("the command cropvlm")


def started(*words: object) -> Any:
    arguments = ["mcp", "--cropper", "centre", *map(str, words)]
    return stdio_client(StdioServerParameters(command=program(), args=arguments))


@pytest.mark.parametrize("mode", MODES)
async def test_the_command_serves_a_client(root: Path, mode: str) -> None:
    async with Client(started("--roots", root), mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["zoom", "look"]
        result = await client.call_tool("zoom", ASKED)
        assert same(images(result)[0], middle_of(decoded_file(root / "page.png")))
        refused = await client.call_tool("zoom", ASKED | {"image": "/etc/passwd"})
        assert refused.is_error
        data = await client.call_tool("zoom", ASKED | {"image": to_data_uri(noise())})
        assert images(data)[0].size == (100, 150)


def talk(process: "subprocess.Popen[bytes]", *messages: object) -> list[dict[str, Any]]:
    """Send messages, one a line, and close stdin once the last is answered.

    Everything on stdout must be the protocol.
    """
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages]
    (*_, last) = (one["id"] for one in messages if isinstance(one, dict) and "id" in one)
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None
    assert stdout is not None
    assert stderr is not None

    def send() -> None:
        stdin.write(b"\n".join([*lines, b""]))
        stdin.flush()

    asking = threading.Thread(target=send)
    late = threading.Timer(60, process.kill)
    with process:
        asking.start()
        late.start()
        out = []
        for line in stdout:
            out.append(line)
            if json.loads(line).get("id") == last:
                break
        asking.join()
        stdin.close()
        out += stdout.readlines()
        err = stderr.read()
    late.cancel()
    assert process.returncode == 0, err
    told = [json.loads(line) for line in out]
    assert all(message["jsonrpc"] == "2.0" for message in told)
    assert b"Traceback" not in b"".join(out)
    return told


def popen(*words: object, **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [program(), "mcp", "--cropper", "centre", *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


def test_nothing_but_the_protocol_is_on_stdout(root: Path) -> None:
    (root / "broken.tif").write_bytes(b"II*\0\x08\0\0\0" + bytes(90))  # libtiff prints of such
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        for number, params in enumerate(
            [
                {"name": "zoom", "arguments": {"image": "broken.tif", "question": "x"}},
                {"name": "zoom", "arguments": []},
                {"name": 7},
                {"name": "zoom", "arguments": {"image": "w" * 10_000_000, "question": "x"}},
            ],
            2,
        )
    ]
    told = talk(
        popen("--roots", root),
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        b"this is no JSON",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        {"jsonrpc": "2.0", "id": 90, "method": "nonsense"},
        *calls,
        {"jsonrpc": "2.0", "id": 99, "method": "ping"},
    )
    by_id = {message.get("id"): message for message in told}
    assert by_id[1]["result"]["serverInfo"]["name"] == "cropvlm"
    assert by_id[99]["result"] == {}
    assert by_id[90]["error"]["code"] == -32601
    for number in (3, 4):
        assert "error" in by_id[number]
    for number in (2, 5):
        if number in by_id:  # a call may be cut short by the end of stdin
            assert str(root) not in json.dumps(by_id[number])


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_it_at_once(sent: signal.Signals, code: int) -> None:
    process = popen()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    assert b"serverInfo" in process.stdout.readline()
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err == (b"cropvlm: interrupted\n" if code == 130 else b"")


def test_a_client_that_leaves_ends_it() -> None:
    assert talk(popen(), INITIALIZE)[0]["id"] == 1


def test_a_client_that_dies_ends_it_without_a_word() -> None:
    with popen() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(json.dumps(INITIALIZE | {"id": 2, "method": "ping"}).encode() + b"\n")
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


# Over HTTP


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a server of the installed command, and its root."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "page.png").write_bytes(png_of(noise()))
    process = popen("--roots", folder, "--http", "127.0.0.1:0", "--allow-host", "crops.example")
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    found = re.fullmatch(r"cropvlm: serving MCP at (http://127\.0\.0\.1:\d+/mcp)\n", line)
    assert found is not None, line
    try:
        yield found[1], folder
    finally:
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGTERM  # after the server ended in its own way


@pytest.mark.parametrize("mode", MODES)
async def test_the_command_serves_over_http(served: tuple[str, Path], mode: str) -> None:
    url, folder = served
    async with Client(url, mode=mode) as client:
        result = await client.call_tool("zoom", ASKED)
        assert same(images(result)[0], middle_of(decoded_file(folder / "page.png")))
        refused = await client.call_tool("zoom", ASKED | {"image": "/etc/passwd"})
        assert refused.is_error
        large = await client.call_tool("zoom", ASKED | {"image": "data:" + "w" * 10_000_000})
        assert text(large) == "zoom failed: expected data:image/...;base64,..., got 'data:...'"


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=20)
    sent = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    } | headers
    try:
        connection.request("POST", at.path, body, sent)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "crops.example"}, 200),
        ({"Origin": "http://localhost:6274"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost.evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
    ids=str,
)
def test_web_pages_of_others_do_not_get_through(
    served: tuple[str, Path], headers: dict[str, str], status: int
) -> None:
    assert post(served[0], json.dumps(INITIALIZE).encode(), headers) == status


def test_a_body_that_is_too_long_is_refused(served: tuple[str, Path]) -> None:
    assert post(served[0], b"", {"Content-Length": str(BODY_BYTES + 1)}) == 413
    largest = INITIALIZE | {"padding": "w" * (BODY_BYTES - 2**20)}
    assert post(served[0], json.dumps(largest).encode(), {}) == 200


def test_it_says_that_it_is_healthy(served: tuple[str, Path]) -> None:
    at = urlsplit(served[0])
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=20)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"ok\n")
    connection.close()


def test_an_address_that_is_taken_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0, waiting=8) as taken:
        port = taken.getsockname()[1]
        assert run("mcp", "--http", f"127.0.0.1:{port}", "--cropper", "centre") == 2
    told = f"expected a free address to listen on, got 127.0.0.1:{port}: Address already in use"
    assert told in one_line_error(capsys)


# The command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--roots", "nowhere"], "expected a folder for --roots, got 'nowhere'"),
        (["--cropper", "nonsense"], "expected a cropper"),
    ],
)
def test_what_cannot_be_served_is_told_before_it_is_served(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mcp", *words) == 2
    assert told in one_line_error(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["--http", "host"],
        ["--http", "1.2.3.4:99999"],
        ["--http", "http://localhost:80"],
        ["--allow-host", "a b"],
        ["--answer-size", "10"],
        ["--timeout", "0"],
        ["--roots"],
    ],
    ids=str,
)
def test_options_that_are_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run("mcp", *words)
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http", "server"):
        monkeypatch.delitem(sys.modules, f"cropvlm_core.mcp_server.{name}", raising=False)
        monkeypatch.delattr(f"cropvlm_core.mcp_server.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "mcp.server.lowlevel", None)
    assert run("mcp") == 2
    assert "the MCP server needs an extra package: pip install 'cropvlm[mcp]'" in (
        one_line_error(capsys)
    )


# Our documents


def in_document(name: str, language: str) -> list[str]:
    found = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", found, re.DOTALL | re.MULTILINE)


def test_the_snippets_for_clients_start_our_command() -> None:
    snippets = [json.loads(block) for block in in_document("docs/mcp.md", "json")]
    snippets += [json.loads(block) for block in in_document("README.md", "json")]
    snippets += [tomllib.loads(block) for block in in_document("docs/mcp.md", "toml")]
    assert [next(iter(one)) for one in snippets] == [
        "mcpServers",
        "servers",
        "mcpServers",
        "mcp_servers",
    ]
    for snippet in snippets:
        (servers,) = snippet.values()
        (settings,) = servers.values()
        assert Path(settings["command"]).name == "cropvlm"
        assert is_ours(settings["args"], whole=True)


def test_the_commands_in_the_document_are_ours() -> None:
    named = list(commands(ROOT / "docs" / "mcp.md"))
    assert len(named) >= 3
    for words, whole in named:
        assert is_ours(words, whole=whole), words


async def test_the_server_in_the_document_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = in_document("docs/mcp.md", "python")
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102 - our own document
    async with Client(made["server"]) as client:
        asked = {"image": "receipt.png", "question": "What is the total?"}
        assert not (await client.call_tool("zoom", asked)).is_error
