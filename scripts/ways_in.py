"""Measure threads and waits of the ways into existing apps: openai client, MCP server, proxy.

    python scripts/ways_in.py

Threads: 8 at once ask 50 times each about one receipt through one zooming client, and what the
server is sent is compared with the same questions one after the other; the same for the proxy.
Event loop: while 4 questions about pictures of 24 megapixels are under way in this process (the
client, the MCP server), the longest time that the loop did not come round; and while the proxy
works on them, the longest that another request waited for its answer. "nothing" is what the machine
itself adds. Needs the extras api, mcp and proxy.
"""

import asyncio
import base64
import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
from async_figures import QUESTIONS, RECEIPT, Exchange, gathered, pictures, report, serve
from openai import AsyncOpenAI, OpenAI

from cropvlm_core.loading import default_pipeline
from cropvlm_core.openai_client import zoomed
from cropvlm_core.zoom import ZoomPipeline

THREADS, CALLS = 8, 50
SEEN = ("photograph, JPEG", "photograph, WebP (22 megapixels)", "text, PNG")
KEY = "none"
_STREAMS: Any = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.PIPE,
}  # its log goes to the first


def main() -> None:
    """Measure and print."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, Told), daemon=True
    )
    server.start()
    url = ours.recv()
    with proxy_before(url) as proxy:
        for name, client in (
            ("zoomed(OpenAI())", zoomed(OpenAI(api_key=KEY, base_url=url))),
            ("proxy", OpenAI(api_key=KEY, base_url=proxy)),
        ):
            print(f"{name}: {THREADS} threads x {CALLS}: identical to serial: {same(client)}")
        asyncio.run(waits(url, proxy))
    server.kill()


def same(client: OpenAI) -> bool:
    """Whether the server is sent the same by 8 threads as by one."""
    page = data_uri(RECEIPT.read_bytes())

    def asked(number: int) -> str:
        body: Any = chat(page, QUESTIONS[number % len(QUESTIONS)])
        return client.chat.completions.create(**body).choices[0].message.content or ""

    serial = [asked(number) for number in range(len(QUESTIONS))]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(asked, range(THREADS * CALLS)))
    return together == [serial[number % len(QUESTIONS)] for number in range(THREADS * CALLS)]


async def waits(url: str, proxy: str) -> None:
    """The longest waits."""
    from mcp import Client

    from cropvlm_core.mcp_server.server import build_server
    from cropvlm_core.mcp_server.tools import ImageTools
    from cropvlm_core.sources import Allowed

    shared = default_pipeline()
    client = AsyncOpenAI(api_key=KEY, base_url=url)
    apart = zoomed(client, pipeline=ZoomPipeline(shared.cropper, isolate=True))
    tools = build_server(ImageTools(shared, Allowed()))
    pages = {name: data for name, data in pictures().items() if name in SEEN}
    uris = {name: data_uri(data) for name, data in pages.items()}
    print("\n| 4 at once | seconds | longest wait, ms | 99 % below, ms |\n|---|---|---|---|")
    await apart.chat.completions.create(**chat(uris[SEEN[2]], "?"))  # the workers are started
    await report("nothing", asyncio.sleep, 2)
    for name, uri in uris.items():
        body = chat(uri, QUESTIONS[0])
        ask = partial(client.chat.completions.create, **body)
        await report(f"the client alone, {name}", gathered, ask)
        ask = partial(zoomed(client).chat.completions.create, **body)
        await report(f"client, {name}", gathered, ask)
        ask = partial(apart.chat.completions.create, **body)
        await report(f"client, isolate, {name}", gathered, ask)
    async with Client(tools) as caller:
        for name, uri in uris.items():
            told = {"image": uri, "question": QUESTIONS[0]}
            await report(f"MCP, {name}", gathered, partial(caller.call_tool, "zoom", told))
    for name, uri in uris.items():
        longest = await answers_beside(proxy, chat(uri, QUESTIONS[0]))
        print(f"| proxy, {name}: another request | | {1000 * longest:.0f} | |", flush=True)


async def answers_beside(proxy: str, body: Any) -> float:
    """The longest that a small request waited while four large ones were under way, seconds."""
    health, longest = proxy.removesuffix("/v1") + "/healthz", 0.0
    async with httpx.AsyncClient(timeout=60) as beside, httpx.AsyncClient(timeout=60) as client:
        await beside.get(health)
        content = json.dumps(body).encode()
        post = partial(client.post, f"{proxy}/chat/completions", content=content)
        under_way = asyncio.gather(*(post() for _ in range(4)))
        while not under_way.done():
            begun = time.perf_counter()
            await beside.get(health)
            longest = max(longest, time.perf_counter() - begun)
            await asyncio.sleep(0.001)
        for response in await under_way:
            assert response.headers["x-cropvlm"] == "crops=1", response.headers
    return longest


def data_uri(data: bytes) -> str:
    """A picture's bytes as a client sends them."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def chat(page: str, question: str) -> dict[str, Any]:
    """A request of Chat Completions."""
    image = {"type": "image_url", "image_url": {"url": page}}
    content = [{"type": "text", "text": question}, image]
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


@contextmanager
def proxy_before(upstream: str) -> Iterator[str]:
    """The proxy in a process of its own; gives its base URL."""
    code = "import sys; from cropvlm_core.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "proxy", "--upstream", upstream, "--port", "0"]
    with subprocess.Popen(words, text=True, **_STREAMS) as process:
        assert process.stderr is not None
        yield process.stderr.readline().split()[-1]
        process.terminate()


class Told(Exchange):
    """Answers a digest of what it was sent."""

    def do_POST(self) -> None:  # noqa: N802 - its base's name
        """Read all, and answer."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest())


if __name__ == "__main__":
    main()
