"""TIFF and BigTIFF: a chain of directories, one a page, whose entries say where the pixels are.

The bare copy gets a directory of its own behind the file's bytes, with the entries that make
pixels and no further page, so that no decoder walks the file's own.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cropvlm_core.decoding.survey import (
    MAX_PAGES,
    MAX_PARTS,
    MAX_PIXELS,
    Survey,
    UnreadableError,
    check_memory,
    check_page,
    check_size,
)

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS = 273, 274, 277, 278
_STRIP_SIZES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 279, 284, 322, 323, 324, 325
_FILL_ORDER, _FAX3, _FAX4, _PREDICTOR, _PALETTE = 266, 292, 293, 317, 320
_EXTRA, _FORMAT, _JPEG_TABLES = 338, 339, 347
_COLOUR = (529, 530, 531, 532)  # how YCbCr is coded
_MOST = {
    **dict.fromkeys((_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES), MAX_PARTS),
    **dict.fromkeys((_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANAR), 1),
    **dict.fromkeys((_TILE_WIDTH, _TILE_HEIGHT, _FILL_ORDER, _FAX3, _FAX4, _PREDICTOR), 1),
    **dict.fromkeys((_BITS, _EXTRA, _FORMAT, *_COLOUR), 8),
    _PALETTE: 3 * 2**16,
    _JPEG_TABLES: 2**16,
}
_RAW, _JPEG = 1, 7
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}  # none, CCITT, LZW, JPEG, Deflate, PackBits
_MAX_SAMPLES = 6  # of a pixel: four colours, and two that are not shown
_MAX_RAW_PARTS = 40_000  # strips without compression are each a step in Python
_CODED_BYTES = 6  # coefficients of a pixel, should the JPEG within be progressive


class _Entry(NamedTuple):
    kind: int
    many: int
    value: bytes  # as in the directory: the value, or where it is
    data: memoryview


class _File:
    """Numbers in a TIFF, classic or Big, of either byte order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.view = memoryview(data)
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = 43 in data[2:4]
        self.word = 8 if self.big else 4

    def numbers(self, form: str, at: int) -> tuple[int, ...]:
        size = struct.calcsize(self.order + form)
        if at + size > len(self.data):
            raise UnreadableError("it is truncated inside a directory")
        numbers: tuple[int, ...] = struct.unpack_from(self.order + form, self.data, at)
        return numbers

    def first(self) -> int:
        return self.numbers("Q" if self.big else "I", 8 if self.big else 4)[0]

    def entries_at(self, start: int) -> tuple[int, range]:
        """How many entries a directory has, and where they stand."""
        count = self.numbers("Q" if self.big else "H", start)[0]
        if count > 65_535:
            raise UnreadableError(f"it has a directory of {count} entries")
        size, head = (20, 8) if self.big else (12, 2)
        return count, range(start + head, start + head + size * count, size)

    def after(self, start: int) -> int:
        """Where the next directory begins; 0 at the last."""
        count, places = self.entries_at(start)
        return self.numbers("Q" if self.big else "I", places.start + places.step * count)[0]


def survey_tiff(data: bytes, page: int) -> Survey:
    """Survey a TIFF; its pages are its directories, in their order.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    file = _File(data)
    starts = list(_directories(file))
    check_page(page, len(starts))
    entries, orientation = _entries(file, starts[page - 1])
    size = _one(file, entries, _WIDTH, 0), _one(file, entries, _HEIGHT, 0)
    check_size(size)
    _check_layout(file, entries, size)
    inverted = _one(file, entries, _PHOTOMETRIC, 0) == 0
    bare = _file(file, entries)
    return Survey("TIFF", size, len(starts), orientation, bare, inverted=inverted)


def _directories(file: _File) -> Iterator[int]:
    """Where each directory begins; the chain ends at 0, or where it bites its tail."""
    seen: set[int] = set()
    start = file.first()
    while start and start not in seen:
        yield start
        seen.add(start)
        if len(seen) > MAX_PAGES:
            return
        try:
            start = file.after(start)
        except UnreadableError:  # the pages before it can still be read
            return


def _entries(file: _File, start: int) -> tuple[Mapping[int, _Entry], int]:
    """The entries of a directory that make pixels, and its EXIF orientation."""
    entries: dict[int, _Entry] = {}
    orientation = 1
    outside = 0
    _, places = file.entries_at(start)
    for at in places:
        tag, kind = file.numbers("HH", at)
        if tag == _ORIENTATION and kind in _WHOLE:
            orientation = file.numbers(_WHOLE[kind], at + 4 + file.word)[0]
        if tag not in _MOST or tag in entries or kind not in _TYPE_BYTES:
            continue
        count = file.numbers("Q" if file.big else "I", at + 4)[0]
        if not 1 <= count <= _MOST[tag]:
            raise UnreadableError(f"its entry {tag} has {count} values")
        where, size = at + 4 + file.word, count * _TYPE_BYTES[kind]
        value = bytes(file.view[where : where + file.word])
        if size > file.word:
            where = file.numbers("Q" if file.big else "I", where)[0]
            outside += size
            if outside > len(file.data):
                raise UnreadableError("its entries overlap")
        if where + size > len(file.data):
            raise UnreadableError(f"its entry {tag} is truncated")
        entries[tag] = _Entry(kind, count, value, file.view[where : where + size])
    return entries, orientation if 1 <= orientation <= 8 else 1


def _many(file: _File, entries: Mapping[int, _Entry], tag: int) -> tuple[int, ...]:
    entry = entries.get(tag)
    if entry is None:
        return ()
    if entry.kind not in _WHOLE:
        raise UnreadableError(f"its entry {tag} is no whole number")
    return struct.unpack(f"{file.order}{entry.many}{_WHOLE[entry.kind]}", entry.data)


def _one(file: _File, entries: Mapping[int, _Entry], tag: int, default: int) -> int:
    return _many(file, entries, tag)[0] if tag in entries else default


def _check_layout(file: _File, entries: Mapping[int, _Entry], size: tuple[int, int]) -> None:
    """Refuse strips or tiles that are too many or too large to decode in bounds."""
    compression = _one(file, entries, _COMPRESSION, _RAW)
    if compression not in _COMPRESSIONS:
        raise UnreadableError(f"it is compressed by the rare method {compression}")
    width, height = size
    if _STRIPS not in entries and _TILES not in entries:
        raise UnreadableError("it names no place for its pixels")
    if _STRIPS in entries:
        across, down = width, min(_one(file, entries, _ROWS, height) or height, height)
    else:
        across, down = (_one(file, entries, tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if not 0 < across * down <= MAX_PIXELS:
        raise UnreadableError(f"it has tiles of {across} x {down} pixels")
    parts = max(entries[tag].many for tag in (_STRIPS, _TILES) if tag in entries)
    pieces = -(-width // across) * -(-height // down) * 8
    if parts > pieces or (compression == _RAW and parts > _MAX_RAW_PARTS):
        raise UnreadableError(f"it has {parts} strips or tiles")
    each, samples = _many(file, entries, _BITS) or (1,), _one(file, entries, _SAMPLES, 1)
    if samples > _MAX_SAMPLES:
        raise UnreadableError(f"it has {samples} samples a pixel")
    bits = sum(each) if len(each) > 1 else each[0] * samples
    part = across * down * max(-(-bits // 8), 4)
    if compression == _JPEG:
        part += across * down * _CODED_BYTES
    check_memory(size, 4, part if compression != _RAW else 0)


def _file(file: _File, entries: Mapping[int, _Entry]) -> bytes:
    """The same bytes behind a directory of these entries alone."""
    place = len(file.data) + len(file.data) % 2
    word, count = ("Q", "Q") if file.big else ("I", "H")
    directory = [struct.pack(file.order + count, len(entries))]
    for tag, entry in sorted(entries.items()):
        head = struct.pack(f"{file.order}HH{word}", tag, entry.kind, entry.many)
        directory.append(head + entry.value)
    directory.append(bytes(file.word))
    kept = 8 if file.big else 4  # bytes before the place of the first directory
    start = [file.data[:kept], struct.pack(file.order + word, place)]
    rest = [file.data[kept + file.word :], bytes(place - len(file.data))]
    return b"".join([*start, *rest, *directory])
