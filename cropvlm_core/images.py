"""The only place that decodes or encodes image bytes.

Whatever comes in, what goes on is upright (EXIF), RGB, on white where it was transparent, and
fully loaded: a lazily opened Pillow image is not safe to share between threads.
"""

import base64
import io
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cropvlm_core.errors import ImageError, shorten
from cropvlm_core.sources import MAX_BYTES, is_data_uri, read_reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 50_000_000
"""The most pixels of one image (50 megapixels)."""

MAX_SIDE = 32_768
"""The longest side of one image, in pixels."""

MODEL_BYTES = 3_750_000
"""The most bytes of a PNG for a model: 5 MB as base64, the least that hosted models take."""

ImageSource = Image.Image | str | os.PathLike[str] | bytes
"""What a caller may hand in: a PIL image, a path, a ``data:`` URI, or the bytes of a file."""

_PLUGINS: tuple[tuple[str, tuple[bytes, ...], type[ImageFile.ImageFile]], ...] = (
    ("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("WEBP", (b"RIFF",), WebPImagePlugin.WebPImageFile),
    ("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("BMP", (b"BM",), BmpImagePlugin.BmpImageFile),
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
)
_EXPECTED = "expected a PNG, JPEG, WEBP, GIF, BMP or TIFF image"
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NUMERIC_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_BAND = 2**18  # pixels converted at a time: a large page needs no second full-size buffer
_GREYS = 200  # fewer levels than this after plain scaling, and the values are stretched
_LOADING = threading.Lock()  # a caller's lazy image may reach us from several threads


def open_image(source: ImageSource) -> Image.Image:
    """Open an image upright, RGB, loaded; the first frame of an animation.

    Transparency is laid on white. 16-bit, integer and float greys become 8-bit greys: as they
    are where they lie within 0..255, otherwise scaled by their range. The caller's image is never
    changed; a PIL image that is upright RGB in memory already is returned as it is.

    Args:
        source: a PIL image, a path, a ``data:`` URI, or bytes.

    Raises:
        SourceError: the reference is refused, or nothing is there.
        ImageError: not a whole PNG, JPEG, WEBP, GIF, BMP or TIFF, or larger than 50 megapixels,
            32,768 pixels a side or 20 MiB.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if isinstance(source, bytes):
        return _decode(source, f"{len(source)} bytes")
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        name = f"a data: URI of {len(text)} characters" if is_data_uri(text) else shorten(text)
        return _decode(read_reference(source), name)
    kind = type(source).__name__  # type: ignore[unreachable]  # what types say, users may not
    raise ImageError(f"expected a PIL image, path, bytes or data: URI, got {kind}")


def encode_png(image: Image.Image) -> bytes:
    """Encode as PNG, pixels only: no metadata of the source goes along."""
    return _encode(image, "PNG")


def encode_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Encode an RGB or grey image as JPEG, without metadata."""
    return _encode(image, "JPEG", quality=quality)


def encode_for_model(image: Image.Image, lossless_pixels: int) -> tuple[bytes, str]:
    """Encode a picture that a model shall see; return the bytes and their MIME type.

    PNG up to ``lossless_pixels`` pixels, unless that takes more than :data:`MODEL_BYTES`; else
    JPEG, which hosted models take at a tenth of the size.
    """
    if image.width * image.height <= lossless_pixels:
        data = encode_png(image)
        if len(data) <= MODEL_BYTES:
            return data, "image/png"
    return encode_jpeg(image), "image/jpeg"


def to_data_uri(image: Image.Image) -> str:
    """Encode as a ``data:image/png;base64,...`` URI."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode('ascii')}"


def _encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    bare = image.copy()
    bare.info = {}
    stream = io.BytesIO()
    bare.save(stream, file_format, **options)
    return stream.getvalue()


def _from_pil(source: Image.Image) -> Image.Image:
    name = f"a PIL image of mode {source.mode}"
    _check_size(source.size, name)
    try:
        with _LOADING:
            source.load()
            orientation = _orientation(source)
    except Exception as error:
        raise ImageError(f"expected a PIL image that loads, got {name}: {_why(error)}") from error
    upright = _turned(_flat(source), orientation)
    if upright is not source:
        upright.info = {}  # an orientation kept in there would turn the image twice
    return upright


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{_EXPECTED}, got {name}: the file is empty")
    if len(data) > MAX_BYTES:
        raise ImageError(f"expected an image of at most {MAX_BYTES} bytes, got {name}")
    file_format, plugin = _sniff(data, name)
    try:
        # The plugin itself, not Image.open: that would warn about a size which we refuse anyway.
        with plugin(io.BytesIO(data)) as picture:
            _check_size(picture.size, name)
            picture.load()
            orientation = _orientation(picture)
    except ImageError:
        raise
    except Exception as error:  # the decoders raise seven families of exceptions
        raise ImageError(
            f"expected a whole {file_format} image, got {name}: {_why(error)}"
        ) from error
    flat = _flat(picture)
    del picture  # its pixels need not wait in memory while ours are turned
    upright = _turned(flat, orientation)
    upright.info = {}
    return upright


def _sniff(data: bytes, name: str) -> tuple[str, type[ImageFile.ImageFile]]:
    for file_format, starts, plugin in _PLUGINS:
        if data.startswith(starts) and (file_format != "WEBP" or data[8:12] == b"WEBP"):
            if file_format == "WEBP":  # its decoder allocates the canvas on opening
                _check_size(_webp_size(data), name)
            return file_format, plugin
    if data.startswith(b"%PDF"):
        kind = "a PDF (make pictures of its pages first)"
    elif data[4:8] == b"ftyp":
        kind = "HEIC, AVIF or a video"
    else:
        kind = "text" if data[:256].isascii() else "an unknown format"
    raise ImageError(f"{_EXPECTED}, got {name}: {kind}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header, by the WebP container specification; (1, 1) if cut off."""
    if len(data) < 30:
        return 1, 1
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return max(width, 1), max(height, 1)


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"expected an image with pixels, got {width} x {height}: {name}")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"expected at most {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE} pixels a side, "
            f"got {width} x {height}: {name}"
        )


def _flat(picture: Image.Image) -> Image.Image:
    """Return a loaded ``picture`` as RGB, not yet turned; ``picture`` itself if it is RGB."""
    if picture.mode in _NUMERIC_MODES:
        return _scaled(picture)
    if picture.has_transparency_data:
        return _on_white(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _turned(flat: Image.Image, orientation: int) -> Image.Image:
    """Turn upright and return a plain image; a plain upright one as it is."""
    if orientation in _TRANSPOSE:
        return flat.transpose(_TRANSPOSE[orientation])
    return flat if type(flat) is Image.Image else flat.copy()


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the metadata is damaged, as every viewer does."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - damaged metadata fails in as many ways as damaged pixels
        return 1
    return value if isinstance(value, int) else 1


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    width, height = picture.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(top + rows, height)))


def _on_white(picture: Image.Image) -> Image.Image:
    flat = Image.new("RGB", picture.size, "white")
    for top, band in _bands(picture):
        ink = (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
        flat.paste(ink, (0, top), ink)
    return flat


def _scaled(picture: Image.Image) -> Image.Image:
    """RGB, 8 bits a channel, of a 16-bit, integer or float grey picture."""
    import numpy as np  # here, as few images are of these modes: importing the adapters stays cheap

    low, high = _value_range(picture)
    if low >= 0 and high <= 1 and picture.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif picture.mode.startswith("I;16") and (high - low) / 257 >= _GREYS:
        low, high = 0.0, 65535.0
    factor = 255 / (high - low) if high > low else 0.0
    clear = picture.info.get("transparency") if picture.mode != "F" else None
    grey = Image.new("RGB", picture.size)
    for top, band in _bands(picture):
        values = _values(band)
        shades = np.clip((values - low) * factor, 0, 255)
        if isinstance(clear, int):
            shades[values == clear] = 255
        grey.paste(Image.fromarray(np.rint(shades).astype(np.uint8)).convert("RGB"), (0, top))
    return grey


def _values(band: Image.Image) -> "NDArray[np.float64]":
    import numpy as np

    return np.nan_to_num(np.asarray(band, dtype=np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)


def _value_range(picture: Image.Image) -> tuple[float, float]:
    import numpy as np

    low, high = np.inf, -np.inf
    for _, band in _bands(picture):
        values = _values(band)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _why(error: Exception) -> str:
    """The decoder's words, unless they show an address in memory."""
    text = str(error)
    return shorten(text) if text and " at 0x" not in text else type(error).__name__
