"""Measure threads, the event loop's waits, and what cancelled calls leave behind.

    python scripts/async_figures.py [--calls 50] [--cancels 1000]

Threads: 8 at once zoom with one pipeline of the embedded cropper into one image, and what they see
is compared with the same calls one after the other. Event loop: 4 calls at once about a picture of
24 megapixels, for each format and way, and the longest time that the loop did not come round; the
line "nothing" is what the machine itself adds. Cancels: calls are begun, and cancelled at random
moments; then tasks, threads, open files (sockets are some) and memory, before and after. Linux.
"""

import argparse
import asyncio
import http.server
import io
import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from cropvlm_core.loading import default_pipeline
from cropvlm_core.openai_vlm import OpenAIVLM
from cropvlm_core.vlm import Conversation
from cropvlm_core.zoom import Zoom, ZoomPipeline

RECEIPT = Path(__file__).parents[1] / "examples" / "receipt.png"
QUESTIONS = [f"What is the {what}?" for what in ("total", "date", "shop", "tax", "city")]
SIZE = (6000, 4000)

Work = Callable[[], Coroutine[Any, Any, object]]


def main(argv: Sequence[str] | None = None) -> None:
    """Run all three, and print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50, help="of each of 8 threads")
    parser.add_argument("--cancels", type=int, default=1000)
    given = parser.parse_args(argv)
    same = threads_see_the_same(given.calls)
    print(f"8 threads x {given.calls} calls, one pipeline, one image: identical to serial: {same}")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    vlm = OpenAIVLM("test", ours.recv())
    asyncio.run(waits(vlm))
    asyncio.run(cancels(vlm, given.cancels))
    server.kill()
    if not same:
        raise SystemExit(1)


def threads_see_the_same(calls: int) -> bool:
    """Whether 8 threads see what one thread does."""
    pipeline = default_pipeline()
    start = threading.Barrier(8)

    def seen(zoom: Zoom) -> tuple[object, ...]:
        return zoom.pixels, *(crop.image.tobytes() for crop in zoom.crops)

    with Image.open(RECEIPT) as page:

        def one(thread: int) -> list[tuple[object, ...]]:
            start.wait()
            return [
                seen(pipeline.zoom(page, QUESTIONS[(thread + call) % len(QUESTIONS)]))
                for call in range(calls)
            ]

        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(one, range(8)))
    serial = [seen(pipeline.zoom(RECEIPT, question)) for question in QUESTIONS]
    return together == [
        [serial[(thread + call) % len(QUESTIONS)] for call in range(calls)] for thread in range(8)
    ]


async def waits(vlm: OpenAIVLM) -> None:
    """Print the longest waits of the loop."""
    pipeline = default_pipeline()
    await vlm.areply([Conversation(("warm up",))])  # the client is imported
    await asyncio.gather(*(pipeline.azoom(picture("JPEG"), "?") for _ in range(4)))
    print("\n| 4 calls at once | seconds | longest wait, ms | 99 % below, ms |\n|---|---|---|---|")
    await report("nothing", asyncio.sleep, 2)
    for name, data in pictures().items():
        await report(f"azoom, {name}", gathered, partial(pipeline.azoom, data, QUESTIONS[0]))
    apart = ZoomPipeline(pipeline.cropper, isolate=True)
    await gathered(partial(apart.azoom, RECEIPT, "?"))  # the workers are started
    for name, data in pictures().items():
        await report(f"azoom, isolate, {name}", gathered, partial(apart.azoom, data, QUESTIONS[0]))
    for name in ("photograph, JPEG", "text, PNG"):
        data = pictures()[name]
        await report(f"aask, {name}", gathered, partial(pipeline.aask, data, QUESTIONS[0], vlm))


async def gathered(work: Work) -> None:
    """Four at once."""
    await asyncio.gather(*(work() for _ in range(4)))


async def report(name: str, work: Callable[..., Awaitable[object]], what: Any) -> None:
    """Await ``work(what)``, and print one line of the table."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - start) - 1)

    ticking = asyncio.create_task(tick())
    start = time.perf_counter()
    await work(what)
    seconds = time.perf_counter() - start
    await asyncio.sleep(0.01)  # a wait that the work ended is one too
    ticking.cancel()
    late.sort()
    print(
        f"| {name} | {seconds:.2f} | {late[-1]:.0f} | {late[int(0.99 * len(late))]:.0f} |",
        flush=True,
    )


def picture(file_format: str, size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """A photograph, more or less."""
    small = Image.effect_noise((size[0] // 8, size[1] // 8), 90).convert("RGB")
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(stream, file_format, **options)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """Pictures of 24 megapixels and at most 20 MiB, by name."""
    page = Image.new("RGB", SIZE, "white")
    for top in range(0, SIZE[1], 30):
        ImageDraw.Draw(page).text((20, top), "lorem ipsum dolor " * 60, fill="black")
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return {
        "photograph, JPEG": picture("JPEG", quality=85),
        "photograph, progressive JPEG": picture("JPEG", quality=85, progressive=True),
        "photograph, WebP (22 megapixels)": picture("WEBP", (5700, 3900), quality=80, method=0),
        "photograph, GIF (13 megapixels)": picture("GIF", (4400, 3000)),
        "text, PNG": stream.getvalue(),
    }


async def cancels(vlm: OpenAIVLM, times: int) -> None:
    """Print what is in use before and after so many cancelled calls."""
    pipeline = default_pipeline()
    asked = [Conversation(("Say nothing.",))] * 3
    print(f"\n| {times} cancelled | tasks | threads | files | memory, MB |\n|---|---|---|---|---|")
    await gathered(partial(pipeline.azoom, RECEIPT, "?"))
    for name, work, longest in (
        ("azoom", partial(pipeline.azoom, RECEIPT, QUESTIONS[0]), 0.02),
        ("areply, a server that hangs", partial(vlm.areply, asked), 0.01),
    ):
        await cancel(work, times // 10, longest)  # threads and memory that stay are there
        before = await in_use()
        await cancel(work, times, longest)
        after = await in_use()
        cells = (f"{then} -> {now}" for then, now in zip(before, after, strict=True))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


async def cancel(work: Work, times: int, longest: float) -> None:
    """Cancel so many calls, ten under way at once, each at a random moment."""
    dice = random.Random(0)
    for _ in range(times // 10):
        tasks = [asyncio.create_task(work()) for _ in range(10)]
        for task in tasks:
            await asyncio.sleep(dice.uniform(0, longest))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_use() -> tuple[int, int, int, int]:
    """Tasks, threads, open files, megabytes; once what is still under way has ended."""
    await asyncio.sleep(3)
    return len(asyncio.all_tasks()), *of_process()


def of_process() -> tuple[int, int, int]:
    """Threads, open files, megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), memory


class Exchange(http.server.BaseHTTPRequestHandler):
    """Answers every question, but one."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read all, and answer or hang."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"Say nothing." in body:
            time.sleep(5)
            self.close_connection = True
            return
        self.answer("x")

    def answer(self, content: str) -> None:
        """Answer with a completion."""
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        about = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        data = json.dumps(about | {"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
        """Stay quiet."""


class Server(http.server.ThreadingHTTPServer):
    """Says nothing of clients that leave."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet."""


def serve(connection: Connection, handler: type[Exchange] = Exchange) -> None:
    """Run the server in a process of its own, so that it shares no lock with us."""
    server = Server(("127.0.0.1", 0), handler)
    connection.send(f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.serve_forever()


if __name__ == "__main__":
    main()
