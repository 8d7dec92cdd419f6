"""Good pictures under heaps of metadata, comments, empty parts and foreign bytes."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.hostile.damaged import honest
from tests.hostile.files import (
    HostileFile,
    canvas,
    chunk,
    encoded,
    noise,
    png,
    riff,
    segment,
)

_MB = 2**20


def _exif(entries: int, size: int) -> bytes:
    """EXIF with so many entries, each of which claims the same bytes."""
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", entries)
    rows = [struct.pack("<HHII", 0x9000 + n, 7, size, 8) for n in range(entries)]
    return head + b"".join(rows) + bytes(4) + bytes(max(size - 12 * entries, 0))


def metadata() -> Iterator[HostileFile]:
    """Profiles, texts and EXIF that are damaged, endless or bombs: never a reason to refuse."""
    zipped = zlib.compress(bytes(100 * _MB), 9)
    text = b"Comment\0\0" + zipped
    profile = b"name\0\0" + zipped
    exif = _exif(20_000, _MB)
    raw = b"Raw profile type exif\0\nexif\n" + b"99999\n" + b"ff" * 9 * _MB
    heaps = {
        "ztxt-bomb": chunk(b"zTXt", text),
        "itxt-bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zipped),
        "iccp-bomb": chunk(b"iCCP", profile),
        "iccp-broken": chunk(b"iCCP", b"\0\xff"),
        "many-texts": chunk(b"tEXt", b"k\0" + bytes(90)) * 100_000,
        "exif-overlap": chunk(b"eXIf", exif),
        "exif-raw": chunk(b"tEXt", raw),
        "exif-zipped": chunk(b"zTXt", b"Raw profile type exif\0\0" + zipped),
        "exif-broken": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff" + b"\xff" * 40),
        "wrong-sums": chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0",
        "palette-long": chunk(b"PLTE", bytes(3 * _MB)),
        "clear-long": chunk(b"tRNS", bytes(3 * _MB)),
        "gamma-odd": chunk(b"gAMA", b"") + chunk(b"cHRM", b"1") + chunk(b"pHYs", b"\xff"),
        "unknown": chunk(b"zzZz", bytes(19 * _MB)),
    }
    for name, parts in heaps.items():
        yield HostileFile(f"{name}.png", png(40, 40, before=parts), "opens")
        yield HostileFile(f"{name}-late.png", png(40, 40, after=parts), "opens")
    base = encoded(noise(40, 40), "JPEG")
    big = bytes(65_533)
    blocks = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000
    jpegs = {
        "app1-320": segment(0xE1, b"Exif\0\0" + big[6:]) * 310,
        "app1-small": segment(0xE1, b"Exif\0\0" + bytes(2_000)) * 9_000,
        "icc-320": segment(0xE2, b"ICC_PROFILE\0\1\xff" + big[14:]) * 310,
        "app13": segment(0xED, blocks) * 300,
        "comments": segment(0xFE, big) * 310,
        "exif-overlap": segment(0xE1, b"Exif\0\0" + _exif(5_000, 60_000)[:65_000]),
        "mpf": segment(0xE2, b"MPF\0" + bytes(999)),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + big[30:]) * 300,
    }
    for name, parts in jpegs.items():
        yield HostileFile(f"{name}.jpg", base[:2] + parts + base[2:], "opens")
    lossy = encoded(noise(40, 40), "WEBP")[12:]
    pixels = (b"VP8 ", lossy[8:])
    for fourcc in (b"EXIF", b"XMP ", b"ICCP", b"zzzz"):
        data = riff(canvas(40, 40, 0x2C), (fourcc, exif[:1000] + bytes(15 * _MB)), pixels)
        yield HostileFile(f"{fourcc.decode().strip()}.webp", data, "opens")
    many = [(b"zzzz", b"")] * 150_000
    yield HostileFile("many-chunks.webp", riff(canvas(40, 40), *many, pixels), "opens")


def polyglots() -> Iterator[HostileFile]:
    """A picture that is something else, too: the picture counts, the rest is dropped."""
    page = b"<html><script>alert(1)</script></html>"
    files = honest()
    for name, data in files.items():
        for what, more in (("zip", b"PK\3\4" + bytes(60)), ("html", page), ("nul", bytes(5_000))):
            yield HostileFile(f"{what}-{name}", data + more, "opens")
    yield HostileFile("html-in-comment.gif", b"GIF89a" + files["still.gif"][6:] + page, "opens")
    inside = files["base.jpg"]
    data = inside[:2] + segment(0xFE, files["page.pdf"][:900]) + inside[2:]
    yield HostileFile("pdf-in-comment.jpg", data, "opens")
    for name, text in {
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "xml-entities": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n",
        "ico": encoded(Image.new("RGB", (16, 16)), "ICO"),
        "tga": encoded(Image.new("RGB", (16, 16)), "TGA"),
        "ppm": b"P6 99999 99999 255\n",
        "psd": b"8BPS\0\1" + bytes(60),
        "jp2": encoded(Image.new("RGB", (16, 16)), "JPEG2000"),
        "heic": b"\0\0\0\x18ftypheic" + bytes(60),
        "zip": b"PK\3\4" + bytes(60),
        "text": "Grüße aus dem Wald\n".encode() * 9,
        "nothing": b"",
        "one-byte": b"\x89",
        "newlines": b"\n" * 5_000,
        "fli": b"\0" * 4 + b"\x11\xaf" + bytes(200),
    }.items():
        yield HostileFile(f"not-a-picture.{name}", text, "refused")
