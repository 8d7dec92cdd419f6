"""Decoding: upright, RGB, on white, capped, and one typed error for whatever is wrong."""

import base64
import io
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cropvlm_core import images
from cropvlm_core.decoding import pictures, survey
from cropvlm_core.errors import CropVLMError, ImageError, SourceError
from cropvlm_core.images import (
    encode_for_model,
    encode_jpeg,
    encode_png,
    open_image,
    to_data_uri,
)
from tests.programs import require_package

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


def _encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _corner_page() -> Image.Image:
    """White, 60 x 40, with a black block at the top left."""
    page = Image.new("RGB", (60, 40), "white")
    page.paste((0, 0, 0), (0, 0, 20, 10))
    return page


def _empty_png(width: int, height: int) -> bytes:
    """A tiny PNG that declares any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_every_way_in(file_format: str, tmp_path: Path) -> None:
    data = _encoded(_corner_page(), file_format)
    path = tmp_path / "page.any"
    path.write_bytes(data)
    uri = f"data:image/x;base64,{base64.b64encode(data).decode()}"
    for source in (data, path, str(path), uri, Image.open(io.BytesIO(data))):
        page = open_image(source)
        assert (page.mode, page.size) == ("RGB", (60, 40))
        assert np.asarray(page)[5, 10].max() < 60
        assert np.asarray(page)[30, 50].min() > 200


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(file_format: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    raw = _corner_page()
    if orientation in undo:
        raw = raw.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encoded(raw, file_format, exif=exif)
    for source in (data, Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data)).convert("L")):
        page = open_image(source)
        assert page.size == (60, 40)
        assert np.asarray(page)[5, 10].max() < 60
        assert np.asarray(page)[5, 50].min() > 200
        assert np.asarray(page)[35, 10].min() > 200
        again = open_image(page)
        assert again.tobytes() == page.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse() -> None:
    data = _encoded(_corner_page(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert open_image(data).size == (60, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La"])
def test_black_on_transparent_stays_visible(mode: str) -> None:
    page = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    page.paste((0, 0, 0, 255), (10, 5, 20, 15))
    picture = page.convert("LA").convert("La") if mode == "La" else page.convert(mode)
    pixels = np.asarray(open_image(picture))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[10, 15].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB"])
def test_a_transparent_colour_is_white(mode: str) -> None:
    page = Image.new(mode, (30, 20), 0)
    if mode == "P":
        page.putpalette([0, 0, 0, 10, 10, 10])
    inks: dict[str, int | tuple[int, ...]] = {"P": 1, "L": 10, "1": 1, "RGB": (10, 10, 10)}
    page.paste(inks[mode], (10, 5, 20, 15))
    transparent = (0, 0, 0) if mode == "RGB" else 0
    pixels = np.asarray(open_image(_encoded(page, transparency=transparent)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[10, 15].max() == (255 if mode == "1" else 10)


def test_large_transparent_image_is_whole() -> None:
    """Composed in bands: no seam, no lost last band."""
    page = Image.new("RGBA", (3000, 1501), (255, 0, 0, 255))
    page.putpixel((0, 1500), (0, 0, 0, 0))
    flat = open_image(page)
    assert flat.getpixel((0, 1500)) == (255, 255, 255)
    assert flat.getpixel((2999, 1500)) == (255, 0, 0)
    assert flat.getpixel((0, 0)) == (255, 0, 0)


def _ramp(low: float, high: float, dtype: str) -> Image.Image:
    values = np.linspace(low, high, 256 * 16).reshape(16, 256)
    return Image.fromarray(values.astype(dtype))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("span", [(0, 65535), (0, 4095), (20000, 30000), (0, 255)])
def test_sixteen_bit_grey_keeps_its_levels(file_format: str, span: tuple[int, int]) -> None:
    data = _encoded(_ramp(*span, "uint16"), file_format)
    grey = np.asarray(open_image(data))[..., 0].ravel()
    assert len(np.unique(grey)) >= 200
    assert (np.diff(grey.astype(int)) >= 0).all()
    assert (grey[0], grey[-1]) == (0, 255)


def test_a_bright_sixteen_bit_page_stays_bright() -> None:
    values = np.full((20, 30), 60000, np.uint16)
    values[5:10, 5:10] = 300
    grey = np.asarray(open_image(_encoded(Image.fromarray(values))))[..., 0]
    assert (grey[0, 0], grey[7, 7]) == (233, 1)


def test_sixteen_bit_transparency_is_white() -> None:
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    values[0, :5] = 7
    data = _encoded(Image.fromarray(values), transparency=7)
    if "transparency" in Image.open(io.BytesIO(data)).info:
        assert np.asarray(open_image(data))[0, :5].min() == 255


@pytest.mark.parametrize("span", [(0, 1), (0, 255), (-1, 1), (0, 1e6)])
def test_float_grey_keeps_its_levels(span: tuple[float, float]) -> None:
    picture = _ramp(*span, "float32")
    for source in (picture, _encoded(picture, "TIFF")):
        grey = np.asarray(open_image(source))[..., 0]
        assert len(np.unique(grey)) >= 200


def test_int_and_odd_floats() -> None:
    assert np.asarray(open_image(Image.new("I", (4, 4), 200)))[0, 0, 0] == 200
    odd = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    grey = np.asarray(open_image(Image.fromarray(odd)))[..., 0]
    assert grey.tolist() == [[0, 255, 0, 128]]
    assert open_image(Image.new("F", (4, 4), 1e9)).size == (4, 4)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk(file_format: str) -> None:
    page = Image.new("CMYK", (30, 20), (0, 0, 0, 0))
    page.paste((0, 0, 0, 255), (10, 5, 20, 15))
    pixels = np.asarray(open_image(_encoded(page, file_format)))
    assert pixels[0, 0].min() > 240
    assert pixels[10, 15].max() < 15


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(file_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    data = _encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    red, green, _ = np.asarray(open_image(data))[5, 5].tolist()
    assert red > 240
    assert green < 15


def _hostile(tmp_path: Path) -> dict[str, bytes]:
    png = _encoded(_corner_page())
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    jpeg = _encoded(Image.fromarray(noise), "JPEG")
    files = {
        "empty.png": b"",
        "text.png": b"this is no picture at all\n" * 20,
        "unknown.png": bytes(range(128, 256)) * 4,
        "page.pdf": b"%PDF-1.7 ...",
        "photo.heic": b"\0\0\0\x18ftypheic" + b"\0" * 40,
        "head.webp": b"RIFF\x24\0\0\0WEBPVP8 ",
        "bomb.png": _empty_png(20_000, 10_000),
        "wide.png": _empty_png(40_000, 10),
        "nopixels.png": _empty_png(60, 40),
        "zero.png": _empty_png(0, 40),
        "icon.ico": _encoded(_corner_page(), "ICO"),
        "vector.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "flipped.png": png[:60] + bytes(b ^ 255 for b in png[60:]),
    }
    big = _encoded(Image.fromarray(noise))
    for tenth in range(1, 10):
        files[f"cut{tenth}.png"] = big[: len(big) * tenth // 10]
        files[f"cut{tenth}.jpg"] = jpeg[: len(jpeg) * tenth // 10]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return files


def test_hostile_files_get_a_typed_error_that_names_them(tmp_path: Path) -> None:
    require_package("pypdfium2")
    files = _hostile(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, data in files.items():
            for source in (tmp_path / name, data):
                with pytest.raises(ImageError, match="expected") as caught:
                    open_image(source)
                message = str(caught.value)
                assert "0x" not in message
                assert "\n" not in message
                assert len(message) <= 120
                assert (name if isinstance(source, Path) else f"{len(data)} bytes") in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "text"),
        (b"%PDF-1.4\n\xe2\xe3", "PDF"),
        (_empty_png(20_000, 10_000), "20000 x 10000"),
    ],
)
def test_the_message_says_what_came(data: bytes, words: str) -> None:
    if words == "PDF":
        require_package("pypdfium2")
    with pytest.raises(ImageError, match=words):
        open_image(data)


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "gif"])
def test_a_bomb_is_refused_before_it_is_decoded(kind: str) -> None:
    bombs: dict[str, Callable[[], bytes]] = {
        "png": lambda: _empty_png(16_000, 12_500),
        "webp": lambda: (
            b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
            + (15_999).to_bytes(3, "little")
            + (12_499).to_bytes(3, "little")
            + b"\0" * 40
        ),
        "bmp": lambda: (
            b"BM"
            + struct.pack("<IHHI", 54, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 16_000, 12_500, 1, 24, 0, 0, 0, 0, 0, 0)
        ),
        "gif": lambda: (
            b"GIF89a" + struct.pack("<HHBBB", 16_000, 12_500, 0, 0, 0) + b"\x2c" + b"\0" * 20
        ),
    }
    data = bombs[kind]()
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = time.perf_counter()
        with pytest.raises(ImageError, match=r"megapixels|whole"):
            open_image(data)
        seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 2**20


def test_a_pil_image_is_capped_too() -> None:
    with pytest.raises(ImageError, match="32768 a side"):
        open_image(Image.new("1", (32_769, 1)))
    with pytest.raises(ImageError, match="0 x 5 pixels"):
        open_image(Image.new("RGB", (0, 5)))


def test_what_is_no_source() -> None:
    with pytest.raises(ImageError, match="got int"):
        open_image(7)  # type: ignore[arg-type]
    with pytest.raises(SourceError):
        open_image("nowhere.png")
    with pytest.raises(SourceError):
        open_image("https://example.com/a.png")


@pytest.mark.parametrize("mode", ["LAB", "HSV", "YCbCr", "RGBX", "RGBa", "I;16B", "I;16L", "I;16N"])
def test_rare_modes(mode: str) -> None:
    assert open_image(Image.new(mode, (9, 9))).mode == "RGB"


def test_a_bug_of_ours_is_not_taken_for_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pictures, "_packed")
    with pytest.raises(NameError):
        open_image(_encoded(_corner_page().convert("CMYK"), "TIFF"))


def test_too_many_bytes() -> None:
    with pytest.raises(ImageError, match="at most"):
        open_image(b"\x89PNG\r\n\x1a\n" + b"\0" * (20 * 2**20))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 90}, {"exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (7, 16383)])
def test_webp_sizes_are_read_from_every_header(
    size: tuple[int, int], options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _encoded(Image.new("RGB", size), "WEBP", **options)
    assert open_image(data).size == size
    monkeypatch.setattr(survey, "MAX_PIXELS", size[0] * size[1] - 1)
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]}"):
        open_image(data)


def test_damaged_metadata_of_a_pil_image() -> None:
    page = _corner_page()
    page.info["exif"] = b"no exif at all"
    assert open_image(page).tobytes() == _corner_page().tobytes()


def test_a_truncated_pil_image_gets_a_typed_error() -> None:
    data = _encoded(Image.effect_noise((200, 200), 80), "PNG")
    lazy = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(ImageError, match="mode L"):
        open_image(lazy)


def test_the_callers_image_is_not_changed() -> None:
    page = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    page.info["comment"] = "mine"
    before = (page.mode, page.size, page.tobytes(), dict(page.info))
    open_image(page)
    assert (page.mode, page.size, page.tobytes(), dict(page.info)) == before
    plain = _corner_page()
    assert open_image(plain) is plain


def test_one_lazy_image_in_many_threads() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(Image.fromarray(noise), "JPEG", quality=95, exif=exif)
    expected = open_image(data).tobytes()
    wrong: list[str] = []
    for _ in range(5):
        lazy = Image.open(io.BytesIO(data))
        start = threading.Barrier(8)

        def work(shared: Image.Image = lazy, gate: threading.Barrier = start) -> None:
            gate.wait()
            try:
                if open_image(shared).tobytes() != expected:
                    wrong.append("other pixels")
            except CropVLMError as error:
                wrong.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_encoding_gives_the_pixels_and_nothing_else() -> None:
    page = _corner_page()
    page.info.update(comment=b"secret-marker", icc_profile=b"secret-marker", exif=b"secret-marker")
    for data in (encode_png(page), encode_jpeg(page), base64.b64decode(to_data_uri(page)[22:])):
        assert b"secret-marker" not in data
    assert open_image(encode_png(page)).tobytes() == page.tobytes()
    assert to_data_uri(page).startswith("data:image/png;base64,")
    assert open_image(to_data_uri(page)).tobytes() == page.tobytes()
    assert encode_jpeg(page).startswith(b"\xff\xd8")
    assert page.info["comment"] == b"secret-marker"


def test_one_image_encoded_in_many_threads() -> None:
    page = Image.effect_noise((300, 200), 60).convert("RGB")
    page.info["comment"] = "secret-marker"
    expected = encode_png(page), encode_jpeg(page)
    start = threading.Barrier(8)
    told: list[tuple[bytes, bytes]] = []

    def work() -> None:
        start.wait()
        told.extend((encode_png(page), encode_jpeg(page)) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 80
    assert set(told) == {expected}
    assert vars(page).keys() == vars(Image.new("RGB", (1, 1))).keys()


def test_pictures_for_a_model_are_lossless_up_to_a_size() -> None:
    page = Image.effect_noise((60, 50), 60).convert("RGB")
    data, mime_type = encode_for_model(page, 3000)
    assert mime_type == "image/png"
    assert open_image(data).tobytes() == page.tobytes()
    assert encode_for_model(page, 2999)[1] == "image/jpeg"


def test_a_png_that_hosted_models_refuse_goes_as_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Image.effect_noise((60, 50), 60).convert("RGB")
    size = len(encode_png(page))
    monkeypatch.setattr(images, "MODEL_BYTES", size)
    assert encode_for_model(page, 3000)[1] == "image/png"
    monkeypatch.setattr(images, "MODEL_BYTES", size - 1)
    data, mime_type = encode_for_model(page, 3000)
    assert (mime_type, data[:3]) == ("image/jpeg", b"\xff\xd8\xff")


def test_no_message_repeats_what_a_data_uri_holds() -> None:
    secret = base64.b64encode(b"\x89PNG\r\n\x1a\nsecret").decode()
    with pytest.raises(ImageError, match="a data: URI: ") as caught:
        open_image(f"data:image/png;base64,{secret}")
    assert secret[:8] not in str(caught.value)
