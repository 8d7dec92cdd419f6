"""The proxy under faults and load: upstreams that fail, clients that leave, limits, shutdown."""

# ruff: noqa: E402
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx", "openai"):
    require_package(package)

import httpx
from openai import APIStatusError, OpenAI

from cropvlm_core.proxy.settings import MIB
from cropvlm_core.zoom import ZoomPipeline
from tests.chat_server import ChatServer, cuts, says
from tests.model_server import pictures
from tests.openai_talk import chat_message, showed
from tests.pages import CountingCropper, middle_of, noise
from tests.proxies import RawUpstream, RunningProxy, holds, plain

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


def body(text: str = "Total?") -> bytes:
    return json.dumps({"messages": [chat_message(text, noise())]}).encode()


def test_an_upstream_that_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RunningProxy(f"http://127.0.0.1:{port}/v1") as proxy:
        response = httpx.post(f"{proxy.url}/chat/completions", content=body())
        assert response.status_code == 502
        assert response.headers["x-cropvlm"] == "error=upstream_unreachable"
        error = response.json()["error"]
        assert error["code"] == "upstream_unreachable"
        assert str(port) not in error["message"]
        proxy.until(requests=0)


def test_an_upstream_that_hangs_or_breaks_off() -> None:
    def silent(connection: socket.socket) -> None:
        connection.recv(1)  # until the proxy closes it

    def half(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200")

    for answer, status, code in (
        (silent, 504, "upstream_silent"),
        (half, 502, "upstream_broken"),
        (b"", 502, "upstream_broken"),
        (b"nonsense\r\n\r\n", 502, "upstream_broken"),
        (plain(b"", "700 Odd"), 502, "upstream_broken"),
    ):
        with RawUpstream(answer) as upstream, RunningProxy(upstream.url, timeout=0.5) as proxy:
            began = time.monotonic()
            response = httpx.post(f"{proxy.url}/chat/completions", content=body())
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
            assert time.monotonic() - began < 5


def test_an_answer_that_breaks_off_breaks_off_for_the_client_too() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"

    def stalls(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        connection.recv(1)

    for answer in (CHUNKED, short, CHUNKED + b"zz\r\n", stalls):
        with RawUpstream(answer) as upstream, RunningProxy(upstream.url, timeout=0.5) as proxy:
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(f"{proxy.url}/chat/completions", content=body())
            proxy.until(requests=0)
    with ChatServer(cuts()) as server, RunningProxy(server.url) as proxy:
        with OpenAI(api_key="x", base_url=proxy.url, max_retries=0) as app:
            with pytest.raises(Exception, match=r"peer closed|incomplete|Connection error"):
                app.chat.completions.create(
                    model="m",
                    messages=[chat_message("?!", noise())],  # type: ignore[list-item]
                )


@pytest.mark.parametrize("begun", [b"", CHUNKED])
def test_a_client_that_leaves_ends_the_request_upstream(begun: bytes) -> None:
    with RawUpstream(b"") as upstream, RunningProxy(upstream.url) as proxy:
        upstream.answers = [holds(upstream, begun)]
        with _connection(proxy) as connection:
            data = body()
            connection.sendall(_post("/v1/chat/completions", len(data)) + data)
            proxy.until(requests=1)
            if begun:
                assert connection.recv(5) == b"HTTP/"
            else:
                while not upstream.received:
                    time.sleep(0.01)
            assert not upstream.gone.is_set()
        assert upstream.gone.wait(3)
        proxy.until(requests=0)


def test_a_client_that_leaves_while_it_sends_or_is_zoomed_for_sends_nothing() -> None:
    go = threading.Event()

    class Held(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            assert go.wait(60)
            return super().propose_batch(questions)

    with RawUpstream(plain(b"{}")) as upstream:
        with RunningProxy(upstream.url, ZoomPipeline(Held()), zoom_seconds=60) as proxy:
            data = body()
            for path, size, sent in (
                ("/v1/chat/completions", len(data), data[:1000]),
                ("/v1/chat/completions", len(data), data),
                ("/v1/files", 5000, b"a" * 1000),  # passed on as it comes
            ):
                with _connection(proxy) as connection:
                    connection.sendall(_post(path, size) + sent)
                    proxy.until(requests=1)
                proxy.until(requests=0)
            go.set()
    assert all(len(each.body) < 5000 for each in upstream.received)


def test_a_client_that_does_not_read_is_given_up() -> None:
    def floods(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(bytes(100_000))

    with RawUpstream(floods) as upstream, RunningProxy(upstream.url, send_seconds=0.5) as proxy:
        with _connection(proxy) as connection:
            connection.sendall(b"GET /v1/files/1/content HTTP/1.1\r\nHost: a\r\n\r\n")
            proxy.until(requests=1)
            proxy.until(requests=0)
            assert upstream.gone.wait(3)


def test_ten_times_the_limit_all_end_in_an_answer_or_a_429_and_none_is_lost() -> None:
    """4 at once and 6 in line; 100 come."""
    with ChatServer(says("a", after=0.05)) as server:
        with RunningProxy(server.url, max_requests=4, queue=6) as proxy:
            url = f"{proxy.url}/chat/completions"
            data = body()
            with ThreadPoolExecutor(100) as pool, httpx.Client(timeout=30) as client:
                done = [pool.submit(client.post, url, content=data) for _ in range(100)]
                replies = [each.result() for each in done]
            proxy.until(requests=0)
    counted = Counter(reply.status_code for reply in replies)
    assert set(counted) == {200, 429}
    assert counted[200] == len(server.requests) >= 10
    for reply in replies:
        if reply.status_code == 429:
            assert reply.headers["retry-after"] == "1"
            assert reply.json()["error"]["code"] == "queue_full"
        else:
            assert reply.headers["x-cropvlm"] == "crops=1"


def test_the_openai_client_retries_what_was_refused_until_it_is_served() -> None:
    with ChatServer(says("a", after=0.1)) as server:
        with RunningProxy(server.url, max_requests=2, queue=1) as proxy:
            with OpenAI(api_key="x", base_url=proxy.url, max_retries=20) as app:
                messages: Any = [chat_message("Total?", noise())]

                def ask(_: int) -> str | None:
                    completion = app.chat.completions.create(model="m", messages=messages)
                    return completion.choices[0].message.content

                with ThreadPoolExecutor(8) as pool:
                    assert set(pool.map(ask, range(8))) == {"a"}


def test_a_line_that_does_not_move_ends_in_503() -> None:
    with RawUpstream(b"") as upstream:
        upstream.answers = [holds(upstream)]
        limits: Any = {"max_requests": 1, "queue": 5, "queue_seconds": 0.3}
        with RunningProxy(upstream.url, **limits) as proxy, _connection(proxy) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            proxy.until(requests=1)
            response = httpx.post(f"{proxy.url}/chat/completions", content=body())
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "queue_slow"
            proxy.until(requests=1)


def test_bodies_wait_for_memory_and_are_served_in_order() -> None:
    page = noise()
    data = json.dumps({"messages": [chat_message("Total?", page)]}).encode()
    size = len(data) + 100
    with ChatServer(says("a", after=0.05)) as server:
        with RunningProxy(server.url, memory=size, max_body=size) as proxy:
            with ThreadPoolExecutor(8) as pool, httpx.Client() as client:
                url = f"{proxy.url}/chat/completions"
                done = [pool.submit(client.post, url, content=data) for _ in range(8)]
                assert {each.result().status_code for each in done} == {200}
            proxy.until(requests=0)
    assert all(showed(pictures(each), page, middle_of(page)) for each in server.requests)


def test_a_body_that_is_too_large_gets_413_declared_or_not() -> None:
    data = body()
    with RawUpstream(plain(b"{}")) as upstream:
        with RunningProxy(upstream.url, max_body=len(data) - 1) as proxy:
            for content in (data, iter([data[:1000], data[1000:]])):
                response = httpx.post(f"{proxy.url}/responses", content=content)
                assert response.status_code == 413
                assert response.json()["error"]["code"] == "body_too_large"
            assert httpx.post(f"{proxy.url}/responses", content=data[:-1]).status_code == 200
            with OpenAI(api_key="x", base_url=proxy.url, max_retries=0) as app:
                with pytest.raises(APIStatusError) as caught:
                    app.chat.completions.create(
                        model="m",
                        messages=[chat_message("Total?", noise(400, 400))],  # type: ignore[list-item]
                    )
                assert caught.value.status_code == 413
    assert len(upstream.received) == 1


def test_a_body_that_drips_gets_408() -> None:
    with RawUpstream(plain(b"{}")) as upstream:
        with RunningProxy(upstream.url, body_seconds=0.5) as proxy:
            with _connection(proxy) as connection:
                connection.sendall(_post("/v1/chat/completions", 1000))
                for _ in range(8):
                    connection.sendall(b"a")
                    time.sleep(0.1)
                assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
            proxy.until(requests=0)
    assert upstream.received == []


def test_a_hundred_clients_that_leave_take_no_place_with_them() -> None:
    with RawUpstream(b"") as upstream:
        upstream.answers = [holds(upstream)]
        with RunningProxy(upstream.url, max_requests=8, queue=200) as proxy:
            data = body()
            connections = [_connection(proxy) for _ in range(100)]
            for connection in connections:
                connection.sendall(_post("/v1/chat/completions", len(data)) + data[:60_000])
            proxy.until(requests=8, waiting=92)
            for connection in connections:
                connection.close()
            proxy.until(requests=0)
            upstream.answers = [plain(b"{}")]
            assert httpx.post(f"{proxy.url}/chat/completions", content=data).status_code == 200


def test_the_event_loop_goes_on_beside_large_images() -> None:
    large = json.dumps({"messages": [chat_message("Total?", noise(2400, 1600))]}).encode()
    assert len(large) > 4 * MIB
    lags: list[float] = []
    with (
        RawUpstream(plain(b"{}")) as upstream,
        RunningProxy(upstream.url, zoom_seconds=99) as proxy,
    ):
        done = threading.Event()

        def knock() -> None:
            with httpx.Client() as client:
                while not done.is_set():
                    began = time.monotonic()
                    client.get(f"{proxy.root}/healthz")
                    lags.append(time.monotonic() - began)
                    time.sleep(0.005)

        knocking = threading.Thread(target=knock)
        knocking.start()
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(httpx.post, f"{proxy.url}/chat/completions", content=large, timeout=60)
                for _ in range(4)
            ]
            assert {each.result().headers["x-cropvlm"] for each in asked} == {"crops=1"}
        done.set()
        knocking.join()
    lags.sort()
    assert lags[len(lags) // 2] < 0.5  # on a machine that is busy with other things


# The command, in a process of its own


@contextmanager
def _command(upstream: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``cropvlm proxy``; gives the process and its base URL."""
    code = "import sys; from cropvlm_core.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["proxy", "--upstream", upstream, "--port", "0", "--cropper", "centre", *options]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "base URL" in line, line
        url = line.split()[-1]
        while True:
            try:
                httpx.get(url.replace("/v1", "/healthz"))
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.communicate()


def test_sigterm_finishes_what_runs_and_logs_hold_no_content() -> None:
    go = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        go.wait(10)
        connection.sendall(b"5\r\nworld\r\n0\r\n\r\n")

    with RawUpstream(answer) as upstream, _command(upstream.url) as (process, url):
        headers = {"authorization": "Bearer sk-hidden"}
        with httpx.stream(
            "POST", f"{url}/chat/completions", content=body("hidden question"), headers=headers
        ) as response:
            parts = response.iter_raw()
            assert next(parts) == b"hello"
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/models")
            assert process.poll() is None
            go.set()
            assert b"".join(parts) == b"world"
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines] == ["start", "request", "stop"]
    assert (lines[1]["status"], lines[1]["end"], lines[1]["crops"]) == (200, "done", 1)
    assert "hidden" not in out
    assert upstream.received[0].values(b"authorization") == [b"Bearer sk-hidden"]


def test_after_the_grace_what_still_runs_is_cut_off() -> None:
    with RawUpstream(b"") as upstream:
        upstream.answers = [holds(upstream, CHUNKED)]
        with _command(upstream.url, "--grace", "1") as (process, url):
            with httpx.stream("POST", f"{url}/chat/completions", content=body()) as response:
                parts = response.iter_raw()
                assert next(parts) == b"hello"
                process.send_signal(signal.SIGTERM)
                with pytest.raises(httpx.RemoteProtocolError):
                    list(parts)
            out, _ = process.communicate(timeout=10)
        assert upstream.gone.wait(3)
    assert process.returncode == 0
    assert '"end": "stopped"' in out


def test_ctrl_c_ends_it_as_any_command() -> None:
    with RawUpstream(plain(b"{}")) as upstream, _command(upstream.url) as (process, _url):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "cropvlm: interrupted\n"
    assert json.loads(out.splitlines()[-1])["event"] == "stop"


def _connection(proxy: RunningProxy) -> socket.socket:
    host, _, port = proxy.root.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
