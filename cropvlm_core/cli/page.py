"""The page that a command looks at: ``IMAGE``, ``--page``, ``--urls``."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.images import OpenedPage
    from cropvlm_core.questions import VisualQuestion


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add --page and --urls."""
    parser.add_argument(
        "--page",
        metavar="N",
        type=arguments.positive,
        default=1,
        help="page of a PDF or TIFF, or frame of an animation (default: 1, the first)",
    )
    parser.add_argument(
        "--urls", action="store_true", help="let IMAGE be an http or https URL, which is fetched"
    )


def opened(given: argparse.Namespace) -> "tuple[VisualQuestion, OpenedPage]":
    """Return the question holding its page, and the page.

    Raises:
        SourceError, ImageError, MissingExtraError, QuestionError: bad input.
    """
    from cropvlm_core.images import open_page
    from cropvlm_core.questions import VisualQuestion

    asked = VisualQuestion(given.image, given.question, page=given.page)
    with _quiet():
        page = open_page(given.image, page=given.page, urls=given.urls)
    return asked.opened(page.image), page


def which(page: "OpenedPage") -> str:
    """Say which page of how many; nothing where there is one."""
    return f"page {page.number} of {page.count}" if page.count > 1 else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a decoder's own lines off the terminal: libtiff writes what it finds damaged there."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no such stream
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
