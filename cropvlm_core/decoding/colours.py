"""Colour and orientation truth: from a loaded Pillow picture of any mode to upright RGB rows.

Worked through in bands, so that a large page needs no second full-size buffer. Colour profiles are
not followed: numbers are taken as sRGB, as models were shown them in training.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NUMERIC_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_BAND = 2**18  # pixels converted at a time
_GREYS = 200  # fewer levels than this after plain scaling, and the values are stretched

_ToRGB = Callable[[Image.Image], Image.Image]


def upright_bands(
    picture: Image.Image, orientation: int, *, inverted: bool = False
) -> Iterator[Image.Image]:
    """Yield the upright picture as RGB images of its full width, from top to bottom.

    Args:
        picture: loaded; it is not changed.
        orientation: EXIF orientation, 1..8.
        inverted: greys of 16 bits, integers or floats count from white.
    """
    to_rgb = _to_rgb(picture, inverted)
    turn = _TURNS.get(orientation)
    width, height = picture.size
    across, down = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    rows = max(1, _BAND // across)
    for top in range(0, down, rows):
        bottom = min(top + rows, down)
        if orientation in (3, 4):
            part = (0, height - bottom, width, height - top)
        elif orientation in (5, 6):  # the left column becomes the top row
            part = (top, 0, bottom, height)
        elif orientation in (7, 8):
            part = (width - bottom, 0, width - top, height)
        else:
            part = (0, top, width, bottom)
        band = to_rgb(picture.crop(part))
        yield band if turn is None else band.transpose(turn)


def _to_rgb(picture: Image.Image, inverted: bool) -> _ToRGB:
    """What makes RGB of a part of ``picture``."""
    if picture.mode in _NUMERIC_MODES:
        return _scaling(picture, inverted)
    return _on_white if picture.has_transparency_data else _converted


def _converted(part: Image.Image) -> Image.Image:
    return part if part.mode == "RGB" else part.convert("RGB")


def _on_white(part: Image.Image) -> Image.Image:
    flat = Image.new("RGB", part.size, "white")
    ink = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
    flat.paste(ink, (0, 0), ink)
    return flat


def _scaling(picture: Image.Image, inverted: bool) -> _ToRGB:
    """From greys of 16 bits, integers or floats to 8 bits: as they are, or by their range."""
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

    def to_rgb(part: Image.Image) -> Image.Image:
        values = _values(part)
        shades = np.clip((values - low) * factor, 0, 255)
        if inverted:
            shades = 255 - shades
        if isinstance(clear, int):
            shades[values == clear] = 255
        return Image.fromarray(np.rint(shades).astype(np.uint8)).convert("RGB")

    return to_rgb


def _values(part: Image.Image) -> "NDArray[np.float64]":
    import numpy as np

    return np.nan_to_num(np.asarray(part, dtype=np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)


def _value_range(picture: Image.Image) -> tuple[float, float]:
    import numpy as np

    low, high = np.inf, -np.inf
    width, height = picture.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        values = _values(picture.crop((0, top, width, min(top + rows, height))))
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)
