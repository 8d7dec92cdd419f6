"""PNG and APNG: chunks, each with a length, a name, a body and a checksum."""

import struct
import zlib
from collections.abc import Iterable, Iterator

from cropvlm_core.decoding.exif import exif_in_profile, inflated, orientation_in
from cropvlm_core.decoding.survey import (
    Survey,
    UnreadableError,
    check_animation,
    check_memory,
    check_page,
    check_size,
    counted,
)

START = b"\x89PNG\r\n\x1a\n"
_HEAD = 13  # bytes of the header chunk
_PROFILE = b"Raw profile type exif\0"
_ANIMATED_BYTES = 16  # canvas, the one before, what is disposed of, and RGBA of a palette

_Chunk = tuple[bytes, bytes | memoryview]


def survey_png(data: bytes, page: int) -> Survey:
    """Survey a PNG; page 1 is the picture that every viewer shows, further ones are frames.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    if data[12:16] != b"IHDR" or len(data) < 16 + _HEAD:
        raise UnreadableError("it does not begin with a header")
    size = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    check_size(size)
    check_memory(size, 4)
    head: list[_Chunk] = [(b"IHDR", data[16 : 16 + _HEAD])]
    still: list[_Chunk] = []
    frames: list[list[_Chunk]] = []
    animated = False
    exif: bytes | None = None
    for name, body in counted(_chunks(data)):
        if name == b"IDAT":
            still.append((name, body))
            if animated and not frames:
                frames.append([])  # a picture of its own, before the animation
            if animated:
                frames[-1].append((name, body))
        elif name == b"fcTL" and animated:
            frames.append([(name, body)])
        elif name == b"fdAT" and frames:
            frames[-1].append((name, body))
        elif name == b"acTL" and not still:
            animated = any(body[:4])
        elif name in (b"PLTE", b"tRNS") and not still and all(name != had for had, _ in head):
            head.append((name, body))
        elif exif is None:
            exif = _exif(name, body)
    pages = max(len(frames), 1)
    check_page(page, pages)
    orientation = orientation_in(exif or b"")
    if page == 1:
        return Survey("PNG", size, pages, orientation, _file([*head, *still]))
    check_animation(size, page)
    check_memory(size, _ANIMATED_BYTES)
    numbered = len(frames) - (frames[0][0][0] != b"fcTL")
    head.insert(1, (b"acTL", struct.pack(">II", numbered, 0)))
    shown = [chunk for frame in frames[:page] for chunk in frame]
    return Survey("PNG", size, pages, orientation, _file([*head, *shown]), page - 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(data)
    at = len(START)
    while at + 8 <= len(data):
        length = int.from_bytes(view[at : at + 4])
        name = data[at + 4 : at + 8]
        if name == b"IEND":
            return
        yield name, view[at + 8 : at + 8 + length]
        at += 12 + length


def _file(chunks: Iterable[_Chunk]) -> bytes:
    parts: list[bytes | memoryview] = [START]
    for name, body in (*chunks, (b"IEND", b"")):
        checksum = zlib.crc32(body, zlib.crc32(name))
        parts += (struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum))
    return b"".join(parts)


def _exif(name: bytes, body: memoryview) -> bytes | None:
    """The EXIF bytes that a chunk holds; None where it is not for them."""
    if name == b"eXIf":
        return bytes(body)
    if name in (b"zTXt", b"tEXt") and body[: len(_PROFILE)] == _PROFILE:
        text = bytes(body[len(_PROFILE) :])
        return exif_in_profile(inflated(text[1:]) if name == b"zTXt" else text)
    return None
