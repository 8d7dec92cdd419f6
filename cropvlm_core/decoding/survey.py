"""Survey: what a picture file says about itself, and the limits it must keep."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cropvlm_core.errors import ImageError

MAX_PIXELS = 50_000_000
"""The most pixels of one image (50 megapixels)."""

MAX_SIDE = 32_768
"""The longest side of one image, in pixels."""

MAX_PAGES = 10_000
"""The most pages or frames of one file."""

MAX_MEMORY = 360_000_000
"""The most bytes that decoding one image may take, the file itself apart: 400 MB with all else."""

MAX_PARTS = 200_000
"""The most parts (chunks, segments, blocks, strips) of one file: Python walks each of them."""

MAX_ANIMATED_PIXELS = 200_000_000
"""The most pixels drawn to reach a frame of an animation, where each builds on the one before."""

TURNED_BYTES = 7
"""Bytes a pixel while a picture is turned or changes its colours: packed, and as Pillow's RGB."""

_Part = TypeVar("_Part")


class UnreadableError(ImageError):
    """A file that is not read, and why; images.py raises the ImageError that also names it."""


class NoSuchPageError(UnreadableError):
    """The file is fine and has fewer pages than asked for."""

    def __init__(self, pages: int) -> None:
        """``pages``: how many it has."""
        super().__init__(f"it has {pages}")
        self.pages = pages


@dataclass(frozen=True)
class Survey:
    """One page of a picture file, ready to decode.

    ``kind``: a name such as "PNG". ``size``: width and height as stored, in pixels, before the
    EXIF ``orientation`` (1..8) is followed. ``pages``: pages or frames of the whole file.
    ``bare``: a file of the page asked for with nothing but what makes its pixels; ``frame``: which
    frame of ``bare`` that is, from 0. ``inverted``: 16-bit or float greys whose zero is white.
    """

    kind: str
    size: tuple[int, int]
    pages: int
    orientation: int
    bare: bytes
    frame: int = 0
    inverted: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels after turning."""
        width, height = self.size
        return (height, width) if self.orientation in (5, 6, 7, 8) else (width, height)


def check_page(page: int, pages: int) -> None:
    """Refuse a file of too many pages, and a page that it does not have.

    Raises:
        UnreadableError: either of them.
    """
    if pages > MAX_PAGES:
        raise UnreadableError(f"it has more than {MAX_PAGES} pages or frames")
    if not 1 <= page <= pages:
        raise NoSuchPageError(pages)


def check_size(size: tuple[int, int]) -> None:
    """Refuse what is larger than we decode.

    Raises:
        UnreadableError: no pixels, or too many.
    """
    width, height = size
    if width < 1 or height < 1:
        raise UnreadableError(f"it declares {width} x {height} pixels")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise TooLargeError(size)


class TooLargeError(UnreadableError):
    """More pixels than we decode."""

    def __init__(self, size: tuple[int, int]) -> None:
        """``size``: what the file declares."""
        super().__init__(f"{size[0]} x {size[1]}")
        self.size = size


def check_memory(size: tuple[int, int], bytes_a_pixel: float, more: int = 0) -> None:
    """Refuse what cannot be decoded within :data:`MAX_MEMORY`.

    Args:
        size: width and height.
        bytes_a_pixel: what the format's decoder takes at its peak, its result included.
        more: bytes that the decoder takes besides.

    Raises:
        UnreadableError: it takes more.
    """
    pixels = size[0] * size[1]
    needed = max(pixels * bytes_a_pixel + more, pixels * TURNED_BYTES)
    if needed > MAX_MEMORY:
        raise UnreadableError(
            f"{size[0]} x {size[1]} take {needed / 1e6:.0f} MB to decode, "
            f"over {MAX_MEMORY // 1_000_000}"
        )


def check_animation(size: tuple[int, int], page: int) -> None:
    """Refuse a frame that too much has to be drawn for.

    Raises:
        UnreadableError: too far from the first.
    """
    if page > 1 and size[0] * size[1] * page > MAX_ANIMATED_PIXELS:
        raise UnreadableError(f"frame {page} of {size[0]} x {size[1]} takes too long")


def counted(parts: Iterable[_Part], most: int = MAX_PARTS) -> Iterator[_Part]:
    """Pass parts on, and refuse a file of too many.

    Raises:
        UnreadableError: there are more than ``most``.
    """
    for number, part in enumerate(parts):
        if number >= most:
            raise UnreadableError(f"it has more than {most} parts")
        yield part
