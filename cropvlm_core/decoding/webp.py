"""WebP: a RIFF file of chunks, each with a name, a length and a body of even length."""

import struct
from collections.abc import Iterator

from cropvlm_core.decoding.exif import orientation_in
from cropvlm_core.decoding.survey import (
    Survey,
    UnreadableError,
    check_animation,
    check_memory,
    check_page,
    check_size,
    counted,
)

_FLAGS_KEPT = 0x12  # alpha and animation; not ICC, EXIF, XMP
_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")
_BYTES = 16  # two canvases of its decoder, the frame handed over, and Pillow's picture


def is_webp(data: bytes) -> bool:
    """Whether the file begins as a WebP does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def survey_webp(data: bytes, page: int) -> Survey:
    """Survey a WebP; the pages of an animation are its frames, each with those before it under it.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    size = _size(data)
    check_size(size)
    check_memory(size, _BYTES)
    still: list[tuple[bytes, memoryview]] = []
    frames: list[tuple[bytes, memoryview]] = []
    head: list[tuple[bytes, bytes | memoryview]] = []
    exif = b""
    for name, body in counted(_chunks(data)):
        if name == b"VP8X" and not head and not still and len(body) >= 10:
            flags = bytes([body[0] & _FLAGS_KEPT])
            head.append((name, flags + bytes(body[1:10])))
        elif name == b"ANIM" and len(head) == 1 and not frames:
            head.append((name, body[:6]))
        elif name == b"ANMF":
            frames.append((name, body))
        elif name in _PIXELS and len(still) < 2:
            still.append((name, body))
        elif name == b"EXIF" and not exif:
            exif = bytes(body)
    animated = len(head) == 2 and bool(head[0][1][0] & 2)
    pages = len(frames) if animated else 1
    check_page(page, max(pages, 1))
    check_animation(size, page)
    shown = frames[:page] if animated else still[: 1 + bool(head)]  # alpha apart: with a canvas
    if not shown:
        raise UnreadableError("it is truncated before its pixels")
    bare = _file([*head[: 1 + animated], *shown])
    return Survey("WEBP", size, max(pages, 1), orientation_in(exif), bare, page - 1)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, by the WebP container specification."""
    if len(data) < 30:
        raise UnreadableError("it is truncated before its size")
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return width, height
    raise UnreadableError("it does not begin with a picture")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(data)
    end = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    at = 12
    while at + 8 <= end:
        length = int.from_bytes(view[at + 4 : at + 8], "little")
        yield data[at : at + 4], view[at + 8 : min(at + 8 + length, end)]
        at += 8 + length + length % 2


def _file(chunks: list[tuple[bytes, bytes | memoryview]]) -> bytes:
    parts: list[bytes | memoryview] = []
    for name, body in chunks:
        parts += (name, struct.pack("<I", len(body)), body, b"\0" * (len(body) % 2))
    length = 4 + sum(len(part) for part in parts)
    return b"".join([b"RIFF", struct.pack("<I", length), b"WEBP", *parts])
