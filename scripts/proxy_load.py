"""What the proxy costs: added latency beside the upstream alone, and what ten times its limit does.

    python scripts/proxy_load.py [--seconds 10] [--clients 1,8,32] [--answer-ms 200]

An upstream that answers after a fixed time, the proxy (``cropvlm proxy``) and the clients run as
processes of this machine. For each number of clients the same requests go to the upstream alone
and through the proxy, in turns: without an image, and with the receipt of ``examples/`` and one of
ten questions, so that crops are remembered ("known") or not ("new", a fresh question each time).
Then ten times as many requests as the proxy holds come at once. Needs the extras ``api`` and
``proxy``.
"""

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx

ROOT = Path(__file__).parents[1]
REQUESTS, QUEUE = 64, 128  # the proxy's defaults
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}
        ],
    }
).encode()

MakeBody = Callable[[int], bytes]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each figure (default: 10)")
    parser.add_argument("--clients", default="1,8,32", help="how many at once (default: 1,8,32)")
    parser.add_argument("--answer-ms", type=float, default=200.0, help="the upstream's own time")
    parser.add_argument("--serve-upstream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_upstream:
        asyncio.run(_upstream(given.answer_ms / 1000))
        return
    with _upstream_process(given.answer_ms) as upstream, _proxy_process(upstream) as proxy:
        print(f"{os.cpu_count()} cores, upstream answers after {given.answer_ms:g} ms")
        print("clients  request        alone p50/p99 ms   proxy p50/p99 ms   added p50/p99 ms")
        for clients in map(int, given.clients.split(",")):
            for name, body in _bodies().items():
                alone, through = asyncio.run(
                    _compared(upstream, proxy, body, clients, given.seconds)
                )
                _tell(clients, name, alone, through)
        asyncio.run(_ten_times(upstream, proxy, _bodies()["image, known"]))


def _bodies() -> dict[str, MakeBody]:
    receipt = base64.b64encode((ROOT / "examples" / "receipt.png").read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{receipt}"}}

    def chat(*parts: object) -> bytes:
        return json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()

    def ask(question: str) -> bytes:
        return chat({"type": "text", "text": question}, image)

    return {
        "no image": lambda _: chat({"type": "text", "text": "Hello"}),
        "image, known": lambda number: ask(f"What is total {number % 10}?"),
        "image, new": lambda number: ask(f"What is total {number} at {time.time_ns()}?"),
    }


class Client:
    """One connection, by hand: a client library's own time would be most of what is measured."""

    def __init__(self, url: str) -> None:
        """A client of the server at the base URL ``url``."""
        parts = urlsplit(url)
        self._place = (parts.hostname, parts.port)
        self._path = parts.path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes, bytes]:
        """POST, or GET without a body; gives status, head in lower case, and body."""
        reader, writer = self._streams or await asyncio.open_connection(*self._place)
        self._streams = (reader, writer)
        method = "GET" if body is None else "POST"
        head = f"{method} {self._path}{path} HTTP/1.1\r\nHost: {self._place[0]}\r\n"
        head += f"Content-Length: {len(body or b'')}\r\n\r\n"
        writer.write(head.encode() + (body or b""))
        await writer.drain()
        told = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = told.partition(b"content-length:")[2].partition(b"\r\n")[0]
        return int(told.split()[1]), told, await reader.readexactly(int(length))

    async def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            (_, writer), self._streams = self._streams, None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _compared(
    upstream: str, proxy: str, body: MakeBody, clients: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Milliseconds of requests to the upstream alone and through the proxy, in turns."""
    times: dict[str, list[float]] = {upstream: [], proxy: []}
    known = {url: [Client(url) for _ in range(clients)] for url in times}
    await _asked(known[proxy], body, 0.0)  # warm
    for url in (upstream, proxy) * 2:
        times[url] += await _asked(known[url], body, seconds / 2)
        for client in (*known[upstream], *known[proxy]):  # a server closes idle connections
            await client.close()
    return times[upstream], times[proxy]


async def _asked(clients: list[Client], body: MakeBody, seconds: float) -> list[float]:
    """Let every client ask for so many seconds, at least once; gives milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def asking(client: Client, number: int) -> None:
        count = 0
        while count == 0 or time.perf_counter() < end:
            count += 1
            content = body(number + count)
            began = time.perf_counter()
            status, _, _ = await client.ask("/chat/completions", content)
            assert status == 200, status
            times.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(asking(client, number) for number, client in enumerate(clients)))
    return times


def _tell(clients: int, name: str, alone: list[float], through: list[float]) -> None:
    figures = [(_share(times, 0.5), _share(times, 0.99)) for times in (alone, through)]
    added = (figures[1][0] - figures[0][0], figures[1][1] - figures[0][1])
    columns = (f"{p50:8.1f} /{p99:8.1f}" for p50, p99 in (*figures, added))
    print(f"{clients:7}  {name:13}", *columns, f" ({len(alone)} and {len(through)} requests)")


def _share(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


async def _ten_times(upstream: str, proxy: str, body: MakeBody) -> None:
    """As many requests at once as the proxy holds, ten times: each must end."""
    count = 10 * (REQUESTS + QUEUE)
    counting = Client(upstream)
    before = int((await counting.ask("/count"))[2])
    bodies = [body(number) for number in range(10)]
    clients = [Client(proxy) for _ in range(count)]
    began = time.perf_counter()
    asked = (
        client.ask("/chat/completions", bodies[number % 10])
        for number, client in enumerate(clients)
    )
    ended = await asyncio.gather(*asked, return_exceptions=True)
    seconds = time.perf_counter() - began
    answers = [each for each in ended if not isinstance(each, BaseException)]
    statuses = Counter(status for status, _, _ in answers)
    no_word = sum(status != 200 and b"retry-after:" not in head for status, head, _ in answers)
    reached = int((await counting.ask("/count"))[2]) - before
    wrong = sum(number for status, number in statuses.items() if status not in (200, 429, 503))
    print(f"{count} at once: {dict(statuses)} in {seconds:.1f} s, the upstream answered {reached}")
    print(f"  refused without Retry-After: {no_word}; broken connections: {count - len(answers)}")
    print(f"  lost: {wrong + count - len(answers) + abs(reached - statuses[200])}")
    for client in (*clients, counting):
        await client.close()


async def _upstream(seconds: float) -> None:
    """A server that answers every POST after so many seconds, and counts."""
    answered = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if head.startswith(b"POST"):
                    await asyncio.sleep(seconds)
                    answered += 1
                    body = ANSWER
                else:
                    body = str(answered).encode()
                start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(start.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def _upstream_process(answer_ms: float) -> Iterator[str]:
    words = [sys.executable, __file__, "--serve-upstream", "--answer-ms", str(answer_ms)]
    with _process(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@contextmanager
def _proxy_process(upstream: str) -> Iterator[str]:
    code = "import sys; from cropvlm_core.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "proxy", "--upstream", upstream, "--port", "0"]
    words += ["--max-requests", str(REQUESTS), "--queue", str(QUEUE)]
    with _process(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        for _ in range(200):
            try:
                httpx.get(url.replace("/v1", "/healthz"))
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield url


@contextmanager
def _process(words: list[str], **streams: int) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(words, text=True, cwd=ROOT, **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


if __name__ == "__main__":
    main()
