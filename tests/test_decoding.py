"""Surveys: what a file is found to hold, and what of it a decoder is shown."""

import contextlib
import dataclasses
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from cropvlm_core.decoding import bmp, formats, jpeg, pictures
from cropvlm_core.decoding.exif import orientation_in
from cropvlm_core.decoding.survey import UnreadableError
from cropvlm_core.errors import ImageError
from cropvlm_core.images import image_format, open_image
from tests.hostile.damaged import honest
from tests.hostile.files import (
    PNG,
    canvas,
    chunk,
    encoded,
    gif,
    gif_frame,
    grey_tags,
    noise,
    png,
    riff,
    segment,
    tag,
    tiff,
)

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}

MARK = b"secret-marker"


def marked(file_format: str) -> bytes:
    """A picture with a mark in every place for words."""
    page = Image.merge("RGB", [noise(40, 40)] * 3)
    exif = Image.Exif()
    exif[0x010E] = MARK.decode()
    exif[0x0112] = 6
    options: dict[str, Any] = {"exif": exif}
    if file_format in ("PNG", "JPEG", "WEBP", "TIFF"):
        options["icc_profile"] = MARK * 9
    if file_format in ("JPEG", "GIF"):
        options["comment"] = MARK
    if file_format in ("JPEG", "WEBP"):
        options["xmp"] = MARK
    if file_format == "GIF":
        return encoded(page.quantize(), "GIF", comment=MARK) + MARK
    data = encoded(page, file_format, **options)
    if file_format == "PNG":
        data = data[:33] + chunk(b"tEXt", b"k\0" + MARK) + data[33:]
    return data + MARK


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_decoder_is_shown_nothing_but_what_makes_pixels(kind: str) -> None:
    data = marked(kind)
    assert data.count(MARK) >= 2
    found = formats.survey(kind, data, 1)
    assert MARK not in found.bare
    assert found.orientation == (1 if kind == "GIF" else 6)
    upright = Image.open(io.BytesIO(data)).convert("RGB")
    if kind != "GIF":
        upright = upright.transpose(Image.Transpose.ROTATE_270)
    assert open_image(data).tobytes() == upright.tobytes()


def test_a_webp_is_shown_with_what_its_canvas_holds() -> None:
    lossy, hidden = encoded(noise(8, 8), "WEBP")[20:], b"\x2f\xff\xff\xff\xff" + bytes(40)
    bare = formats.survey("WEBP", riff((b"VP8 ", lossy), (b"VP8L", hidden)), 1).bare
    assert b"VP8L" not in bare
    flagged = riff(canvas(8, 8, 0x3C), (b"ICCP", MARK), (b"VP8 ", lossy), (b"EXIF", MARK))
    bare = formats.survey("WEBP", flagged, 1).bare
    assert bare[20] == 0x10  # alpha, of all that was promised
    assert open_image(flagged).size == (8, 8)


def test_a_tiff_is_shown_with_the_entries_that_make_pixels() -> None:
    found = formats.survey("TIFF", marked("TIFF"), 1)
    with Image.open(io.BytesIO(found.bare)) as bare:
        tags = set(bare.tag_v2)  # type: ignore[attr-defined]
        assert not tags & {270, 274, 282, 283, 296, 700, 34_665, 34_675}
        assert {256, 257, 258, 262, 273} <= tags
    assert found.orientation == 6


def test_metadata_that_is_damaged_or_a_bomb_is_no_reason_to_refuse() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    for part in (
        chunk(b"zTXt", b"k\0\0" + bomb),
        chunk(b"iCCP", b"k\0\0" + bomb),
        chunk(b"iTXt", b"k\0\1\0\0\0" + bomb),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"gAMA", b""),
    ):
        assert open_image(png(9, 9, before=part)).size == (9, 9)
        assert open_image(png(9, 9, after=part)).size == (9, 9)


def test_orientation_in_the_profile_that_imagemagick_writes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    body = exif.tobytes()
    text = b"\nexif\n" + b"%8d\n" % len(body) + body.hex().encode() + b"\n"
    name = b"Raw profile type exif\0"
    page = encoded(Image.new("RGB", (30, 20)), "PNG")
    for part in (chunk(b"tEXt", name + text), chunk(b"zTXt", name + b"\0" + zlib.compress(text))):
        assert open_image(page[:33] + part + page[33:]).size == (20, 30)
    for broken in (name + b"\nexif\n 4\nzz", name, name + b"\0" + b"\xff"):
        for kind in (b"tEXt", b"zTXt"):
            assert open_image(page[:33] + chunk(kind, broken) + page[33:]).size == (30, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_what_pillow_reads(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    assert orientation_in(exif.tobytes()) == orientation
    assert orientation_in(exif.tobytes()[6:]) == orientation
    big = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    assert orientation_in(big) == orientation


@settings(max_examples=300)
@given(st.binary(max_size=80))
@example(b"II*\0\x08\0\0\0\xff\xff" + b"\x12\1\3\0\1\0\0\0\x09\0\0\0")
@example(b"II*\0\x08\0\0\0\1\0" + b"\x12\1\7\0\1\0\0\0\x06\0\0\0")
def test_no_exif_has_another_orientation(data: bytes) -> None:
    for start in (b"", b"II*\0", b"MM\0*\0\0\0\x08", b"Exif\0\0II"):
        assert 1 <= orientation_in(start + data) <= 8


STARTS = {
    "PNG": PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)),
    "JPEG": b"\xff\xd8\xff",
    "WEBP": b"RIFF\xff\0\0\0WEBP",
    "GIF": b"GIF89a\x09\0\x09\0\0\0\0",
    "BMP": b"BM",
    "TIFF": b"II*\0",
}


@pytest.mark.parametrize("kind", STARTS)
@settings(max_examples=200, deadline=None)
@given(rest=st.binary(max_size=200), page=st.integers(1, 3))
def test_a_survey_raises_one_error_alone(kind: str, rest: bytes, page: int) -> None:
    with contextlib.suppress(UnreadableError):
        assert formats.survey(kind, STARTS[kind] + rest, page).pages >= page


@pytest.mark.parametrize("name", honest())
def test_kinds_are_told_by_content_alone(name: str) -> None:
    data = honest()[name]
    assert image_format(data) == KINDS.get(name.rpartition(".")[2], "PDF")
    assert image_format(b"x" + data) in (None, "PDF")


def framed(marker: int, width: int, height: int, components: bytes) -> bytes:
    """The segments of a JPEG that declare its frame and begin a scan."""
    frame = segment(marker, b"\x08" + struct.pack(">HH", height, width) + components)
    return b"\xff\xd8" + frame + segment(0xDA, b"") + b"\xff\xd9"


OVER = [(number, 5, 6, bytes(4)) for number in (529, 531, 532)]
REFUSALS = {
    "a header that is none": (PNG + bytes(40), "header"),
    "no pixels in a JPEG": (b"\xff\xd8\xff\xd9" + bytes(9), "truncated before its pixels"),
    "no frame of a GIF": (gif(9, 9), "truncated before its pixels"),
    "no frame of a WebP": (riff(canvas(9, 9, 2), (b"ANIM", bytes(6))), "before its pixels"),
    "a WebP that begins oddly": (riff((b"zzzz", bytes(40))), "begin with a picture"),
    "a short WebP": (riff((b"VP8 ", bytes(4))), "before its size"),
    "a short BMP": (b"BM" + bytes(20), "truncated"),
    "no entry for pixels": (tiff(grey_tags(9, 9)[:5]), "no place for its pixels"),
    "no size in a TIFF": (tiff([tag(262, 1)]), "0 x 0 pixels"),
    "a size in letters": (tiff([(256, 2, 1, b"9\0\0\0"), tag(257, 9)]), "no whole number"),
    "entries that share their bytes": (
        tiff([(258, 3, 8, bytes(4)), *grey_tags(9, 9)[:2], (530, 3, 8, bytes(4)), *OVER]),
        "its entries overlap",
    ),
    "more strips than rows": (
        tiff([*grey_tags(9, 9)[:5], (273, 4, 99, struct.pack("<I", 8))], pixels=bytes(400)),
        "99 strips or tiles",
    ),
    "35 samples a pixel": (tiff(grey_tags(9, 9, t277=35)), "35 samples a pixel"),
    "a TIFF by LZMA": (tiff(grey_tags(9, 9, t259=34_925)), "rare method 34925"),
    "two frames of a JPEG": (
        b"\xff\xd8" + segment(0xC0, b"\x08\0\x09\0\x09\1\1\x11\0") * 2 + b"\xff\xd9",
        "more than one picture",
    ),
    "arithmetic coding": (framed(0xC9, 9, 9, b"\1\1\x11\0"), "SOF9"),
    "sampling factors of 0": (framed(0xC2, 9, 9, b"\1\1\0\0"), "sampling factors"),
    "a frame beyond the screen": (
        gif(9, 9, gif_frame(60_000, 60_000, b"\x84\x51", left=60_000)),
        "120000 x 60000",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_reason_is_named(name: str) -> None:
    data, reason = REFUSALS[name]
    with pytest.raises(ImageError, match=reason):
        open_image(data)


def test_a_decoder_must_see_the_size_that_was_checked() -> None:
    found = formats.survey("PNG", png(40, 30), 1)
    assert pictures.decoded(found).size == (40, 30)
    for size in ((30, 40), (40, 31), (9, 9)):
        with pytest.raises(UnreadableError, match=r"it is \d+ x \d+, then 40 x 30 pixels"):
            pictures.decoded(dataclasses.replace(found, size=size))


def test_what_takes_too_much_memory_is_refused_by_its_header() -> None:
    """Formats whose decoders keep more than the picture: WebP, progressive JPEG, large strips."""
    lossy = encoded(noise(8, 8), "WEBP")[12:]
    for width, height, allowed in ((5_000, 4_400, True), (7_000, 7_000, False)):
        data = riff(canvas(width, height), (b"VP8 ", lossy[8:]))
        if allowed:
            assert formats.survey("WEBP", data, 1).size == (width, height)
        else:
            with pytest.raises(UnreadableError, match="784 MB to decode, over 360"):
                formats.survey("WEBP", data, 1)
    for sampling, allowed in ((b"\x22", True), (b"\x11", False)):  # 4:2:0, 4:4:4
        data = framed(0xC2, 7_000, 7_000, b"\3\1" + sampling + b"\0\2\x11\0\3\x11\0")
        if allowed:
            assert formats.survey("JPEG", data, 1).size == (7_000, 7_000)
        else:
            with pytest.raises(UnreadableError, match="490 MB to decode"):
                formats.survey("JPEG", data, 1)
    strip = grey_tags(7_000, 7_000, t259=5, t277=4, t258=16, t262=2)
    with pytest.raises(UnreadableError, match="MB to decode"):
        formats.survey("TIFF", tiff(strip), 1)


def test_what_takes_too_long_is_refused_by_its_header() -> None:
    small = encoded(noise(64, 64), "JPEG", progressive=True)
    last = small.rindex(b"\xff\xda")
    many = small[:-2] + small[last:-2] * 300 + b"\xff\xd9"
    assert formats.survey("JPEG", many, 1).size == (64, 64)
    large = many.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 2_000, 2_000), 1)
    with pytest.raises(UnreadableError, match=r"2000 x 2000 pixels 30\d times over"):
        formats.survey("JPEG", large, 1)
    frame = gif_frame(4_000, 4_000, b"\x84\x51")
    animation = gif(4_000, 4_000, *[frame] * 20)
    assert formats.survey("GIF", animation, 1).pages == 20
    with pytest.raises(UnreadableError, match="frame 13 of 4000 x 4000 takes too long"):
        formats.survey("GIF", animation, 13)


def test_parts_are_counted_before_they_cost_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "_MAX_SEGMENTS", 20)
    base = encoded(noise(9, 9), "JPEG")
    formats.survey("JPEG", base[:2] + segment(0xFE, b"a") * 5 + base[2:], 1)
    with pytest.raises(UnreadableError, match="more than 20 parts"):
        formats.survey("JPEG", base[:2] + segment(0xFE, b"a") * 20 + base[2:], 1)
    monkeypatch.setattr(bmp, "_MAX_RUNS", 0)
    with pytest.raises(ImageError, match="in run lengths take too long"):
        open_image(honest()["runs.bmp"])


def test_others_cannot_switch_off_that_pictures_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """WeasyPrint does by being imported."""
    stream = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(stream, "JPEG")
    whole = stream.getvalue()
    for allowed in (True, False):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed)
        assert open_image(whole).size == (300, 300)
        with pytest.raises(ImageError, match="truncated"):
            open_image(whole[: len(whole) // 2])
        assert ImageFile.LOAD_TRUNCATED_IMAGES is allowed
