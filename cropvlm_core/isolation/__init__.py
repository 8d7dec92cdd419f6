"""Decoding in processes of their own, so that no file can hang, fill or crash ours.

A worker is a plain Python started by this one, without its environment (no key is in reach), its
files or its terminal; pictures go in and rows of pixels come back through pipes, and nothing that
comes back is trusted: neither sizes nor texts, and nothing is unpickled. Workers are started when
first needed, at most one for each core and four in all, shared by all threads, replaced after
:data:`cropvlm_core.isolation.pool.PICTURES_A_WORKER` pictures, and killed at exit. A process that
was forked from this one starts its own.

Limits of one picture: 4 seconds on the clock and of processor time, and 390 MB of memory beyond
what a worker holds anyway (``RLIMIT_CPU``, ``RLIMIT_AS``). Windows has neither limit and macOS does
not enforce the second: there the clock alone holds. Starting a worker takes 0.2 to 0.5 seconds,
which do not count. Where a limit or a crash ended a worker, the error's cause is an EOFError or an
OSError: the same picture may pass on a machine that is less busy.

A worker needs ``sys.executable`` to be Python; where it is not, set it with
``multiprocessing.set_executable``.
"""

import importlib.util
from typing import Literal

from PIL import Image

from cropvlm_core.decoding.survey import Survey
from cropvlm_core.errors import MissingExtraError
from cropvlm_core.isolation.pool import shared_pool
from cropvlm_core.isolation.wire import Job


def decode_apart(survey: Survey) -> Image.Image:
    """Decode a surveyed page in a worker: what ``decoding.pictures.decoded`` gives here.

    Raises:
        UnreadableError: what decodes is no whole picture, or it takes too much time or memory, or
            its decoder crashed.
    """
    return shared_pool().run(Job.decode(survey)).image


def draw_pdf_page(data: bytes, page: int) -> tuple[Image.Image, int]:
    """Draw a page of a PDF, from 1; return it with the number of pages.

    Raises:
        UnreadableError: no PDF that opens, no such page, or too much to draw.
        MissingExtraError: the reader of PDFs is not installed.
    """
    drawn = shared_pool().run(_pdf_job("draw", data, page))
    return drawn.image, drawn.pages


def count_pdf_pages(data: bytes) -> int:
    """Count the pages of a PDF.

    Raises:
        UnreadableError, MissingExtraError: as for :func:`draw_pdf_page`.
    """
    return shared_pool().run(_pdf_job("count", data, 1)).pages


def _pdf_job(what: Literal["draw", "count"], data: bytes, page: int) -> Job:
    if importlib.util.find_spec("pypdfium2") is None:
        raise MissingExtraError("reading PDF files", "pdf")
    return Job(what, data, page=page)
