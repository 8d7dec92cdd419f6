"""Files that lie in their headers: sizes, counts, places, chains."""

import struct
import zlib
from collections.abc import Iterator

from tests.hostile.files import (
    PNG,
    HostileFile,
    bmp,
    canvas,
    chunk,
    encoded,
    gif,
    gif_frame,
    grey_tags,
    noise,
    png,
    riff,
    tag,
    tiff,
)

_SIZES = [(0, 40), (40, 0), (32_769, 1), (1, 32_769), (16_000, 12_500), (65_535, 65_535)]
_HUGE = [(2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (2**31, 1)]


def declared_sizes() -> Iterator[HostileFile]:
    """Small files that declare sizes which we do not decode: all refused at once."""
    base = encoded(noise(48, 48), "JPEG")
    frame = base.index(b"\xff\xc0") + 5
    for width, height in _SIZES + _HUGE:
        size = f"{width}x{height}"
        wrap = width % 2**32, height % 2**32
        packed = zlib.compress(bytes(1000))
        yield HostileFile(f"size-{size}.png", png(*wrap, pixels=packed), "refused", True)
        data = tiff(grey_tags(*wrap), pixels=b"x" * 64)
        yield HostileFile(f"size-{size}.tif", data, "refused", True)
        signed = struct.unpack("<ii", struct.pack("<II", *wrap))
        yield HostileFile(f"size-{size}.bmp", bmp(signed[0], signed[1], bytes(64)), "refused", True)
    for width, height in _SIZES:
        size = f"{width}x{height}"
        yield HostileFile(
            f"size-{size}.jpg",
            base[:frame] + struct.pack(">HH", height, width) + base[frame + 4 :],
            "refused",
            True,
        )
        if width and height:
            lossy = encoded(noise(8, 8), "WEBP")[12:]
            data = riff(canvas(width, height), (b"VP8 ", lossy[8:]))
            yield HostileFile(f"size-{size}.webp", data, "refused", True)
            data = gif(width, height, gif_frame(8, 8, b"\x84\x51"))
            yield HostileFile(f"size-{size}.gif", data, "refused", True)
    for width, height in ((16_383, 16_383), (16_384, 4_000)):
        bits = (width - 1) | (height - 1) << 14
        data = riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + b"\0" * 40))
        yield HostileFile(f"lossless-{width}.webp", data, "refused", True)
    data = gif(8, 8, gif_frame(60_000, 60_000, b"\x84\x51", left=60_000))
    yield HostileFile("frame-beyond.gif", data, "refused", True)


def bombs() -> Iterator[HostileFile]:
    """Small files that would really unpack to more than we decode."""
    for width, height in ((20_000, 10_000), (13_000, 13_000), (32_768, 32_768)):
        yield HostileFile(f"bomb-{width}.png", png(width, height), "refused", True)
    rows = zlib.compress(bytes(14_000 * 14_000), 9)
    tags = grey_tags(14_000, 14_000, t259=8, t279=len(rows))
    yield HostileFile("bomb-deflate.tif", tiff(tags, pixels=rows), "refused", True)
    tags = grey_tags(200, 200, t278=2**31, t322=2**20, t323=2**20, t324=8, t325=len(rows))
    tags = [entry for entry in tags if entry[0] not in (273, 278, 279)]
    yield HostileFile("bomb-tile.tif", tiff(tags, pixels=rows), "refused", True)
    # 20 MiB, so that no reader can do without reading it all
    yield HostileFile(
        "bomb-large.png", png(30_000, 30_000, pixels=bytes(20 * 2**20 - 200)), "refused", True
    )
    yield HostileFile("over-20-MiB.png", png(10, 10, after=bytes(20 * 2**20)), "refused")


def chains() -> Iterator[HostileFile]:
    """Directories, pages and parts that repeat, overlap, bite their tail or never end."""
    page = noise(20, 20).tobytes()
    good = grey_tags(20, 20)
    first = 8 + len(page)
    yield HostileFile("cycle-self.tif", tiff(good, pixels=page, follow=first), "opens")
    yield HostileFile("cycle-two.tif", tiff(good, good, pixels=page, follow=first), "opens")
    yield HostileFile("next-outside.tif", tiff(good, pixels=page, follow=2**32 - 4))
    yield HostileFile("next-header.tif", tiff(good, pixels=page, follow=1))
    yield HostileFile("no-directory.tif", b"II*\0" + bytes(4), "refused")
    yield HostileFile("directory-outside.tif", b"II*\0\xff\xff\xff\xff", "refused")
    yield HostileFile("many-pages.tif", tiff(*[good] * 12_000, pixels=page), "refused")
    whole = 2**20
    overlapping = [(number, 7, whole, struct.pack("<I", 8)) for number in range(40_000, 60_000)]
    data = tiff([*good, *overlapping], pixels=page + bytes(whole))
    yield HostileFile("overlapping-tags.tif", data)
    fractions = (282, 5, 2_000_000, struct.pack("<I", 8))
    tags = sorted([*good, fractions])
    yield HostileFile("fractions.tif", tiff(tags, pixels=page + bytes(16_000_000)))
    for number, kind, count in ((273, 4, 3_000_000), (258, 3, 9_000_000), (273, 4, 2**32 - 1)):
        tags = sorted(
            [entry for entry in good if entry[0] != number]
            + [(number, kind, count, struct.pack("<I", 8))]
        )
        data = tiff(tags, pixels=page + bytes(18_000_000 if count < 2**31 else 0))
        yield HostileFile(f"tag-{number}-{count}.tif", data, "refused")
    tiles = [tag(322, 16), tag(323, 16), (324, 4, 4_000_000, struct.pack("<I", 8))]
    tags = [entry for entry in grey_tags(7_000, 7_000) if entry[0] not in (273, 278, 279)]
    data = tiff(sorted([*tags, *tiles]), pixels=bytes(16_000_000))
    yield HostileFile("four-million-tiles.tif", data, "refused")
    strips = [entry for entry in grey_tags(1, 32_768, t278=1) if entry[0] not in (273, 279)]
    places, sizes = struct.pack("<I", 8) * 32_768, struct.pack("<I", 1) * 32_768
    more = [(273, 4, 32_768, struct.pack("<I", 8)), (279, 4, 32_768, struct.pack("<I", 131_080))]
    data = tiff(sorted([*strips, *more]), pixels=places + sizes)
    yield HostileFile("a-strip-a-row.tif", data, "opens")
    shared = [(number, 4, 32_768, struct.pack("<I", 8)) for number in (273, 279)]
    data = tiff(sorted([*strips, *shared]), pixels=places)
    yield HostileFile("entries-overlap.tif", data, "refused")
    for method in (6, 34_925, 50_000, 50_001, 34_676, 32_809, 65_535):
        yield HostileFile(
            f"method-{method}.tif", tiff(grey_tags(20, 20, t259=method), pixels=page), "refused"
        )
    big = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + struct.pack("<Q", 2**40) + bytes(64)
    yield HostileFile("big-many-entries.tif", big, "refused")
    empty = encoded(noise(8, 8), "PNG")[8:33]
    yield HostileFile(
        "chunks-million.png", PNG + empty + chunk(b"teSt", b"") * 1_700_000, "refused"
    )
    yield HostileFile("chunk-endless.png", PNG + empty + b"\xff\xff\xff\xffIDAT", "refused")
    yield HostileFile(
        "two-headers.png",
        png(40, 40, before=chunk(b"IHDR", struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0))),
    )
    film = chunk(b"acTL", struct.pack(">II", 2**31, 0))
    yield HostileFile("film-declared.png", png(40, 40, before=film), "opens")
    frames = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", n, 40, 40, 0, 0, 1, 1, 0, 0))
        for n in range(30_000)
    )
    yield HostileFile("film-frames.png", png(40, 40, before=film, after=frames), "refused")
