"""What runs in a worker process: jobs in, pixels out, within limits."""

import itertools
import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

if sys.platform != "win32":
    import resource

from cropvlm_core.decoding.pictures import decoded_rows
from cropvlm_core.decoding.survey import (
    MAX_MEMORY,
    NoSuchPageError,
    TooLargeError,
    UnreadableError,
)
from cropvlm_core.isolation.wire import (
    DONE,
    NO_SUCH_PAGE,
    TOO_LARGE,
    Job,
    send_reason,
    send_reply,
    write_all,
)

CPU_SECONDS = 4
"""Processor time of one job, in seconds."""

_DECODING = MAX_MEMORY + 30_000_000  # bytes: what a survey allows, and the file
_DRAWING = 320_000_000  # bytes: the same, with the reader of PDFs that is loaded for it


def main() -> None:
    """Serve jobs from standard input, until it ends."""
    jobs, replies = FileIO(os.dup(0), "rb"), FileIO(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # a library that prints must not print into a reply
        os.dup2(nothing, stream)
    _limit_once()
    write_all(replies, b"R")
    while (job := Job.read(jobs)) is not None:
        _limit_job(_DECODING if job.what == "decode" else _DRAWING)
        _serve(job, replies)


def _serve(job: Job, replies: FileIO) -> None:
    try:
        size, pages, rows = _begun(job)
        first = next(rows, b"")  # decodes: what fails, fails before the reply has begun
    except NoSuchPageError as error:
        send_reply(replies, NO_SUCH_PAGE, pages=error.pages)
    except TooLargeError as error:
        send_reply(replies, TOO_LARGE, *error.size)
    except UnreadableError as error:
        send_reason(replies, str(error))
    except MemoryError:
        send_reason(replies, "it takes too much memory to decode")
    else:
        send_reply(replies, DONE, *size, pages)
        for band in itertools.chain([first], rows):
            write_all(replies, band)


def _begun(job: Job) -> tuple[tuple[int, int], int, Iterator[bytes]]:
    """Width and height, the number of pages, and the rows to come."""
    if job.what == "decode":
        return job.survey.upright_size, 1, decoded_rows(job.survey)
    from cropvlm_core.decoding import pdf  # when needed: most workers never draw a PDF

    if job.what == "draw":
        return pdf.drawn_rows(job.data, job.page)
    return (0, 0), pdf.count_pages(job.data), iter(())


if sys.platform == "win32":  # pragma: no cover

    def _limit_once() -> None:
        pass

    def _limit_job(memory: int) -> None:
        pass

else:

    def _limit_once() -> None:
        """No core dump, and no file: a worker needs to write nothing but its replies."""
        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            _lower(limit, 0)

    def _limit_job(memory: int) -> None:
        """So much memory and processor time more than is taken by now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS)
        with suppress(OSError):  # no such file on macOS, which does not enforce the limit either
            pages = int(Path("/proc/self/statm").read_bytes().split()[0])
            _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)

    def _lower(limit: int, value: int) -> None:
        """Set a soft limit, below a hard one that somebody else may have set."""
        _, hard = resource.getrlimit(limit)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, hard))
