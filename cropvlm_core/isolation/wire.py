"""What goes through the pipes between us and a worker, and back.

A job is a line of JSON and the bytes of a file. A reply is one fixed head, and behind it either a
reason as text or rows of pixels, three bytes a pixel.
"""

import io
import json
import struct
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from cropvlm_core.decoding.survey import (
    MAX_PAGES,
    NoSuchPageError,
    Survey,
    TooLargeError,
    UnreadableError,
    check_size,
)

_JOB = struct.Struct(">II")  # bytes of JSON, bytes of the file
_REPLY = struct.Struct(">BIII")  # status, two numbers, pages
DONE, UNREADABLE, NO_SUCH_PAGE, TOO_LARGE = range(4)
_MAX_REASON = 500
_READ = 2**20  # bytes
_AT_ONCE = 2**26  # a larger picture is put together in bands: it shall not lie in memory twice


@dataclass(frozen=True)
class Job:
    """What a worker shall do: ``decode`` a surveyed picture, ``draw`` or ``count`` PDF pages."""

    what: Literal["decode", "draw", "count"]
    data: bytes
    page: int = 1
    kind: str = "PDF"
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    frame: int = 0
    inverted: bool = False

    @classmethod
    def decode(cls, survey: Survey) -> "Job":
        """The job of decoding ``survey``."""
        return cls(
            "decode",
            survey.bare,
            kind=survey.kind,
            size=survey.size,
            orientation=survey.orientation,
            frame=survey.frame,
            inverted=survey.inverted,
        )

    @property
    def survey(self) -> Survey:
        """The survey that :meth:`decode` was given, without its number of pages."""
        return Survey(
            self.kind, self.size, 1, self.orientation, self.data, self.frame, self.inverted
        )

    def write(self, pipe: io.RawIOBase) -> None:
        """Send this job."""
        told = {key: value for key, value in vars(self).items() if key != "data"}
        text = json.dumps(told).encode("ascii")
        write_all(pipe, _JOB.pack(len(text), len(self.data)) + text)
        write_all(pipe, self.data)

    @classmethod
    def read(cls, pipe: io.RawIOBase) -> "Job | None":
        """Receive a job; None when there will be no more."""
        head = read_exactly(pipe, _JOB.size)
        if len(head) < _JOB.size:
            return None
        length, size = _JOB.unpack(head)
        told = json.loads(read_exactly(pipe, length))
        told["size"] = tuple(told["size"])
        return cls(data=bytes(read_exactly(pipe, size)), **told)


class Received:
    """A worker's reply to a job: a picture, but for a count, and how many pages there are."""

    def __init__(self, pipe: io.RawIOBase, job: Job) -> None:
        """Receive the reply to ``job``; a worker that a file has taken over may send anything.

        Raises:
            UnreadableError: what the worker found.
            EOFError: the worker is gone, or sent what is no reply.
        """
        status, first, second, pages = _REPLY.unpack(_whole(pipe, _REPLY.size))
        if status == UNREADABLE:
            reason = _whole(pipe, min(first, _MAX_REASON))
            raise UnreadableError(reason.decode("utf-8", "replace"))
        if status == TOO_LARGE:
            raise TooLargeError((first, second))
        if status == NO_SUCH_PAGE and pages <= MAX_PAGES:
            raise NoSuchPageError(pages)
        if status != DONE or not 1 <= pages <= MAX_PAGES:
            raise EOFError
        self.pages: int = pages
        self._picture: Image.Image | None = None
        if job.what != "count":
            if not _is_right((first, second), job):
                raise EOFError
            self._picture = _picture(pipe, (first, second))

    @property
    def image(self) -> Image.Image:
        """The picture, RGB; a count has none."""
        assert self._picture is not None
        return self._picture


def send_reply(
    pipe: io.RawIOBase, status: int, first: int = 0, second: int = 0, pages: int = 0
) -> None:
    """Send the head of a reply."""
    write_all(pipe, _REPLY.pack(status, first, second, pages))


def send_reason(pipe: io.RawIOBase, reason: str) -> None:
    """Send why a file is not read."""
    text = reason.encode("utf-8", "replace")[:_MAX_REASON]
    send_reply(pipe, UNREADABLE, len(text))
    write_all(pipe, text)


def write_all(pipe: io.RawIOBase, data: bytes) -> None:
    """Write every byte, however few the pipe takes at once."""
    view = memoryview(data).cast("B") if data else memoryview(b"")
    while view:
        view = view[pipe.write(view) or 0 :]


def read_exactly(pipe: io.RawIOBase, size: int) -> bytearray:
    """Read ``size`` bytes; fewer only where the pipe has ended."""
    buffer = bytearray(size)
    view, end = memoryview(buffer), 0
    while end < size and (count := pipe.readinto(view[end : end + _READ])):
        end += count
    view.release()
    del buffer[end:]
    return buffer


def _whole(pipe: io.RawIOBase, size: int) -> bytearray:
    data = read_exactly(pipe, size)
    if len(data) < size:
        raise EOFError
    return data


def _is_right(size: tuple[int, int], job: Job) -> bool:
    """Whether a picture may have this width and height."""
    if job.what == "decode":
        return size == job.survey.upright_size
    try:
        check_size(size)
    except UnreadableError:
        return False
    return True


def _picture(pipe: io.RawIOBase, size: tuple[int, int]) -> Image.Image:
    width, height = size
    if 3 * width * height <= _AT_ONCE:
        return Image.frombytes("RGB", size, _whole(pipe, 3 * width * height))
    picture = Image.new("RGB", size, None)
    rows = max(1, _READ // (3 * width))
    for top in range(0, height, rows):
        here = min(rows, height - top)
        band = Image.frombytes("RGB", (width, here), _whole(pipe, 3 * width * here))
        picture.paste(band, (0, top))
    return picture
