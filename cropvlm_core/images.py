"""Pictures in and out: the only door through which image bytes are decoded or encoded.

Whatever comes in, what goes on is upright (EXIF), RGB, on white where it was transparent, and
fully loaded: a lazily opened Pillow image is not safe to share between threads. How a file is
judged before any decoder sees it: :mod:`cropvlm_core.decoding`.

A file of several pages (PDF, multi-page TIFF) or frames (animated GIF, WEBP, APNG) gives one:
the first, unless ``page`` says another, from 1. :func:`open_page` also tells how many there are.
"""

import base64
import io
import math
import os
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from PIL import Image

from cropvlm_core.decoding import formats, pictures
from cropvlm_core.decoding.survey import (
    MAX_PIXELS,
    MAX_SIDE,
    NoSuchPageError,
    Survey,
    TooLargeError,
    UnreadableError,
)
from cropvlm_core.errors import ImageError, shorten
from cropvlm_core.sources import MAX_BYTES, is_data_uri, read_reference

__all__ = [
    "MAX_MODEL_SIDE",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MODEL_BYTES",
    "ImageSource",
    "OpenedPage",
    "check_page_number",
    "encode_for_model",
    "encode_jpeg",
    "encode_png",
    "encode_within",
    "image_format",
    "open_image",
    "open_page",
    "page_count",
    "scaled_down",
    "to_data_uri",
]

MODEL_BYTES = 3_750_000
"""The most bytes of a PNG for a model: 5 MB as base64, the least that hosted models take."""

MAX_MODEL_SIDE = 8000
"""The most pixels a side that every hosted model takes."""

ImageSource = Image.Image | str | os.PathLike[str] | bytes
"""What a caller may hand in: a PIL image, a path, a ``data:`` URI, or the bytes of a file."""

_EXPECTED = "a PNG, JPEG, WEBP, GIF, BMP or TIFF image"
_BEST_OF_PNG = 10  # pixels of a page that a PNG may hold in a byte: beyond, it need not be tried
_NAME, _REASON = 30, 45  # the most characters: a message has at most 120, with what a tool adds


@dataclass(frozen=True)
class OpenedPage:
    """One page: the upright RGB ``image``, its ``number`` from 1, and how many (``count``)."""

    image: Image.Image
    number: int
    count: int


def open_image(
    source: ImageSource, *, page: int = 1, urls: bool = False, isolate: bool = False
) -> Image.Image:
    """Open an image upright, RGB, loaded; see :func:`open_page`, which also counts pages."""
    return open_page(source, page=page, urls=urls, isolate=isolate).image


def open_page(
    source: ImageSource, *, page: int = 1, urls: bool = False, isolate: bool = False
) -> OpenedPage:
    """Open one page of an image or PDF: upright, RGB, loaded.

    Transparency is laid on white. 16-bit, integer and float greys become 8-bit greys: as they
    are where they lie within 0..255, otherwise scaled by their range. Colour profiles are not
    followed. The caller's image is never changed; a PIL image that is upright RGB in memory
    already is returned as it is. A PDF page is drawn at 200 dots per inch, or as many fewer as
    keep it within the limits below (extra ``pdf``).

    Args:
        source: a PIL image (one page: the frame it stands at), a path, a ``data:`` URI, or bytes.
        page: which page or frame, from 1.
        urls: whether ``source`` may be an http or https URL.
        isolate: decode in a worker process with limits on time and memory, see
            :mod:`cropvlm_core.isolation`; what is refused, and the pixels, are the same. PDFs
            are always drawn there; a PIL image never is. In this process, libtiff also writes
            on stderr what it finds damaged.

    Raises:
        SourceError: the reference is refused, or nothing is there.
        ImageError: not a whole PDF, PNG, JPEG, WEBP, GIF, BMP or TIFF; larger than 50 megapixels,
            32,768 pixels a side or 20 MiB; no such page; or more than 400 MB or some seconds of
            work to decode, which is 22 megapixels of WEBP or of a later frame of an animation,
            36 of a progressive JPEG with all its colour.
        MissingExtraError: a PDF, without the extra ``pdf``.
    """
    check_page_number(page)
    if isinstance(source, Image.Image):
        return _from_pil(source, page)
    data, name = _bytes_of(source, urls=urls)
    kind = _kind(data, name)
    try:
        if kind == formats.PDF:
            from cropvlm_core.isolation import draw_pdf_page

            drawn, count = draw_pdf_page(data, page)
            return OpenedPage(drawn, page, count)
        survey = formats.survey(kind, data, page)
        del data  # the survey holds what is needed of it
        return OpenedPage(_decode(survey, isolate=isolate), page, survey.pages)
    except UnreadableError as reason:
        _refuse(kind, name, page, reason)


def page_count(source: ImageSource, *, urls: bool = False) -> int:
    """Count the pages or frames of an image or PDF, without decoding one.

    Raises:
        SourceError, ImageError, MissingExtraError: see :func:`open_page`.
    """
    if isinstance(source, Image.Image):
        return 1
    data, name = _bytes_of(source, urls=urls)
    kind = _kind(data, name)
    try:
        if kind == formats.PDF:
            from cropvlm_core.isolation import count_pdf_pages

            return count_pdf_pages(data)
        return formats.survey(kind, data, 1).pages
    except UnreadableError as reason:
        _refuse(kind, name, 1, reason)


def check_page_number(page: object) -> None:
    """Refuse what cannot be the number of a page.

    Raises:
        ImageError: no whole number from 1.
    """
    if not isinstance(page, int) or isinstance(page, bool) or page < 1:
        raise ImageError(f"expected the number of a page, from 1, got {shorten(page, _NAME)}")


def image_format(data: bytes) -> str | None:
    """Return PNG, JPEG, WEBP, GIF, BMP, TIFF or PDF by how ``data`` begins, or None."""
    return formats.kind_of(data)


def encode_png(image: Image.Image) -> bytes:
    """Encode as PNG, pixels only: no metadata of the source goes along."""
    return _encode(image, "PNG")


def encode_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Encode an RGB or grey image as JPEG, without metadata."""
    return _encode(image, "JPEG", quality=quality)


def encode_for_model(image: Image.Image, lossless_pixels: int) -> tuple[bytes, str]:
    """Encode a picture that a model shall see; return the bytes and their MIME type.

    PNG up to ``lossless_pixels`` pixels, unless that takes more than :data:`MODEL_BYTES`; else
    JPEG, which hosted models take at a tenth of the size.
    """
    if image.width * image.height <= lossless_pixels:
        data = encode_png(image)
        if len(data) <= MODEL_BYTES:
            return data, "image/png"
    return encode_jpeg(image), "image/jpeg"


def scaled_down(image: Image.Image, longest: int) -> Image.Image:
    """Return the picture with at most ``longest`` pixels a side; itself where it has no more."""
    factor = longest / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def encode_within(
    image: Image.Image, most: int, longest: int = MAX_MODEL_SIDE
) -> tuple[bytes, str, tuple[int, int]]:
    """Encode a picture into at most ``most`` bytes and ``longest`` pixels a side.

    PNG where that fits, else JPEG, else JPEG of the picture scaled down. Returns the bytes, their
    MIME type, and the size in pixels as encoded.
    """
    picture = scaled_down(image, longest)
    if picture.width * picture.height <= most * _BEST_OF_PNG:
        data = encode_png(picture)
        if len(data) <= most:
            return data, "image/png", picture.size
    data = encode_jpeg(picture)
    while len(data) > most and max(picture.size) > 1:
        factor = min(0.9, 0.95 * math.sqrt(most / len(data)))
        picture = scaled_down(picture, max(1, int(max(picture.size) * factor)))
        data = encode_jpeg(picture)
    return data, "image/jpeg", picture.size


def to_data_uri(image: Image.Image) -> str:
    """Encode as a ``data:image/png;base64,...`` URI."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode('ascii')}"


def _encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    # Saving leaves marks on an image object, and writes its metadata: this one is our own.
    pictures.plain(image).save(stream, file_format, **options)
    return stream.getvalue()


def _from_pil(source: Image.Image, page: int) -> OpenedPage:
    name = f"a PIL image of mode {source.mode}"
    try:
        if page != 1:
            raise NoSuchPageError(1)
        return OpenedPage(pictures.upright_copy(source), 1, 1)
    except UnreadableError as reason:
        _refuse(None, name, page, reason)


def _bytes_of(source: ImageSource, *, urls: bool) -> tuple[bytes, str]:
    """The bytes behind a source, and what to call it in a message: never a path or an address."""
    if isinstance(source, bytes):
        return source, f"{len(source)} bytes"
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise ImageError(f"expected a PIL image, path, bytes or data: URI, got {kind}")
    text = os.fsdecode(source)
    if is_data_uri(text):
        name = "a data: URI"
    elif isinstance(source, str) and "://" in text:
        name = "the image behind a URL"
    else:
        name = shorten(PurePath(text).name or text, _NAME)
    return read_reference(source, urls=urls), name


def _kind(data: bytes, name: str) -> str:
    if not data:
        raise ImageError(f"expected {_EXPECTED}, got {name}: the file is empty")
    if len(data) > MAX_BYTES:
        raise ImageError(f"expected an image of at most {MAX_BYTES} bytes, got {name}")
    kind = formats.kind_of(data)
    if kind is None:
        if data[4:8] == b"ftyp":
            what = "HEIC, AVIF or video"
        else:
            what = "text" if data[:256].isascii() else "unknown format"
        raise ImageError(f"expected {_EXPECTED}, got {name}: {what}")
    return kind


def _decode(survey: Survey, *, isolate: bool) -> Image.Image:
    if not isolate:
        return pictures.decoded(survey)
    from cropvlm_core.isolation import decode_apart

    return decode_apart(survey)


def _refuse(kind: str | None, name: str, page: int, reason: UnreadableError) -> NoReturn:
    """Raise the ImageError that says what was expected, what came, and why, in one line."""
    if isinstance(reason, TooLargeError):
        expected = f"at most {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE} a side"
    elif isinstance(reason, NoSuchPageError):
        there = f"page 1 to {reason.pages}" if reason.pages > 1 else "page 1, the only one"
        raise ImageError(f"expected {there}, got page {shorten(page, 12)}: {name}")
    elif kind == formats.PDF:
        expected = "a PDF that opens"
    else:
        expected = f"a whole {kind} image" if kind else "a PIL image that loads"
    why = "".join(filter(str.isprintable, " ".join(str(reason).split())))
    if len(why) > _REASON:
        why = f"{why[: _REASON - 3]}..."
    message = f"expected {expected}, got {name}: {why}"
    raise ImageError(message) from reason.__cause__


def _sniff(data: bytes, name: str) -> tuple[str, None]:
    """Old name of :func:`image_format`, for training/public_sets.py."""
    return _kind(data, name), None
