"""Files of several pages or frames: which is shown, and how many are counted."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cropvlm_core.decoding import formats, survey
from cropvlm_core.decoding.survey import NoSuchPageError
from cropvlm_core.errors import ImageError
from cropvlm_core.images import open_image, open_page, page_count
from tests.hostile.damaged import honest
from tests.hostile.files import encoded

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def film(file_format: str, **options: Any) -> bytes:
    """Three frames or pages: red, green, blue."""
    frames = [Image.new("RGB", (20, 30), colour) for colour in COLOURS]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


FILMS = {
    "GIF": film("GIF"),
    "WEBP": film("WEBP", lossless=True),
    "PNG": film("PNG"),
    "PNG with a picture of its own": encoded(
        Image.new("RGB", (20, 30), "red"),
        "PNG",
        save_all=True,
        default_image=True,
        append_images=[Image.new("RGB", (20, 30), colour) for colour in ("lime", "blue")],
    ),
    "TIFF": film("TIFF"),
    "BigTIFF": film("TIFF", big_tiff=True, compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("isolate", [False, True])
def test_the_page_asked_for_is_shown_and_all_are_counted(name: str, isolate: bool) -> None:
    data = FILMS[name]
    assert page_count(data) == 3
    for number, colour in enumerate(COLOURS.values(), 1):
        page = open_page(data, page=number, isolate=isolate)
        assert (page.number, page.count) == (number, 3)
        assert page.image.size == (20, 30)
        assert np.asarray(page.image).min((0, 1)).tolist() == list(colour)
        assert np.asarray(page.image).max((0, 1)).tolist() == list(colour)
    assert open_image(data).tobytes() == open_image(data, page=1).tobytes()
    with pytest.raises(ImageError, match=r"expected page 1 to 3, got page 4: \d+ bytes"):
        open_image(data, page=4, isolate=isolate)


def test_a_frame_is_drawn_over_those_before_it() -> None:
    first = Image.new("RGBA", (20, 30), "red")
    second = Image.new("RGBA", (20, 30), (0, 0, 0, 0))
    second.paste((0, 0, 255, 255), (5, 5, 10, 10))
    for file_format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if file_format == "WEBP" else {}
        data = encoded(
            first, file_format, save_all=True, append_images=[second], disposal=0, **options
        )
        page = open_page(data, page=2)
        assert page.count == 2
        assert page.image.getpixel((7, 7)) == (0, 0, 255)
        assert page.image.getpixel((15, 25)) in ((255, 0, 0), (255, 255, 255)), file_format


def test_a_picture_has_one_page() -> None:
    files = honest()
    for name in ("base.jpg", "rgb.bmp", "rgb.png", "still.gif", "lossy.webp", "raw.tif"):
        assert page_count(files[name]) == 1
        with pytest.raises(ImageError, match="expected page 1, the only one, got page 2"):
            open_image(files[name], page=2)
    lazy = Image.open(io.BytesIO(FILMS["GIF"]))
    assert page_count(lazy) == 1
    with pytest.raises(ImageError, match="page 1, the only one"):
        open_image(lazy, page=2)


@pytest.mark.parametrize("page", [0, -1, 1.0, "1", True, None])
def test_what_is_no_page_number(page: Any) -> None:
    with pytest.raises(ImageError, match="the number of a page, from 1"):
        open_image(FILMS["GIF"], page=page)


def test_a_further_picture_in_a_jpeg_is_no_page() -> None:
    other = encoded(Image.new("RGB", (20, 30), "blue"), "JPEG")
    data = encoded(Image.new("RGB", (20, 30), "red"), "JPEG") + other
    assert page_count(data) == 1
    red, _, blue = np.asarray(open_image(data))[9, 9].tolist()
    assert red > 200 > 50 > blue


def test_the_error_says_how_many_pages_there_are() -> None:
    with pytest.raises(NoSuchPageError) as caught:
        formats.survey("TIFF", FILMS["TIFF"], 9)
    assert caught.value.pages == 3


def test_too_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_PAGES", 2)
    for name in ("WEBP", "PNG", "GIF"):
        with pytest.raises(ImageError, match="more than 2 pages or frames"):
            open_image(FILMS[name])
