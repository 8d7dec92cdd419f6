"""Decoding apart: the same pixels, and a worker that hangs, lies, dies or fills up hurts nobody."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.decoding.survey import UnreadableError
from cropvlm_core.errors import ImageError
from cropvlm_core.images import open_image, open_page
from cropvlm_core.isolation import pool, wire
from cropvlm_core.isolation.pool import close_shared_pool, shared_pool
from cropvlm_core.isolation.wire import Job, Received
from cropvlm_core.questions import VisualQuestion
from tests.hostile.files import encoded, noise

PAGE = encoded(Image.merge("RGB", [noise(300, 200, seed) for seed in range(3)]), "JPEG")
UPRIGHT = open_image(PAGE)
ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No worker is left from the test before, or for the one behind."""
    close_shared_pool()
    yield
    close_shared_pool()


def workers() -> list[int]:
    """The process ids of the shared pool."""
    return sorted(worker.process.pid for worker in shared_pool()._all)


def apart(data: bytes = PAGE) -> Image.Image:
    return open_image(data, isolate=True)


def gone(process: int) -> bool:
    """Whether a process has ended, or ends within five seconds."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{process}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # nobody has asked how it ended, but it has
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "CMYK"])
def test_the_pixels_are_the_same(mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("I;16", (90, 60), 40_000) if mode == "I;16" else UPRIGHT.convert(mode)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    assert apart(data).tobytes() == open_image(data).tobytes()
    assert apart(data).size == open_image(data).size
    assert apart(data).info == {}


def test_questions_open_apart_too() -> None:
    question = VisualQuestion(PAGE, "What?")
    assert question.open(isolate=True).tobytes() == UPRIGHT.tobytes()
    assert question.opened(isolate=True).open().tobytes() == UPRIGHT.tobytes()
    assert len(workers()) == 1


def test_a_worker_serves_many_pictures_and_is_then_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "PICTURES_A_WORKER", 3)
    seen = set()
    for _ in range(7):
        apart()
        seen |= set(workers())
    assert len(seen) == 3
    assert len(workers()) == 1


def test_threads_share_the_workers() -> None:
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(number for number in range(5) if apart().tobytes() != UPRIGHT.tobytes())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= len(workers()) <= pool._MOST_WORKERS


@linux
def test_a_worker_knows_no_key_and_hears_no_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-marker")
    apart()
    (worker,) = workers()
    assert b"secret-marker" not in Path(f"/proc/{worker}/environ").read_bytes()
    assert os.getsid(worker) != os.getsid(0)
    assert Path(f"/proc/{worker}/fd/2").resolve() == Path(os.devnull)


def test_one_that_died_while_idle_is_replaced() -> None:
    apart()
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    assert gone(worker)
    assert apart().tobytes() == UPRIGHT.tobytes()
    assert workers() != [worker]


SERVING = """
import os, signal, sys, time
sys.path[:] = __import__("json").loads(sys.argv[1])
from io import FileIO
from cropvlm_core.isolation.wire import Job, send_reply, send_reason, write_all, _REPLY
jobs, replies = FileIO(0, "rb"), FileIO(1, "wb")
write_all(replies, b"R")
while Job.read(jobs):
"""
REAL = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from cropvlm_core.isolation import worker
worker.CPU_SECONDS = 1
"""
FAULTS = {
    "crashes": (SERVING + "    os.kill(os.getpid(), signal.SIGSEGV)", "its decoder crashed"),
    "leaves": (SERVING + "    sys.exit(0)", "its decoder crashed"),
    "hangs": (SERVING + "    time.sleep(60)", "takes more than 1 s to decode"),
    "drips": (
        SERVING + "    send_reply(replies, 0, 300, 200, 1)\n"
        "    while True: write_all(replies, bytes(9)); time.sleep(0.05)",
        "takes more than 1 s to decode",
    ),
    "sends another size": (SERVING + "    send_reply(replies, 0, 9, 9, 1)", "decoder crashed"),
    "sends no picture": (SERVING + "    send_reply(replies, 0, 0, 0, 1)", "decoder crashed"),
    "sends another status": (SERVING + "    send_reply(replies, 77, 300, 200)", "decoder crashed"),
    "sends a million pages": (
        SERVING + "    send_reply(replies, 0, 300, 200, 1_000_000)",
        "decoder crashed",
    ),
    "ends in its pixels": (
        SERVING + "    send_reply(replies, 0, 300, 200, 1); write_all(replies, bytes(999)); break",
        "decoder crashed",
    ),
    "gives control characters for a reason": (
        SERVING + "    send_reason(replies, '\\x1b[2J so\\nand\\0so')",
        r"got \d+ bytes: \[2J so andso$",
    ),
    "gives a reason without end": (
        SERVING + "    write_all(replies, _REPLY.pack(1, 2**32 - 1, 0, 0) + b'x' * 600)",
        "x{30}",
    ),
    "needs the processor": (
        REAL + "def spin(_):\n    while True: pass\nworker.decoded_rows = spin\nworker.main()",
        r"takes more than \d+ s to decode",
    ),
    "needs memory": (
        REAL + "worker.decoded_rows = lambda _: iter([bytearray(700_000_000)])\nworker.main()",
        "takes too much memory",
    ),
}


ANSWERED = {"gives control characters for a reason", "gives a reason without end", "needs memory"}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_worker_does_the_error_is_ours_and_the_next_picture_is_whole(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, reason = FAULTS[fault]
    with monkeypatch.context() as faulty:
        faulty.setattr(pool, "_MAIN", code)
        faulty.setattr(pool, "SECONDS", 30.0 if fault == "needs the processor" else 1.0)
        start = time.perf_counter()
        with pytest.raises(ImageError, match=reason) as caught:
            apart()
        assert time.perf_counter() - start < 15
        assert len(str(caught.value)) <= 120
        assert str(caught.value).isprintable()
    if fault in ANSWERED:
        close_shared_pool()  # it answered as one does, and would be asked again
    assert apart().tobytes() == UPRIGHT.tobytes()
    assert len(workers()) == 1


@pytest.mark.parametrize("code", ["", "import nonsense", "print('R' * 9, end='')"])
def test_a_worker_that_does_not_start(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_MAIN", code)
    with pytest.raises(ImageError, match=r"did not start|decoder crashed"):
        apart()
    monkeypatch.setattr(pool, "get_executable", lambda: "/nowhere/python")
    with pytest.raises(ImageError, match="no process for it: No such file"):
        apart()
    assert workers() == []


def test_a_job_goes_through_a_pipe_as_it_is() -> None:
    job = Job("decode", b"abc" * 70_000, 2, "GIF", (3, 4), 6, 1, True)
    reading, writing = os.pipe()

    def send() -> None:
        with FileIO(writing, "wb") as pipe:
            job.write(pipe)

    sender = threading.Thread(target=send)
    sender.start()
    with FileIO(reading, "rb") as pipe:
        assert Job.read(pipe) == job
        assert Job.read(pipe) is None
    sender.join()
    assert job.survey.upright_size == (4, 3)


@settings(max_examples=300, deadline=None)
@given(
    reply=st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda status, numbers, rest: struct.pack(">BIII", status, *numbers) + rest,
            st.integers(0, 4),
            st.tuples(*[st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1))] * 3),
            st.binary(max_size=60),
        ),
    ),
    what=st.sampled_from(["decode", "draw", "count"]),
)
def test_whatever_comes_back_is_a_picture_or_a_refusal(reply: bytes, what: Any) -> None:
    reading, writing = os.pipe()
    with FileIO(writing, "wb") as pipe:
        wire.write_all(pipe, reply)
    with FileIO(reading, "rb") as pipe, contextlib.suppress(UnreadableError, EOFError):
        received = Received(pipe, Job(what, b"", size=(2, 3)))
        assert 1 <= received.pages <= 10_000
        if what == "decode":
            assert received.image.size == (2, 3)


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{textwrap.dedent(script)}"
    command = [sys.executable, "-W", "error", "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


OPENING = """
import os
from cropvlm_core.images import open_image
from cropvlm_core.isolation.pool import shared_pool
page = sys.argv[1]
open_image(page, isolate=True)
(worker,) = [worker.process.pid for worker in shared_pool()._all]
"""


@pytest.fixture
def page_file(tmp_path: Path) -> str:
    file = tmp_path / "page.jpg"
    file.write_bytes(PAGE)
    return str(file)


def test_workers_end_with_the_program(page_file: str) -> None:
    done = run(OPENING + "print(worker)", page_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert gone(int(done.stdout))


def test_workers_end_when_the_program_is_killed(page_file: str) -> None:
    done = run(OPENING + "print(worker, flush=True)\nos.kill(os.getpid(), 9)", page_file)
    assert done.returncode == -signal.SIGKILL
    assert gone(int(done.stdout))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_starts_workers_of_its_own(page_file: str) -> None:
    script = """
    child = os.fork()
    if not child:
        mine = shared_pool()._all
        assert not mine
        open_image(page, isolate=True)
        assert worker not in [one.process.pid for one in shared_pool()._all]
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    open_image(page, isolate=True)
    assert [worker] == [one.process.pid for one in shared_pool()._all]
    """
    done = run(OPENING + textwrap.dedent(script), page_file)
    assert (done.returncode, done.stderr) == (0, "")


def test_spawned_processes_decode_apart_too(page_file: str, tmp_path: Path) -> None:
    """And a script without a guard is not run again: a worker does not import ``__main__``."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import multiprocessing\n"
        "from cropvlm_core.images import open_image\n"
        f"print(open_image({page_file!r}, isolate=True).size, flush=True)\n"  # a pool ends roughly
        "def work(_):\n"
        f"    return open_image({page_file!r}, isolate=True).size\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as processes:\n"
        "        print(processes.map(work, [0]))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines().count("(300, 200)") == 2
    assert done.stdout.splitlines()[-1] == "[(300, 200)]"


@linux
def test_a_large_picture_comes_back_in_bounded_memory() -> None:
    data = encoded(Image.new("L", (5_000, 5_000), 9), "PNG")
    assert open_page(data, isolate=True).image.getpixel((4_999, 4_999)) == (9, 9, 9)
    limits = Path(f"/proc/{workers()[0]}/limits").read_text()
    (space,) = (line for line in limits.splitlines() if line.startswith("Max address space"))
    assert 400_000_000 < int(space.split()[3]) < 1_500_000_000
    (written,) = (line for line in limits.splitlines() if line.startswith("Max file size"))
    assert written.split()[3] == "0"


def test_nothing_is_unpickled() -> None:
    for module in (wire, pool):
        assert not {"pickle", "marshal", "shelve"} & set(vars(module))
