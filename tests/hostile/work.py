"""Files that cost much: too much, and the most that is allowed."""

from collections.abc import Iterator

from PIL import Image

from tests.hostile.files import (
    HostileFile,
    bmp,
    canvas,
    encoded,
    gif,
    gif_frame,
    noise,
    png,
    riff,
    segment,
)

_MB = 2**20


def work() -> Iterator[HostileFile]:
    """Small parts in great number, and pixels that take long: bounded, whatever becomes of them."""
    base = encoded(noise(40, 40), "JPEG")
    yield HostileFile(
        "comments-million.jpg", base[:2] + b"\xff\xfe\0\2" * 4_900_000 + base[2:], "refused"
    )
    yield HostileFile("fill-bytes.jpg", base[:2] + b"\xff" * (19 * _MB) + base[2:], "refused")
    yield HostileFile("junk-between.jpg", base[:2] + bytes(19 * _MB) + base[2:], "refused")
    yield HostileFile(
        "tables.jpg",
        base[:2] + segment(0xDB, (b"\1" + b"\2" * 64) * 1_000) * 300 + base[2:],
        "refused",
    )
    frame = base[base.index(b"\xff\xc0") :][:13]
    yield HostileFile("frames.jpg", base[:2] + frame * 1_000 + base[2:], "refused")
    for kind in (0xC3, 0xC5, 0xC9, 0xCA, 0xCB):
        data = base.replace(b"\xff\xc0", bytes([0xFF, kind]), 1)
        yield HostileFile(f"sof{kind - 0xC0}.jpg", data, "refused")
    slow = encoded(Image.new("L", (6_000, 6_000)), "JPEG", progressive=True)
    last = slow.rindex(b"\xff\xda")
    scans = slow[:-2] + slow[last:-2] * 4_000 + b"\xff\xd9"
    yield HostileFile("scans-36-MP.jpg", scans[: 19 * _MB], "refused")
    small = encoded(Image.new("L", (300, 300)), "JPEG", progressive=True)
    last = small.rindex(b"\xff\xda")
    yield HostileFile("scans-small.jpg", small[:-2] + small[last:-2] * 3_000 + b"\xff\xd9")
    mended = base[: base.rindex(b"\xff\xd9")]
    yield HostileFile("coded-ones.jpg", mended + b"\xff\0" * 9 * _MB + b"\xff\xd9")
    yield HostileFile("restarts.jpg", mended + b"\xff\xd0\xff\xd1" * 4 * _MB + b"\xff\xd9")
    frame = gif_frame(40, 40, b"\x84\x51")
    yield HostileFile(
        "blocks-of-one.gif", gif(40, 40, b"!\xfe" + b"\1a" * 9 * _MB + b"\0", frame), "refused"
    )
    yield HostileFile("stray-bytes.gif", gif(40, 40, b"\1" * 19 * _MB, frame), "refused")
    yield HostileFile(
        "comments.gif", gif(40, 40, b"!\xfe" + (b"\xff" + bytes(255)) * 70_000 + b"\0", frame)
    )
    yield HostileFile("frames-million.gif", gif(40, 40, frame * 900_000), "refused")
    yield HostileFile(
        "frames-wide.gif", gif(9_000, 5_000, *[gif_frame(9_000, 5_000, b"\x84\x51")] * 900)
    )
    codes = b"\x04\x41\x10" * 6 * _MB
    yield HostileFile("clear-codes.gif", gif(7_000, 7_000, gif_frame(7_000, 7_000, codes)))
    runs = (b"\1\7" * 7_000 + b"\0\0") * 700
    yield HostileFile("runs-of-one.bmp", bmp(7_000, 7_000, runs, bits=8, compression=1), "refused")
    yield HostileFile(
        "line-ends.bmp", bmp(7_000, 7_000, b"\1\7\0\0" * 7_000, bits=8, compression=1), "refused"
    )
    yield HostileFile(
        "no-move.bmp", bmp(400, 400, b"\0\2\0\0" * 4 * _MB, bits=8, compression=1), "refused"
    )
    yield HostileFile(
        "no-move-small.bmp", bmp(400, 400, b"\0\2\0\0" * 900_000, bits=8, compression=1)
    )
    yield HostileFile(
        "palette.bmp", bmp(40, 40, bytes(1600), bits=8)[:46] + b"\xff\xff\0\0" + bytes(70_000)
    )
    tiny = [
        (b"ANMF", bytes(6) + b"\x27\0\0\x27\0\0" + bytes(4) + encoded(noise(40, 40), "WEBP")[12:])
    ]
    yield HostileFile("frames.webp", riff(canvas(40, 40, 2), (b"ANIM", bytes(6)), *tiny * 9_000))
    yield HostileFile(
        "frames-many.webp",
        riff(canvas(40, 40, 2), (b"ANIM", bytes(6)), *[(b"ANMF", bytes(16))] * 60_000),
        "refused",
    )


def large() -> Iterator[HostileFile]:
    """Honest and large: the most that decoding may cost."""
    for mode in ("RGB", "CMYK", "L"):
        picture = Image.new(mode, (7_000, 7_100), 128 if mode == "L" else 0)
        exif = Image.Exif()
        exif[0x0112] = 6
        yield HostileFile(f"turned-{mode}.jpg", encoded(picture, "JPEG", exif=exif), "opens")
    picture = Image.new("RGBA", (7_000, 7_100), (9, 9, 9, 99))
    yield HostileFile("clear.png", encoded(picture, "PNG", compress_level=1), "opens")
    yield HostileFile(
        "deep.png",
        encoded(Image.new("I;16", (7_000, 7_100), 999), "PNG", compress_level=1),
        "opens",
    )
    yield HostileFile("float.tif", encoded(Image.new("F", (2_000, 2_500), 9.5), "TIFF"), "opens")
    picture = Image.new("RGB", (7_000, 7_100), (9, 99, 9))
    yield HostileFile("whole.webp", encoded(picture, "WEBP", quality=10, method=0))
    yield HostileFile(
        "half.webp",
        encoded(picture.crop((0, 0, 5_000, 4_500)), "WEBP", quality=10, method=0),
        "opens",
    )
    yield HostileFile("progressive.jpg", encoded(picture, "JPEG", progressive=True), "opens")
    yield HostileFile(
        "progressive-444.jpg", encoded(picture, "JPEG", progressive=True, subsampling=0)
    )
    yield HostileFile("whole.gif", encoded(picture.quantize(8), "GIF"), "opens")
    yield HostileFile("lzw.tif", encoded(picture, "TIFF", compression="tiff_lzw"), "opens")
    yield HostileFile("jpeg.tif", encoded(picture, "TIFF", compression="jpeg"), "opens")
    turned = encoded(picture, "TIFF", compression="tiff_lzw", tiffinfo={274: 6})
    yield HostileFile("turned.tif", turned, "opens")
    yield HostileFile(
        "one-strip.tif", encoded(picture, "TIFF", compression="tiff_lzw", tiffinfo={278: 7_100})
    )
    lab = Image.new("LAB", (2_000, 3_000))
    yield HostileFile("lab.tif", encoded(lab, "TIFF"), "opens")
    yield HostileFile("wide.png", png(32_768, 1_500), "opens")
    yield HostileFile("line-across.png", png(32_768, 1), "opens")
    yield HostileFile("line-down.png", png(1, 32_768), "opens")
    yield HostileFile("one-pixel.png", png(1, 1), "opens")
