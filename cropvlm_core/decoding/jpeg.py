"""JPEG: segments, each behind a marker ``FF xx``, and between them the coded pixels of a scan."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from cropvlm_core.decoding.exif import orientation_in
from cropvlm_core.decoding.survey import (
    Survey,
    UnreadableError,
    check_memory,
    check_page,
    check_size,
    counted,
)

START = b"\xff\xd8\xff"

MAX_SCANNED_PIXELS = 1_000_000_000
"""The most pixels over all scans: each scan of a progressive JPEG walks the whole picture."""

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # not a coded FF, not a restart
_START_OF_SCAN, _END = 0xDA, 0xD9
_BARE = (0x01, 0xD8)  # markers without a segment
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantisation, restarts
_HUFFMAN = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_PROGRESSIVE = 0xC2
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_MAX_SEGMENTS = 10_000
_MAX_TABLES = 2**16  # bytes of tables before the first scan; a usual file has a thousand


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def survey_jpeg(data: bytes, page: int) -> Survey:
    """Survey a JPEG: one page, whatever further pictures are stored behind it.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    check_page(page, 1)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    frame: _Segment | None = None
    scans, first_scan, end, tables = 0, 0, len(data), 0
    exif = b""
    for segment in counted(_segments(data), _MAX_SEGMENTS):
        marker, start, stop = segment
        opening = bytes(view[start + 4 : min(stop, start + 16)])
        if marker == _END:
            end = stop
        elif marker == _START_OF_SCAN:
            scans += 1
            first_scan = first_scan or start
        elif marker in _FRAMES:
            if frame is not None:
                raise UnreadableError("it holds more than one picture in one")
            frame = segment
        elif marker == _APP1 and not exif and opening.startswith(b"Exif\0\0"):
            exif = bytes(view[start + 4 : stop])
        if first_scan:
            continue
        if marker in _TABLES or marker in _FRAMES:
            tables += stop - start
            kept.append(view[start:stop])
        elif marker == _APP0 and opening.startswith(b"JFIF\0"):
            kept.append(b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0")
        elif marker == _APP14 and opening.startswith(b"Adobe"):
            kept.append(b"\xff\xee\0\x0e" + opening.ljust(12, b"\0"))  # how colours are coded
    if frame is None or not first_scan:
        raise UnreadableError("it is truncated before its pixels")
    if tables > _MAX_TABLES:
        raise UnreadableError(f"it has more than {_MAX_TABLES} bytes of tables")
    size = _check_frame(frame.marker, bytes(view[frame.start + 4 : frame.end]), scans)
    kept.append(view[first_scan:end])
    return Survey("JPEG", size, 1, orientation_in(exif), b"".join(kept))


def _segments(data: bytes) -> Iterator[_Segment]:
    """Every segment with its marker, up to the end of the picture."""
    at = 2
    coded = False
    while match := _MARKER.search(data, at):
        marker, start = match[1][0], match.end() - 2
        if not coded and start - at > _MAX_TABLES:
            raise UnreadableError(f"it has {start - at} bytes between its parts")
        if marker == _END:
            yield _Segment(marker, start, start + 2)
            return
        if marker in _BARE:
            at = start + 2
            continue
        stop = start + 2 + max(int.from_bytes(data[start + 2 : start + 4]), 2)
        yield _Segment(marker, start, min(stop, len(data)))
        coded = coded or marker == _START_OF_SCAN
        at = stop


def _check_frame(marker: int, body: bytes, scans: int) -> tuple[int, int]:
    """Width and height of a frame that can be decoded in bounds."""
    if marker not in _HUFFMAN:
        raise UnreadableError(f"it is of the rare kind SOF{marker - 0xC0}")
    size = (int.from_bytes(body[3:5]), int.from_bytes(body[1:3]))
    check_size(size)
    pixels = size[0] * size[1]
    if scans * pixels > MAX_SCANNED_PIXELS:
        raise UnreadableError(f"it draws {size[0]} x {size[1]} pixels {scans} times over")
    grey = body[5] == 1 if len(body) > 5 else False
    coefficients = 0
    if marker == _PROGRESSIVE or scans > 1:  # then the decoder keeps the whole picture in them
        coefficients = _coefficients(size, body[6:])
    check_memory(size, 1 if grey else 4, coefficients)
    return size


def _coefficients(size: tuple[int, int], components: bytes) -> int:
    """Bytes of all coefficients: two for each sample, in whole blocks of 8 x 8."""
    factors = [(byte >> 4, byte & 15) for byte in components[1::3]]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair) or not factors:
        raise UnreadableError("it has impossible sampling factors")
    widest, highest = (max(pair[axis] for pair in factors) for axis in (0, 1))
    across = -(-size[0] // (8 * widest))
    down = -(-size[1] // (8 * highest))
    return sum(across * wide * down * high * 128 for wide, high in factors)
