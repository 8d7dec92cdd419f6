"""BMP: a header, a palette, rows of pixels."""

from cropvlm_core.decoding.survey import (
    Survey,
    UnreadableError,
    check_memory,
    check_page,
    check_size,
)

START = b"BM"
_OLD_HEADER = 12
_RUN_LENGTHS = (1, 2)
_MAX_RUNS = 4_000_000  # Pillow decodes runs in Python, some 100 ns for a pixel or byte


def survey_bmp(data: bytes, page: int) -> Survey:
    """Survey a BMP: one page.

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    check_page(page, 1)
    header = int.from_bytes(data[14:18], "little")
    if header == _OLD_HEADER:
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (18, 20))
        return _checked(data, (width, height), 0)
    if len(data) < 14 + 40:
        raise UnreadableError("it is truncated before its pixels")
    width = int.from_bytes(data[18:22], "little")
    height = abs(int.from_bytes(data[22:26], "little", signed=True))  # below 0: top row first
    return _checked(data, (width, height), int.from_bytes(data[30:34], "little"))


def _checked(data: bytes, size: tuple[int, int], compression: int) -> Survey:
    check_size(size)
    check_memory(size, 4)
    if compression in _RUN_LENGTHS and size[0] * size[1] + len(data) > _MAX_RUNS:
        raise UnreadableError(f"{size[0]} x {size[1]} in run lengths take too long")
    return Survey("BMP", size, 1, 1, data)
