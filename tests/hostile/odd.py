"""Every combination that a header can state, sensible or not, over pixels by chance."""

import itertools
import random
import struct
import zlib
from collections.abc import Iterator

from tests.hostile.files import PNG, HostileFile, bmp, grey_tags, png, tag, tiff

_SIDE = 32


def odd(seed: int, share: float = 1.0) -> Iterator[HostileFile]:
    """Depths, colour types, planes, compressions; `share` of all combinations, by chance."""
    chance = random.Random(seed)
    pixels = chance.randbytes(_SIDE * _SIDE * 8)
    for depth, colour in itertools.product((1, 2, 3, 4, 8, 16, 32), (0, 1, 2, 3, 4, 6, 7)):
        if chance.random() < share:
            data = png(_SIDE, _SIDE, pixels=zlib.compress(pixels), depth=depth, colour=colour)
            yield HostileFile(f"odd-{depth}-{colour}.png", data)
    for bits, compression in itertools.product((0, 1, 2, 4, 8, 16, 24, 32, 64), range(7)):
        if chance.random() < share:
            data = bmp(_SIDE, -_SIDE if bits == 16 else _SIDE, pixels, bits=8)
            data = data[:28] + struct.pack("<HI", bits, compression) + data[34:]
            yield HostileFile(f"odd-{bits}-{compression}.bmp", data)
    kinds = itertools.product(
        (1, 2, 4, 8, 12, 16, 24, 32, 64), (1, 2, 3, 4, 5), (0, 1, 2, 3, 5, 6, 8), (1, 2)
    )
    for bits, samples, photo, planar in kinds:
        if chance.random() < share / 4:
            facts = {"t258": bits, "t262": photo, "t277": samples, "t284": planar}
            facts |= {"t279": len(pixels), "t339": chance.choice((1, 2, 3, 4))}
            facts |= {"t259": chance.choice((1, 1, 2, 3, 4, 5, 7, 8, 32_773)), "t266": 1}
            if chance.random() < 0.2:
                facts |= {"t317": chance.choice((1, 2, 3)), "t266": 2}
            data = tiff(grey_tags(_SIDE, _SIDE, **facts), pixels=pixels)
            yield HostileFile(f"odd-{bits}-{samples}-{photo}-{planar}.tif", data)
    for width, height in ((16, 16), (1, 1), (7, 3), (64, 64), (0, 16), (2**31, 16)):
        tags = [entry for entry in grey_tags(_SIDE, _SIDE) if entry[0] not in (273, 278, 279)]
        tiles = [tag(322, width), tag(323, height), tag(324, 8), tag(325, len(pixels))]
        yield HostileFile(f"tiles-{width}.tif", tiff(sorted([*tags, *tiles]), pixels=pixels))
    pictures = (PNG, b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
    for number, start in enumerate((*pictures, b"II+\0", b"%PDF-1.4\n")):
        for _ in range(max(1, round(8 * share))):
            name = f"chance-{number}-{chance.randrange(10**6)}"
            yield HostileFile(name, start + chance.randbytes(chance.randrange(4_000)))
