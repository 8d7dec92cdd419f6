"""OpenAIVLM against a server that does all wrong: it ends in time, typed, having read little.

What a well-behaved server gets, and the plain faults, are in test_openai_vlm.py.
"""

import asyncio
import gzip
import json
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.errors import DeadlineError, ModelError
from cropvlm_core.openai_vlm import OpenAIVLM
from cropvlm_core.openai_vlm.client import MAX_ANSWER
from cropvlm_core.openai_vlm.vlm import _retry_after, _text_of
from cropvlm_core.vlm import Conversation
from tests.chat_server import (
    Act,
    ChatServer,
    Exchange,
    completion,
    drips,
    fails,
    hangs,
    says,
    sends,
)

QUESTION = Conversation(("What is the total?",))
TEN_MB = 10 * 2**20


def ask(server: ChatServer, **options: Any) -> str:
    return OpenAIVLM("test-model", server.url, **options).reply([QUESTION])[0]


def floods(
    size: int, written: list[int], *, status: int = 200, start: bytes = b"", declared: bool = False
) -> Act:
    """Send `start` and `size` spaces, with or without a length, and note how many were taken."""

    def act(exchange: Exchange) -> None:
        exchange.send_response(status)
        exchange.send_header("Content-Type", "application/json")
        if declared:
            exchange.send_header("Content-Length", str(len(start) + size))
        else:
            exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        written.append(0)
        for data in [start, *[b" " * 2**16] * (size // 2**16)]:
            exchange.wfile.write(data if declared else b"%x\r\n%s\r\n" % (len(data), data))
            written[-1] += len(data)
        exchange.wfile.write(b"" if declared else b"0\r\n\r\n")

    return act


def raw(data: bytes, *, pause: float = 0.0, times: int = 1) -> Act:
    """Send bytes that need not be HTTP, again and again."""

    def act(exchange: Exchange) -> None:
        for _ in range(times):
            exchange.wfile.write(data)
            exchange.wfile.flush()
            if pause and exchange.server.over.wait(pause):
                break
        exchange.close_connection = True

    return act


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("size", [TEN_MB, 100 * 2**20], ids=["10 MB", "100 MB"])
def test_an_endless_answer_is_not_read_whole(size: int, declared: bool) -> None:
    written: list[int] = []
    good = json.dumps(completion(content="x")).encode()
    with ChatServer(floods(size, written, start=good, declared=declared)) as server:
        ask_once(server)
        tracemalloc.start()
        try:
            with pytest.raises(ModelError, match="'test-model' an answer of at most 1048576 bytes"):
                ask(server)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(server.requests) == 1
    assert written[0] < 10 * 2**20  # what lies in the buffers of the system counts as well
    assert peak < 6 * 2**20


def test_an_answer_below_the_cap_is_read() -> None:
    body = json.dumps(completion(content="x")).encode()
    with ChatServer(sends(body + b" " * (MAX_ANSWER - len(body)))) as server:
        assert ask(server) == "x"


def test_a_refusal_of_10_mb_is_still_told_and_tried_again() -> None:
    written: list[int] = []
    flood = floods(64 * 2**20, written, status=500, start=b'{"error":{"message":"out of ')
    with ChatServer(flood, says("x")) as server:
        assert ask(server) == "x"
    with ChatServer(floods(64 * 2**20, written, status=404, start=b"no such")) as server:
        with pytest.raises(ModelError, match="'test-model', got HTTP 404") as caught:
            ask(server)
    assert len(str(caught.value)) < 400
    assert max(written) < 32 * 2**20


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(json.dumps(completion(content=" " * 50_000_000)).encode())
    with ChatServer(sends(bomb, Content_Encoding="gzip")) as server:
        with pytest.raises(ModelError, match="not compressed, got one in 'gzip'"):
            ask(server)


def test_nothing_compressed_is_asked_for() -> None:
    asked: list[str] = []

    def look(exchange: Exchange) -> None:
        asked.append(exchange.headers["Accept-Encoding"])
        says("x")(exchange)

    with ChatServer(look) as server:
        ask(server)
    assert asked == ["identity"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with ChatServer(says("x")) as other:
        with ChatServer(sends({}, status, Location=f"{other.url}/chat/completions")) as server:
            with pytest.raises(ModelError, match=f"HTTP {status}"):
                ask(server)
    assert len(server.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize(
    "act",
    [
        hangs(),
        drips(),
        raw(b"H", pause=0.05, times=600),
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10, pause=0.05, times=600),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02, times=2000),
    ],
    ids=["hangs", "body drips", "status drips", "headers drip", "continues"],
)
def test_the_deadline_is_over_every_part(act: Act) -> None:
    with ChatServer(act) as server:
        ask_once(server)
        start = time.monotonic()
        with pytest.raises((DeadlineError, ModelError)) as caught:
            ask(server, timeout=0.6)
        assert time.monotonic() - start < 0.6 + 2.0  # 0.5 s of them for a busy machine's threads
    if not isinstance(caught.value, DeadlineError):
        assert "broken connection" in str(caught.value)


def ask_once(server: ChatServer) -> None:
    """Import the client outside of what is timed."""
    with ChatServer(says("x")) as good:
        assert ask(good) == "x"
    assert server.requests == []


def test_a_retry_after_beyond_what_is_left_ends_at_once() -> None:
    with ChatServer(fails(503, Retry_After="1"), fails(503, Retry_After="2")) as server:
        ask_once(server)
        start = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 2\.5 s, got a request to come back in 2"):
            ask(server, timeout=2.5)
        assert time.monotonic() - start < 2.3
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "value", ["nan", "-5", "1e400", "1_000", "99999999999999999999999999 GMT", "९", "", "1 2"]
)
def test_a_retry_after_that_is_no_time_is_ignored(value: str) -> None:
    header = value.encode().decode("latin-1")
    with ChatServer(fails(429, Retry_After=header), says("x")) as server:
        assert ask(server, timeout=10) == "x"
    assert server.times[1] - server.times[0] < 5


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
        b'{"choices": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00",
        b"null",
        b'"text"',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"content": {"deep": "x"}}, "finish_reason": ["length"]}]}',
        b'{"choices": [[]]}',
        b"\x00" * 1000,
    ],
)
def test_no_json_ends_untyped(body: bytes) -> None:
    with ChatServer(sends(body)) as server:
        with pytest.raises(ModelError) as caught:
            ask(server)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": ["no"], "param": ["temperature"], "code": {"a": 1}}},
        {"error": {"message": None, "param": {"x": 1}}},
        {"error": "max_tokens"},
        {"error": 7},
        [],
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_no_refusal_ends_untyped(body: object) -> None:
    with ChatServer(sends(body, 400)) as server:
        with pytest.raises(ModelError, match="HTTP 400") as caught:
            ask(server)
    assert len(str(caught.value)) < 400
    assert len(server.requests) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "finish_reason", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_a_text_or_a_model_error(value: Any) -> None:
    for said in (value, {"choices": [value]}, {"choices": [{"message": {"content": value}}]}):
        try:
            told = _text_of(said)
        except ModelError as error:
            told = str(error) if len(str(error)) < 300 else ""
        assert told.strip()


@given(st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str))
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    seconds = _retry_after({"retry-after": value})
    assert seconds is None or 0 <= seconds < 1e12


def test_a_server_that_refuses_one_setting_for_ever_is_not_asked_for_ever() -> None:
    refusal = {"error": {"message": "use max_completion_tokens", "param": "max_tokens"}}
    both = {"error": {"message": "no", "param": "temperature"}}
    with ChatServer(sends(refusal, 400), sends(both, 400), sends(both, 400)) as server:
        with pytest.raises(ModelError, match="HTTP 400"):
            ask(server)
    assert len(server.requests) == 3


def test_headers_without_end_are_broken_off() -> None:
    lines = b"HTTP/1.1 200 OK\r\n" + b"".join(
        b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(300)
    )
    with ChatServer(raw(lines)) as server:
        with pytest.raises(ModelError, match="broken connection"):
            ask(server, max_attempts=2)


def test_eight_threads_share_one_object() -> None:
    def echo(exchange: Exchange) -> None:
        says(exchange.body["messages"][0]["content"][-1]["text"])(exchange)

    with ChatServer(echo) as server:
        model = OpenAIVLM("test-model", server.url, max_parallel=2)
        page = Image.new("RGB", (30, 20), "white")

        def call(number: int) -> list[str]:
            return model.reply([Conversation((page, f"{number}"))])

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(call, range(8 * 50)))
    assert found == [[f"{number}"] for number in range(8 * 50)]


class QuietServer(ChatServer):
    """Says nothing about clients that leave in the middle of a request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def in_use() -> tuple[int, int, int]:
    """Open files (sockets are some), threads, tasks of the running loop."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    return files, threading.active_count(), len(asyncio.all_tasks())


async def cancel(work: Callable[[], Coroutine[Any, Any, object]], times: int) -> None:
    """Start `work` so many times, ten at once, and cancel each at a random moment."""
    dice = random.Random(0)
    for _ in range(times // 10):
        tasks = [asyncio.create_task(work()) for _ in range(10)]
        for task in tasks:
            await asyncio.sleep(dice.uniform(0, 0.01))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells of open files there")
@pytest.mark.parametrize("act", [hangs(), says("x"), drips(), fails(503)], ids=str)
def test_cancelled_calls_leave_nothing_behind(act: Act) -> None:
    async def main(model: OpenAIVLM, server: ChatServer) -> None:
        await model.areply([QUESTION])
        await cancel(lambda: model.areply([QUESTION] * 3), 100)  # threads of the loop's own pool
        before = in_use()
        server.script[:] = [act]
        await cancel(lambda: model.areply([QUESTION] * 3), 100)
        server.over.set()  # those that hang in the server are let go
        after = in_use()
        for _ in range(200):
            if all(now <= then for now, then in zip(after, before, strict=True)):
                return
            await asyncio.sleep(0.05)
            after = in_use()
        pytest.fail(f"files, threads, tasks: {before}, then {after}")

    with QuietServer(says("x")) as server:
        asyncio.run(main(OpenAIVLM("test-model", server.url, timeout=20), server))


def test_what_was_asked_of_us() -> None:
    """The figures of the deadline and the attempts that everybody gets who says nothing else."""
    model = OpenAIVLM("m", "http://127.0.0.1:1/v1")
    assert (model.timeout, model.max_attempts) == (60.0, 3)
