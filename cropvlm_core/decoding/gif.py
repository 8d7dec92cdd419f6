"""GIF: a screen, then blocks; pictures and their settings stand in chains of short blocks."""

from collections.abc import Iterator

from cropvlm_core.decoding.survey import (
    MAX_PARTS,
    Survey,
    UnreadableError,
    check_animation,
    check_memory,
    check_page,
    check_size,
)

STARTS = (b"GIF87a", b"GIF89a")
_SCREEN = 13  # bytes of signature and screen
_SETTINGS = 0xF9  # the extension that says what is transparent, and what comes after
_ANIMATED_BYTES = 16  # the canvas, the one before, the frame, and what is disposed of, as RGBA


def survey_gif(data: bytes, page: int) -> Survey:
    """Survey a GIF; the pages of an animation are its frames, each with those before it under it.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    size = _number(data, 6), _number(data, 8)
    check_size((max(size[0], 1), max(size[1], 1)))  # 0 is a screen as large as its first frame
    start = _SCREEN + _table(data, 10)
    kept = [data[:start]]
    pages = 0
    for is_frame, begin, end in _blocks(data, start):
        pages += is_frame
        if pages > page or (pages == page and not is_frame):
            continue
        kept.append(data[begin:end])
        if is_frame:
            left, top, width, height = (_number(data, begin + at) for at in (1, 3, 5, 7))
            size = max(size[0], left + width), max(size[1], top + height)
    if not pages:
        raise UnreadableError("it is truncated before its pixels")
    check_page(page, pages)
    check_size(size)
    check_memory(size, 2 if page == 1 else _ANIMATED_BYTES)
    check_animation(size, page)
    return Survey("GIF", size, pages, 1, b"".join([*kept, b";"]), page - 1)


def _blocks(data: bytes, at: int) -> Iterator[tuple[bool, int, int]]:
    """Frames and their settings: whether it is a frame, where it begins and ends."""
    left = MAX_PARTS
    while at < len(data):
        begin = at
        left -= 1
        if data[at] == 0x2C:
            at += 10 + _table(data, at + 9) + 1
        elif data[at] == 0x21:
            at += 2
        elif data[at] == 0x3B:
            return
        else:  # a stray byte, which decoders pass over
            at += 1
            if left < 0:
                raise UnreadableError(f"it has more than {MAX_PARTS} parts")
            continue
        while at < len(data) and data[at]:
            at += 1 + data[at]
            left -= 1
            if left < 0:
                raise UnreadableError(f"it has more than {MAX_PARTS} parts")
        at += 1
        if data[begin] == 0x2C:
            yield True, begin, at
        elif data[begin + 1 : begin + 2] == bytes([_SETTINGS]):
            yield False, begin, at


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _table(data: bytes, at: int) -> int:
    """Bytes of the colour table that the flags at ``at`` announce."""
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
