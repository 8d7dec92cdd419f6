"""The orientation that EXIF metadata names, read without trusting a byte of it."""

import binascii
import zlib
from typing import Literal

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_MAX_PROFILE = 2**18  # bytes of a text chunk that holds EXIF in hexadecimal


def orientation_in(exif: bytes) -> int:
    """Return the EXIF orientation, 1..8; 1 where there is none or the metadata is damaged.

    ``exif``: a TIFF structure, with or without the mark ``Exif`` before it. Read is the first
    directory alone, and of it no value but this one.
    """
    body = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    if body[:2] not in (b"II", b"MM") or len(body) < 8:
        return 1
    order: Literal["little", "big"] = "little" if body[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(body[at : at + size], order)

    start = number(4, 4)
    for at in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if at + 12 > len(body):
            return 1
        if number(at, 2) == _ORIENTATION:
            size = {_SHORT: 2, _LONG: 4}.get(number(at + 2, 2), 0)
            value = number(at + 8, size)
            return value if 1 <= value <= 8 else 1
    return 1


def exif_in_profile(text: bytes) -> bytes:
    """Return the EXIF bytes of a ``Raw profile type exif``, as ImageMagick writes it into PNG.

    Three lines: a name, a length, hexadecimal digits; empty where it is something else.
    """
    try:
        return binascii.unhexlify(b"".join(text[:_MAX_PROFILE].split()[2:]))
    except (binascii.Error, ValueError):
        return b""


def inflated(text: bytes) -> bytes:
    """Inflate a compressed text, as far as EXIF can need it; empty where it is damaged."""
    try:
        return zlib.decompressobj().decompress(text, _MAX_PROFILE)
    except zlib.error:
        return b""
