"""Croppers for tests of bulk jobs; worker processes make them by calling the functions here."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.errors import ModelError, WeightsError
from cropvlm_core.questions import VisualQuestion

MIDDLE = Box(0.25, 0.25, 0.75, 0.75)

HARMS = {
    "red": (255, 0, 0),  # a crash in native code
    "lime": (0, 255, 0),  # a process that does not move any more, not even for Python
    "blue": (0, 0, 255),  # a bug
    "yellow": (255, 255, 0),  # a crash the first time only
    "cyan": (0, 255, 255),  # a server that is down
    "magenta": (255, 0, 255),  # what the system does where memory runs out
    "navy": (0, 0, 128),  # the same, to the process that runs the worker
}


class TouchyCropper(Cropper):
    """Proposes the middle; what it does about a page of one colour, the colour says.

    The confidence is 1 / (questions in one call). A question that holds "crash" crashes. Where
    there is ``folder``, its file ``pids`` gets a line a call: who was asked.
    """

    name = "touchy"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        if self.folder is not None:
            with (self.folder / "pids").open("a") as stream:
                stream.write(f"{os.getpid()}\n")
        for question in questions:
            self._look(question)
        return [Proposal((MIDDLE,), (1 / len(questions),)) for _ in questions]

    def _look(self, question: VisualQuestion) -> None:
        colour = question.open().getpixel((0, 0))
        if colour == HARMS["red"] or "crash" in question.question:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif colour == HARMS["lime"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif colour == HARMS["blue"]:
            raise ZeroDivisionError("of the cropper")
        elif colour == HARMS["magenta"]:
            os.kill(os.getpid(), signal.SIGKILL)
        elif colour == HARMS["navy"]:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        elif colour == HARMS["cyan"]:
            raise ModelError("expected an answer, got HTTP 500")
        elif colour == HARMS["yellow"]:
            assert self.folder is not None
            if not (self.folder / "tried").exists():
                (self.folder / "tried").touch()
                os.kill(os.getpid(), signal.SIGSEGV)


class SlowCropper(FixedCropper):
    """Takes a while for each call."""

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        time.sleep(0.02)
        return super().propose_batch(questions)


class GreedyCropper(FixedCropper):
    """Takes 100 MB of memory for each pixel in a page's width; a page is 1 to 20 pixels wide."""

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        for question in questions:
            if (width := question.open().width) <= 20:
                assert len(bytearray(width * 100_000_000))
        return super().propose_batch(questions)


def middle() -> Cropper:
    return FixedCropper(MIDDLE, name="middle")


def slow() -> Cropper:
    return SlowCropper(MIDDLE, name="slow")


def greedy() -> Cropper:
    return GreedyCropper(MIDDLE, name="greedy")


def refuses() -> Cropper:
    raise WeightsError("expected weights, got none")


def dies() -> Cropper:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def impatient(folder: Path, times: int) -> Cropper:
    """For so many workers, whoever decodes a picture is killed for being too slow."""
    from cropvlm_core.isolation import pool

    seen = folder / "workers"
    before = int(seen.read_text()) if seen.exists() else 0
    seen.write_text(str(before + 1))
    if before < times:
        pool.SECONDS = 0.0
    return middle()


def page(
    file: Path,
    colour: str | int | tuple[int, int, int] = "white",
    size: tuple[int, int] = (40, 60),
) -> Path:
    """Write a page; a number as colour makes one unlike any other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, "white" if isinstance(colour, int) else colour)
    if isinstance(colour, int):
        picture.putpixel((1, 1), (colour >> 16 & 255, colour >> 8 & 255, colour & 255))
    picture.save(file)
    return file
