"""HostileFile, and how the containers are put together byte by byte."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from PIL import Image

Verdict = Literal["opens", "refused", "either"]


class HostileFile(NamedTuple):
    """A file and what must become of it; `bomb`: refused before it costs anything."""

    name: str
    data: bytes
    verdict: Verdict = "either"
    bomb: bool = False


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The image in a file format, as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A grey picture that does not compress."""
    state = (seed * 2654435761 + 1) % 2**32
    rows = bytearray()
    while len(rows) < width * height:
        state = (state * 1664525 + 1013904223) % 2**32
        rows += state.to_bytes(4, "little")[1:]
    return Image.frombytes("L", (width, height), bytes(rows[: width * height]))


PNG = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of PNG with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int,
    height: int,
    *,
    pixels: bytes | None = None,
    before: bytes = b"",
    after: bytes = b"",
    depth: int = 1,
    colour: int = 0,
) -> bytes:
    """A PNG that declares any size; by default with as many white pixels, well packed."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    if pixels is None:
        pixels = zlib.compress(bytes((1 + (width * depth + 7) // 8) * height), 9)
    parts = [chunk(b"IHDR", head), before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b"")]
    return PNG + b"".join(parts)


def segment(marker: int, body: bytes) -> bytes:
    """A segment of JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    parts = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in chunks
    )
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The WebP chunk that declares a canvas."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    """A GIF of these blocks."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"".join(blocks) + b";"


def gif_frame(width: int, height: int, data: bytes, left: int = 0, top: int = 0) -> bytes:
    """A frame of a GIF; `data`: LZW codes of 2-bit colours."""
    blocks = b"".join(
        bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)
    )
    return b"," + struct.pack("<HHHHBB", left, top, width, height, 0, 2) + blocks + b"\0"


def bmp(width: int, height: int, pixels: bytes, *, bits: int = 24, compression: int = 0) -> bytes:
    """A BMP; a grey palette where it needs one."""
    palette = b"".join(bytes([grey, grey, 0, 0]) for grey in range(2**bits)) if bits <= 8 else b""
    start = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    facts = (40, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    return head + struct.pack("<IiiHHIIiiII", *facts) + palette + pixels


Tag = tuple[int, int, int, bytes]  # number, kind, how many, the value or its place (4 bytes)


def tag(number: int, value: int, kind: int = 4) -> Tag:
    """A tag of TIFF with one whole number."""
    return number, kind, 1, struct.pack("<I", value % 2**32)


def tiff(*directories: Sequence[Tag], pixels: bytes = b"", follow: int = 0) -> bytes:
    """A little-endian TIFF: pixels from byte 8, then directories; the last points to `follow`."""
    at = 8 + len(pixels)
    out = [b"II*\0", struct.pack("<I", at), pixels]
    for number, tags in enumerate(directories, 1):
        at += 2 + 12 * len(tags) + 4
        body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in tags)
        after = at if number < len(directories) else follow
        out.append(struct.pack("<H", len(tags)) + body + struct.pack("<I", after))
    return b"".join(out)


def grey_tags(width: int, height: int, **others: int) -> list[Tag]:
    """The tags of an 8-bit grey page in one strip behind the header; `t278=5` sets another."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    values |= {279: width * height} | {int(key[1:]): value for key, value in others.items()}
    return [tag(number, value) for number, value in sorted(values.items())]


def pdf(*objects: str | bytes, trailer: str = "/Root 1 0 R") -> bytes:
    """A PDF of these objects, numbered from 1, with a right table of places."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        text = body if isinstance(body, bytes) else body.encode("latin-1")
        out += b"%d 0 obj\n" % number + text + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += f"trailer\n<< /Size {len(places) + 1} {trailer} >>\nstartxref\n{table}\n%%EOF".encode()
    return bytes(out)


def stream(body: bytes, more: str = "") -> bytes:
    """A stream object of PDF."""
    return f"<< /Length {len(body)} {more} >>\nstream\n".encode() + body + b"\nendstream"


def pdf_page(
    content: bytes = b"0 0 1 rg 10 10 50 50 re f",
    box: str = "0 0 200 100",
    resources: str = "",
    more: Sequence[str | bytes] = (),
) -> bytes:
    """A PDF of one page; further objects are numbered from 5."""
    return pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R "
        f"/Resources << {resources} >> >>",
        stream(content),
        *more,
    )
