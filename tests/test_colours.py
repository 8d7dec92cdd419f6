"""Colour and orientation truth: the right box, visible marks, and enough greys, in every format."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cropvlm_core.box import Box
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.decoding import colours
from cropvlm_core.decoding.colours import upright_bands
from cropvlm_core.images import open_image
from cropvlm_core.zoom import ZoomPipeline
from tests.hostile.files import bmp, encoded, grey_tags, tiff
from tests.hostile.files import noise as grey_noise

UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored, for each EXIF orientation."""

SIZE, BLOCK = (60, 40), (10, 5, 30, 15)


def marked(mode: str = "RGB", paper: Any = "white", ink: Any = "black") -> Image.Image:
    """60 x 40, with a block of ink left of the middle and near the top."""
    page = Image.new(mode, SIZE, paper)
    page.paste(ink, BLOCK)
    return page


def stored(page: Image.Image, orientation: int, file_format: str) -> bytes:
    turn = UNDO[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = page if turn is None else page.transpose(turn)
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {"quality": 95}
    return encoded(raw, file_format, exif=exif, **options)


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UNDO)
def test_every_box_is_right(orientation: int, file_format: str, isolate: bool) -> None:
    data = stored(marked(), orientation, file_format)
    page = open_image(data, isolate=isolate)
    assert page.size == SIZE
    box = Box.from_pixels(BLOCK, SIZE)
    zoom = ZoomPipeline(FixedCropper(box)).zoom(page, "What is black?")
    assert zoom.pixels is not None
    left, top, right, bottom = zoom.pixels
    assert zoom.crop is not None
    inside = np.asarray(zoom.crop.image)[
        BLOCK[1] - top + 2 : BLOCK[3] - top - 2, BLOCK[0] - left + 2 : BLOCK[2] - left - 2
    ]
    assert inside.size
    assert inside.max() < 60
    dark = np.asarray(page)[..., 0] < 128
    assert dark[BLOCK[1] : BLOCK[3], BLOCK[0] : BLOCK[2]].mean() > 0.95
    assert dark.sum() == pytest.approx(200, abs=30)
    assert (right, bottom) <= SIZE


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
def test_turning_in_bands_is_turning(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "_BAND", 70)  # one or two rows at a time
    grey = grey_noise(23, 17)
    page = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey
    picture = page if mode in ("I;16", "L") else grey.convert("RGB").convert(mode)
    turn = UNDO[orientation]
    raw = picture if turn is None else picture.transpose(turn)
    bands = list(upright_bands(raw, orientation))
    assert len(bands) > 5
    whole = np.concatenate([np.asarray(band) for band in bands])
    if mode == "P":
        expected = np.asarray(picture.convert("RGB"))
    else:
        expected = np.asarray(grey.convert("RGB"))
    assert (whole == expected).all()


def clear_colour(mode: str) -> Image.Image:
    page = marked(mode, 0, 1 if mode == "P" else 10)
    if mode == "P":
        page.putpalette([0, 0, 0, 0, 0, 0])
    return page


def with_alpha(mode: str) -> Image.Image:
    page = marked("RGBA", (0, 0, 0, 0), (0, 0, 0, 255))
    return page.convert(mode)


BLACK_ON_CLEAR: dict[str, Callable[[], bytes]] = {
    "PNG RGBA": lambda: encoded(with_alpha("RGBA"), "PNG"),
    "PNG LA": lambda: encoded(with_alpha("LA"), "PNG"),
    "PNG palette": lambda: encoded(clear_colour("P"), "PNG", transparency=0),
    "PNG palette, an alpha each": lambda: encoded(clear_colour("P"), "PNG", transparency=b"\0\xff"),
    "PNG grey": lambda: encoded(clear_colour("L"), "PNG", transparency=0),
    "WEBP lossless": lambda: encoded(with_alpha("RGBA"), "WEBP", lossless=True),
    "WEBP lossy": lambda: encoded(with_alpha("RGBA"), "WEBP", quality=90),
    "GIF": lambda: encoded(clear_colour("P"), "GIF", transparency=0),
    "TIFF RGBA": lambda: encoded(with_alpha("RGBA"), "TIFF"),
    "TIFF LZW": lambda: encoded(with_alpha("RGBA"), "TIFF", compression="tiff_lzw"),
    "BMP with alpha": lambda: alpha_bmp(opaque=False),
}


@pytest.mark.parametrize("name", BLACK_ON_CLEAR)
def test_black_on_transparent_stays_visible(name: str) -> None:
    page = np.asarray(open_image(BLACK_ON_CLEAR[name]()))
    assert page[30, 50].min() > 240
    assert page[10, 20].max() < 20


def alpha_bmp(*, opaque: bool) -> bytes:
    """A BMP with masks for four channels; `opaque`: the fourth byte is 0 everywhere."""
    rows = []
    for y in reversed(range(SIZE[1])):
        for x in range(SIZE[0]):
            ink = BLOCK[0] <= x < BLOCK[2] and BLOCK[1] <= y < BLOCK[3]
            white = opaque and not ink
            rows.append(bytes([255 * white] * 3 + [255 * (ink and not opaque)]))
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    plain = bmp(*SIZE, b"", bits=32, compression=3)
    head = plain[:10] + struct.pack("<II", 14 + 56, 56) + plain[18:54]
    return head + masks + b"".join(rows)


def test_a_fourth_byte_that_is_never_set_is_no_alpha() -> None:
    page = np.asarray(open_image(alpha_bmp(opaque=True)))
    assert page[30, 50].tolist() == [255, 255, 255]
    assert page[10, 20].tolist() == [0, 0, 0]


def ramp(kind: str, low: float, high: float) -> Image.Image:
    values = np.linspace(low, high, 256 * 16).reshape(16, 256).astype(kind)
    return Image.fromarray(values)


GREYS: dict[str, Callable[[], bytes]] = {
    "PNG 16 bits": lambda: encoded(ramp("uint16", 0, 65_535), "PNG"),
    "PNG 16 bits, 12 used": lambda: encoded(ramp("uint16", 0, 4_095), "PNG"),
    "TIFF 16 bits": lambda: encoded(ramp("uint16", 0, 65_535), "TIFF"),
    "TIFF 16 bits, LZW": lambda: encoded(ramp("uint16", 0, 65_535), "TIFF", compression="tiff_lzw"),
    "TIFF 32 bits": lambda: encoded(ramp("int32", 0, 2**31 - 1), "TIFF"),
    "TIFF float 0..1": lambda: encoded(ramp("float32", 0, 1), "TIFF"),
    "TIFF float 0..255": lambda: encoded(ramp("float32", 0, 255), "TIFF"),
    "TIFF float around 0": lambda: encoded(ramp("float32", -7, 7), "TIFF"),
    "JPEG": lambda: encoded(ramp("uint8", 0, 255.9), "JPEG", quality=98),
    "JPEG CMYK": lambda: encoded(ramp("uint8", 0, 255.9).convert("CMYK"), "JPEG", quality=98),
    "TIFF CMYK": lambda: encoded(ramp("uint8", 0, 255.9).convert("CMYK"), "TIFF"),
    "TIFF LAB": lambda: encoded(lab(ramp("uint8", 0, 255.9)), "TIFF"),
}


def lab(picture: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    turned = ImageCms.profileToProfile(picture.convert("RGB"), *profiles, outputMode="LAB")
    assert turned is not None
    return turned


@pytest.mark.parametrize("name", GREYS)
def test_two_hundred_greys_are_kept_from_dark_to_bright(name: str) -> None:
    grey = np.asarray(open_image(GREYS[name]())).astype(int)
    assert len(np.unique(grey[..., 1])) >= 200
    rows = grey.mean((1, 2))
    assert (np.diff(rows) > 0).all()
    assert grey[0, 0].max() < 16
    assert grey[-1, -1].min() > 239


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white(bits: int, photometric: int) -> None:
    values = np.full((40, 60), 0 if photometric == 0 else 2**bits - 1)
    values[5:15, 10:30] = 2**bits - 1 - values[0, 0]
    pixels = values.astype(f"<u{bits // 8}").tobytes()
    tags = grey_tags(*SIZE, t258=bits, t262=photometric, t279=len(pixels))
    page = np.asarray(open_image(tiff(tags, pixels=pixels)))
    assert page[30, 50].tolist() == [255, 255, 255]
    assert page[10, 20].tolist() == [0, 0, 0]


def test_inverted_cmyk_as_photoshop_stores_it() -> None:
    page = Image.new("CMYK", SIZE, (0, 0, 0, 0))
    page.paste((0, 0, 0, 255), BLOCK)
    data = encoded(page, "JPEG", quality=95)
    assert b"Adobe" in data
    pixels = np.asarray(open_image(data))
    assert pixels[30, 50].min() > 240
    assert pixels[10, 20].max() < 15


def test_the_segment_that_says_how_colours_are_coded_is_kept() -> None:
    """Adobe's: three components are RGB and not YCbCr, though they are numbered as such."""
    page = marked("RGB", (200, 30, 90), (10, 220, 40))
    data = bytearray(encoded(page, "JPEG", quality=100, keep_rgb=True))
    assert b"Adobe" in data
    for mark in (b"\xff\xc0", b"\xff\xda"):
        at = data.index(mark) + (10 if mark == b"\xff\xc0" else 5)
        step = 3 if mark == b"\xff\xc0" else 2
        assert data[at : at + 3 * step : step] == b"RGB"
        data[at : at + 3 * step : step] = b"\1\2\3"
    pixels = np.asarray(open_image(bytes(data))).astype(int)
    assert abs(pixels[30, 50] - (200, 30, 90)).max() < 6
    assert abs(pixels[10, 20] - (10, 220, 40)).max() < 6


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colour_profiles_are_not_followed(file_format: str) -> None:
    page = marked("RGB", (200, 100, 50), (10, 90, 160))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    plain = encoded(page, file_format)
    assert (
        open_image(encoded(page, file_format, icc_profile=profile)).tobytes()
        == open_image(plain).tobytes()
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_is_turned_by_its_own_metadata(mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = marked().transpose(Image.Transpose.ROTATE_90)
    lazy = Image.open(io.BytesIO(encoded(raw, "PNG", exif=exif)))
    turned = lazy.convert("RGBA").convert(mode) if mode == "PA" else lazy.convert(mode)
    page = open_image(turned)
    assert page.size == SIZE
    assert np.asarray(page)[10, 20].max() < 20
    assert np.asarray(page)[30, 50].min() > 240
