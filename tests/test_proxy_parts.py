"""The proxy's parts alone: headers, the line, what is written, and what the command refuses."""

# ruff: noqa: E402
import argparse
import asyncio
import json
import random
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx"):
    require_package(package)

from hypothesis import given
from hypothesis import strategies as st

from cropvlm_core.cli import build_parser, main
from cropvlm_core.listening import listen, url_of
from cropvlm_core.proxy.gate import Gate
from cropvlm_core.proxy.headers import for_client, for_upstream
from cropvlm_core.proxy.refusals import RefusedError
from cropvlm_core.proxy.server import names_of
from cropvlm_core.proxy.settings import Settings
from cropvlm_core.proxy.writing import written
from tests.cli_calls import one_line_error, run

# headers


def test_headers_of_the_connection_stay_here() -> None:
    headers = [
        (b"Host", b"app"),
        (b"A", b"1"),
        (b"Connection", b"keep-alive, X-One ,x-two"),
        (b"connection", b"x-three"),
        (b"X-One", b"1"),
        (b"X-Two", b"2"),
        (b"x-three", b"3"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"Content-Length", b"5"),
        (b"a", b"2"),
    ]
    assert for_upstream(headers) == [(b"A", b"1"), (b"Content-Length", b"5"), (b"a", b"2")]
    assert for_upstream(headers, 9) == [(b"A", b"1"), (b"a", b"2"), (b"content-length", b"9")]
    assert for_client(headers) == [
        (b"host", b"app"),
        (b"a", b"1"),
        (b"expect", b"100-continue"),
        (b"content-length", b"5"),
        (b"a", b"2"),
    ]


def test_the_length_of_a_body_cannot_be_taken_away() -> None:
    headers = [(b"Connection", b"content-length"), (b"Content-Length", b"5")]
    assert for_upstream(headers) == [(b"Content-Length", b"5")]


# settings


@pytest.mark.parametrize(
    ("upstream", "origin", "prefix"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com", b""),
        ("https://api.openai.com/v1/", "https://api.openai.com", b""),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", b""),
        ("https://api.groq.com/openai/v1", "https://api.groq.com", b"/openai"),
        ("http://[::1]:8000/llm/", "http://[::1]:8000", b"/llm"),
        ("https://a/v10", "https://a", b"/v10"),
    ],
)
def test_where_an_upstream_is(upstream: str, origin: str, prefix: bytes) -> None:
    settings = Settings(upstream)
    assert (settings.origin, settings.prefix) == (origin, prefix)


@pytest.mark.parametrize(
    "upstream",
    [
        "",
        "api.openai.com/v1",
        "ftp://a/v1",
        "http:///v1",
        "http://a:b/v1",
        "http://a:0/v1",
        "http://[::1/v1",
        "http://user:key@a/v1",
        "http://a/v1?key=1",
        "http://a/v1#x",
        "http://a b/v1",
        "http://ä/v1",
        "http://a/\n",
    ],
)
def test_what_is_no_upstream(upstream: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"expected an upstream as http\(s\)://"):
        Settings(upstream)
    with pytest.raises(SystemExit) as ended:
        main(["proxy", "--upstream", upstream])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "expected an upstream" in told
    assert "user:key" not in told


def test_limits_are_above_zero() -> None:
    for name in ("workers", "max_requests", "queue", "max_body", "memory", "timeout"):
        limits: dict[str, Any] = {name: 0}
        with pytest.raises(ValueError, match=f"expected {name} above 0, got 0"):
            Settings("http://a", **limits)


def test_the_names_of_a_server() -> None:
    with listen("127.0.0.1", 0, waiting=8) as own, listen("0.0.0.0", 0, waiting=8) as all_of_it:
        local = ("127.0.0.1", "localhost", "[::1]")
        assert names_of(own, []) == local
        assert names_of(own, ["proxy.example"]) == (*local, "proxy.example")
        assert names_of(all_of_it, []) is None
        assert names_of(all_of_it, ["proxy.example"]) == (*local, "proxy.example")
        assert url_of(own) == f"http://127.0.0.1:{own.getsockname()[1]}"


def test_packets_are_sent_at_once() -> None:
    with listen("127.0.0.1", 0, waiting=8) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # what asyncio looks at


# the line


async def test_who_waits_is_let_in_in_order() -> None:
    gate = Gate(2, 100, 50, 5)
    came: list[int] = []

    async def visit(number: int) -> None:
        async with gate.inside(10):
            came.append(number)
            assert gate.inside_now <= 2
            await asyncio.sleep(0.001)

    await asyncio.gather(*map(visit, range(20)))
    assert came == list(range(20))
    assert (gate.inside_now, gate.waiting_now) == (0, 0)


async def test_a_large_one_is_not_overtaken_and_memory_is_given_back_early() -> None:
    gate = Gate(10, 100, 10, 5)
    came: list[str] = []
    go = asyncio.Event()

    async def visit(name: str, size: int) -> None:
        async with gate.inside(size) as place:
            came.append(name)
            place.free()
            place.free()  # the second time gives nothing
            await go.wait()

    async with gate.inside(60) as first:
        tasks = [asyncio.create_task(visit(*each)) for each in (("a", 50), ("b", 10), ("c", 999))]
        await asyncio.sleep(0.01)
        assert came == []  # b would fit, but a came first
        first.free()
        await asyncio.sleep(0.01)
        assert came == ["a", "b", "c"]  # c holds all there is
    go.set()
    await asyncio.gather(*tasks)
    async with gate.inside(100):
        assert gate.inside_now == 1


async def test_a_smaller_one_moves_up_when_a_large_one_stops_waiting() -> None:
    gate = Gate(10, 100, 10, 5)

    async def visit(size: int) -> int:
        async with gate.inside(size):
            return size

    async with gate.inside(60):
        large, small = asyncio.create_task(visit(50)), asyncio.create_task(visit(40))
        await asyncio.sleep(0.01)
        assert gate.waiting_now == 2
        large.cancel()
        assert await asyncio.wait_for(small, 1) == 40


async def test_a_full_line_and_a_slow_one() -> None:
    gate = Gate(1, 100, 1, 0.05)

    async def visit() -> None:
        async with gate.inside(1):
            raise AssertionError("let in")

    async with gate.inside(1):
        slow = asyncio.create_task(visit())
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as full:
            await visit()
        assert (full.value.status, full.value.code) == (429, "queue_full")
        with pytest.raises(RefusedError) as waited:
            await slow
        assert (waited.value.status, waited.value.code) == (503, "queue_slow")
    assert (gate.inside_now, gate.waiting_now) == (0, 0)


async def test_whoever_is_cancelled_at_whatever_moment_leaves_nothing_behind() -> None:
    gate = Gate(3, 1000, 1000, 0.02)
    chance = random.Random(0)
    inside = 0

    async def visit() -> None:
        nonlocal inside
        async with gate.inside(chance.randrange(400)):
            inside += 1
            assert inside <= 3
            try:
                await asyncio.sleep(chance.random() * 0.003)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(visit()) for _ in range(500)]
    for task in chance.sample(tasks, 250):
        await asyncio.sleep(0.0001)
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in ended if each} <= {asyncio.CancelledError, RefusedError}
    assert (gate.inside_now, gate.waiting_now) == (0, 0)
    async with gate.inside(1000):  # all memory is there
        pass


# what is written


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_json)
def test_written_is_json(value: Any) -> None:
    assert written(value) == json.dumps(value, separators=(",", ":")).encode()


def test_long_texts_are_written_in_slices_that_fit_together() -> None:
    odd = '"\\\n\ud800é\U0001f600,{}cropvlm-'
    long = [odd * 60_000, "a" * (2**18 + 1), odd * 40_000]
    value = {"a": long[0], "b": [1, {"c": long[1]}, "short", odd], odd: (long[2],)}
    assert written(value) == json.dumps(value, separators=(",", ":")).encode()


# the command


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("proxy", "--upstream", "http://a", "--port", port, "--cropper", "whole") == 2
    assert "expected a free address to listen on" in one_line_error(capsys)


def test_a_cropper_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("proxy", "--upstream", "http://a", "--cropper", "nonsense") == 2
    assert "expected a cropper" in one_line_error(capsys)


def test_without_the_extra_one_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("proxy", "--upstream", "http://a") == 2
    assert "pip install 'cropvlm[proxy]'" in one_line_error(capsys)


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--port", "x"], ["--queue", "0"], ["--timeout", "nan"]]
)
def test_odd_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["proxy", "--upstream", "http://a", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_guide_names_every_option_and_every_code() -> None:
    root = Path(__file__).parents[1]
    guide = (root / "docs" / "proxy.md").read_text(encoding="utf-8")
    (proxy,) = (
        parser
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, parser in action.choices.items()
        if name == "proxy"
    )
    options = {option for action in proxy._actions for option in action.option_strings}
    named = set(re.findall(r"--[a-z][a-z-]+", guide))
    assert options - {"-h", "--help"} <= named
    sources = (root / "cropvlm_core" / "proxy").glob("*.py")
    refused = r"RefusedError\(\s*[0-9]{3}, \"([a-z_]+)\""
    codes = {
        code for file in sources for code in re.findall(refused, file.read_text(encoding="utf-8"))
    }
    assert len(codes) > 8
    of_zoom = {"bad_json", "bad_method", "timeout"}
    assert {code for code in codes - of_zoom if f"`{code}`" not in guide} == set()
