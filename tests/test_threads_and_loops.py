"""One pipeline in many threads, and in an event loop that must go on; figures: async_figures.py."""

import asyncio
import io
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.cropper import RandomCropper
from cropvlm_core.loading import default_pipeline
from cropvlm_core.zoom import Zoom, ZoomPipeline

RECEIPT = Path(__file__).parents[1] / "examples" / "receipt.png"
QUESTIONS = [
    f"What is the {what}?" for what in ("total", "date", "name of the shop", "tax", "city")
]


def jpeg(width: int, height: int) -> bytes:
    """A photograph, more or less: no two places look alike."""
    stream = io.BytesIO()
    small = Image.effect_noise((width // 8, height // 8), 90).convert("RGB")
    small.resize((width, height)).save(stream, "JPEG")
    return stream.getvalue()


def seen(zoom: Zoom) -> tuple[object, ...]:
    return zoom.pixels, zoom.reason, *(crop.image.tobytes() for crop in zoom.crops)


def in_threads(work: Callable[[str], Zoom], calls: int) -> list[tuple[object, ...]]:
    """What 8 threads see that start at once; each call is of the next question."""
    start = threading.Barrier(8)

    def one(thread: int) -> list[tuple[object, ...]]:
        start.wait()
        return [seen(work(QUESTIONS[(thread + n) % len(QUESTIONS)])) for n in range(calls)]

    with ThreadPoolExecutor(8) as pool:
        return [each for found in pool.map(one, range(8)) for each in found]


def serially(work: Callable[[str], Zoom], calls: int) -> list[tuple[object, ...]]:
    found = {question: seen(work(question)) for question in QUESTIONS}
    return [
        found[QUESTIONS[(thread + n) % len(QUESTIONS)]] for thread in range(8) for n in range(calls)
    ]


@pytest.mark.parametrize("kind", ["path", "bytes", "lazy", "on its side", "grey"])
def test_threads_share_a_pipeline_and_an_image(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "page.jpg"
    file.write_bytes(jpeg(400, 600))
    page: Any = file
    if kind == "bytes":
        page = file.read_bytes()
    elif kind == "lazy":
        page = Image.open(file)  # not loaded: what the first thread to look does to it
    elif kind == "on its side":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(file).save(file, exif=exif)
        page = Image.open(file)
    elif kind == "grey":
        page = Image.open(file).convert("L")
    pipeline = ZoomPipeline(RandomCropper())
    together = in_threads(lambda question: pipeline.zoom(page, question), 50)
    known = file if kind != "grey" else page
    assert together == serially(lambda question: pipeline.zoom(known, question), 50)
    assert len(set(together)) == len(QUESTIONS)
    if isinstance(page, Image.Image):
        page.close()


def test_threads_share_the_embedded_cropper() -> None:
    pipeline = default_pipeline()
    with Image.open(RECEIPT) as page:
        together = in_threads(lambda question: pipeline.zoom(page, question), 4)
        assert together == serially(lambda question: pipeline.zoom(page, question), 4)


async def longest_wait(work: Callable[[], Awaitable[object]]) -> float:
    """How long the event loop did not come round while it awaited what `work` begins, seconds."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work()
    await asyncio.sleep(0.01)  # a wait that the work ended is one too
    ticking.cancel()
    return longest


@pytest.mark.parametrize("name", ["azoom", "azoom_batch"])
async def test_the_loop_goes_on_while_large_pages_are_read(name: str) -> None:
    from cropvlm_core.questions import VisualQuestion

    data = jpeg(6000, 4000)
    pipeline = ZoomPipeline(RandomCropper())

    def call() -> Awaitable[object]:
        if name == "azoom":
            return pipeline.azoom(data, "What?")
        return pipeline.azoom_batch([VisualQuestion(data, "What?")])

    await call()
    start = time.perf_counter()
    for _ in range(4):
        pipeline.zoom(data, "What?")
    blocking = time.perf_counter() - start
    waited = await longest_wait(lambda: asyncio.gather(*(call() for _ in range(4))))
    assert waited < blocking / 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells of open files there")
async def test_cancelled_zooms_leave_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "page.jpg"
    file.write_bytes(jpeg(400, 600))
    pipeline = ZoomPipeline(RandomCropper())
    dice = random.Random(0)

    async def cancel(times: int) -> None:
        for _ in range(times):
            task = asyncio.create_task(pipeline.azoom(file, "What?"))
            await asyncio.sleep(dice.choice([0, 0, 0.001, 0.01]))
            task.cancel()
        await pipeline.azoom(file, "What?")  # what was cancelled is not in the way

    def in_use() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    # Threads and decoding processes are kept for the next call, as many as ever were busy at once.
    # What is lost with a cancelled call is lost with every hundred of them.
    most = (0, 0)
    for _ in range(12):
        await cancel(100)
        found = in_use()
        if all(now <= then for now, then in zip(found, most, strict=True)):
            break
        most = max(found[0], most[0]), max(found[1], most[1])
        await asyncio.sleep(0.05)
    else:
        pytest.fail(f"open files and threads grow with every hundred cancelled calls: {most}")
    assert len(asyncio.all_tasks()) == 1
