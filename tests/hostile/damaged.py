"""Honest files of every kind, and what accidents make of them."""

import random
from collections.abc import Iterator

from PIL import Image

from tests.hostile.files import HostileFile, bmp, encoded, noise, pdf_page


def honest(side: int = 48) -> dict[str, bytes]:
    """One good file of each kind of each format, by a name with the right ending."""
    grey = noise(side, side)
    page = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_90), grey))
    clear = page.copy()
    clear.putalpha(grey)
    frames = [page.transpose(Image.Transpose(turn)) for turn in (0, 1, 2)]
    film = {"save_all": True, "append_images": frames}
    palette = page.quantize(16)
    return {
        "rgb.png": encoded(page, "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=3),
        "film.png": encoded(page, "PNG", **film),
        "deep.png": encoded(Image.new("I;16", (side, side), 30_000), "PNG"),
        "base.jpg": encoded(page, "JPEG", quality=90),
        "progressive.jpg": encoded(page, "JPEG", progressive=True, optimize=True),
        "cmyk.jpg": encoded(page.convert("CMYK"), "JPEG"),
        "lossy.webp": encoded(page, "WEBP", quality=80),
        "lossless.webp": encoded(clear, "WEBP", lossless=True),
        "film.webp": encoded(page, "WEBP", **film),
        "still.gif": encoded(palette, "GIF"),
        "film.gif": encoded(palette, "GIF", **film),
        "rgb.bmp": encoded(page, "BMP"),
        "runs.bmp": bmp(side, side, (bytes([side, 7]) + b"\0\0") * side, bits=8, compression=1),
        "raw.tif": encoded(page, "TIFF"),
        "lzw.tif": encoded(page, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(clear, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(page, "TIFF", compression="jpeg"),
        "fax.tif": encoded(page.convert("1"), "TIFF", compression="group4"),
        "pages.tif": encoded(page, "TIFF", **film),
        "page.pdf": pdf_page(),
    }


def damaged(seed: int, flips: int) -> Iterator[HostileFile]:
    """Files cut off, with flipped bits, lost, doubled and zeroed ranges, and other names."""
    chance = random.Random(seed)
    files = honest()
    for name, data in files.items():
        yield HostileFile(name, data, "opens")
        for tenth in range(1, 10):
            yield HostileFile(f"cut{tenth}-{name}", data[: len(data) * tenth // 10])
        for number in range(flips):
            # half of them in the first bytes, where the headers are
            reach = len(data) if number % 2 else min(len(data), 200)
            broken = bytearray(data)
            for _ in range(1 + number % 3):
                broken[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            yield HostileFile(f"flip{number}-{name}", bytes(broken))
        start = chance.randrange(len(data))
        stop = chance.randrange(start, len(data)) + 1
        for how, middle in (
            ("lost", b""),
            ("zeroed", bytes(stop - start)),
            ("ones", b"\xff" * (stop - start)),
            ("doubled", data[start:stop] * 2),
        ):
            yield HostileFile(f"{how}-{name}", data[:start] + middle + data[stop:])
    endings = ["png", "jpg", "webp", "gif", "bmp", "tif", "pdf", "txt", "exe", ""]
    for number, (name, data) in enumerate(files.items()):
        ending = endings[number % len(endings)]
        yield HostileFile(f"{name.replace('.', '-')}.{ending}", data, "opens")
        other = files[chance.choice(list(files))]
        yield HostileFile(f"head-of-{name}", data[:16] + other[16:])
        yield HostileFile(f"behind-{name}", data + other, "opens")
