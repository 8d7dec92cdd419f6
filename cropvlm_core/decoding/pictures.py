"""Decode a surveyed picture with Pillow: the only place where its decoders run."""

import io
import threading
from collections import deque
from collections.abc import Iterator

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cropvlm_core.decoding.colours import upright_bands
from cropvlm_core.decoding.exif import orientation_in
from cropvlm_core.decoding.survey import Survey, UnreadableError, check_size

_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_LARGE = 16_000_000  # pixels
_SMALL_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I;16N")  # below three bytes a pixel
_LOADING = threading.Lock()  # a caller's lazy image may reach us from several threads


class _WholeOnly:
    """While any thread is inside, Pillow refuses pictures that are cut off.

    Others switch that off for the whole process, WeasyPrint by being imported.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_WHOLE = _WholeOnly()


def decoded(survey: Survey) -> Image.Image:
    """Decode a surveyed page: upright, RGB, loaded, without metadata.

    Raises:
        UnreadableError: what decodes is no whole picture.
    """
    picture = _loaded(survey)
    if picture.mode == "RGB" and survey.orientation == 1 and not picture.has_transparency_data:
        return plain(picture)
    bands = _packed(picture, survey)
    del picture  # its pixels need not wait in memory for ours
    return _unpacked(bands, survey.upright_size)


def decoded_rows(survey: Survey) -> Iterator[bytes]:
    """Decode a surveyed page and yield its upright rows from the top, three bytes a pixel.

    Raises:
        UnreadableError: before the first: what decodes is no whole picture.
    """
    picture = _loaded(survey)
    if picture.width * picture.height > _LARGE and picture.mode not in _SMALL_MODES:
        bands = _packed(picture, survey)
        del picture  # whoever receives the rows takes as much memory again
        while bands:
            yield bands.popleft()
        return
    for band in upright_bands(picture, survey.orientation, inverted=survey.inverted):
        yield band.tobytes()


def upright_copy(source: Image.Image) -> Image.Image:
    """Return a caller's image upright, RGB, loaded; the very same if it is that already.

    Raises:
        UnreadableError: it does not load, or is larger than we decode.
    """
    check_size(source.size)
    try:
        with _LOADING, _WHOLE:
            source.load()
    except Exception as error:
        raise UnreadableError(_why(error)) from error
    exif = source.info.get("exif")
    orientation = orientation_in(exif) if isinstance(exif, bytes) else 1
    if source.mode == "RGB" and orientation == 1 and not source.has_transparency_data:
        return source if type(source) is Image.Image else plain(source.copy())
    width, height = source.size
    upright = Image.new("RGB", (height, width) if orientation in (5, 6, 7, 8) else (width, height))
    top = 0
    for band in upright_bands(source, orientation):
        upright.paste(band, (0, top))
        top += band.height
    return upright


def plain(picture: Image.Image) -> Image.Image:
    """Return the same pixels, not copied, in an image without a file and without metadata."""
    picture.load()
    bare = picture._new(picture.im)
    bare.info = {}
    return bare


def _loaded(survey: Survey) -> Image.Image:
    try:
        # The plugin itself, not Image.open: that would warn about a size which we refuse anyway.
        with _WHOLE, _PLUGINS[survey.kind](io.BytesIO(survey.bare)) as picture:
            _check_same(picture, survey, at_most=survey.frame > 0)
            if survey.frame:
                picture.seek(survey.frame)
            picture.load()
            _check_same(picture, survey)
    except UnreadableError:
        raise
    except Exception as error:  # the decoders raise seven families of exceptions
        raise UnreadableError(_why(error)) from error
    if survey.kind == "BMP" and picture.mode == "RGBA" and not _any_ink(picture):
        picture.putalpha(255)  # its fourth byte is unused, as viewers take it
    return picture


def _packed(picture: Image.Image, survey: Survey) -> deque[bytes]:
    """Upright RGB rows, three bytes a pixel, in bands from the top."""
    bands = upright_bands(picture, survey.orientation, inverted=survey.inverted)
    return deque(band.tobytes() for band in bands)


def _unpacked(bands: deque[bytes], size: tuple[int, int]) -> Image.Image:
    """The RGB picture of these bands; they are used up, so that both never lie in memory whole."""
    picture = Image.new("RGB", size, None)
    top = 0
    while bands:
        rows = bands.popleft()
        band = Image.frombytes("RGB", (size[0], len(rows) // (3 * size[0])), rows)
        picture.paste(band, (0, top))
        top += band.height
    return picture


def _check_same(picture: Image.Image, survey: Survey, *, at_most: bool = False) -> None:
    """The decoder must see the size that was checked; a frame of a GIF may enlarge the screen."""
    (width, height), (across, down) = picture.size, survey.size
    smaller = at_most and width <= across and height <= down
    if picture.size != survey.size and not smaller:
        raise UnreadableError(f"it is {across} x {down}, then {width} x {height} pixels")


def _any_ink(picture: Image.Image) -> bool:
    lowest_and_highest = picture.getchannel("A").getextrema()
    return lowest_and_highest != (0, 0)


def _why(error: Exception) -> str:
    """The decoder's words, unless they show an address in memory."""
    if isinstance(error, MemoryError):
        return "it takes too much memory to decode"
    text = str(error)
    return text if text and " at 0x" not in text else type(error).__name__
