"""One file through every entry point: the same verdict, for the same reason, the same crops."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.entry_points import ENTRIES, outcome
from tests.hostile.damaged import honest
from tests.hostile.files import chunk, encoded, noise, png, segment
from tests.hostile.headers import declared_sizes
from tests.programs import require_package

HONEST = honest(64)
BASE = HONEST["base.jpg"]


def lying_down() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(90, 60), "JPEG", exif=exif)


GOOD = {
    **{
        name: HONEST[name]
        for name in (
            "rgb.png",
            "palette.png",
            "film.png",
            "deep.png",
            "cmyk.jpg",
            "progressive.jpg",
            "lossless.webp",
            "film.gif",
            "runs.bmp",
            "pages.tif",
            "fax.tif",
        )
    },
    "lying.jpg": lying_down(),
    "text-bomb.png": png(64, 64, before=chunk(b"iCCP", b"k\0\0")),
    "comments.jpg": BASE[:2] + segment(0xFE, bytes(60_000)) * 9 + BASE[2:],
    "behind.gif": HONEST["still.gif"] + b"<script>alert(1)</script>" * 99,
}
BAD = {
    "cut.png": HONEST["rgb.png"][:900],
    "cut.jpg": BASE[: len(BASE) // 2],
    "cut.webp": HONEST["lossy.webp"][:60],
    "cut.tif": HONEST["lzw.tif"][:700],
    "flipped.png": HONEST["rgb.png"][:90] + b"\xff" * 40 + HONEST["rgb.png"][130:],
    "text.png": b"no picture\n" * 30,
    "vector.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "photo.heic": b"\0\0\0\x18ftypheic" + bytes(40),
    **{file.name: file.data for file in list(declared_sizes())[::9]},
}


def through_all(data: bytes, file: Path) -> dict[str, tuple[tuple[bytes, ...], str]]:
    """For each entry: the crops, and the reason behind the last colon of the message."""
    told = {}
    for name, (_, package) in ENTRIES.items():
        require_package(package)
        crops, message = outcome(name, data, file)
        assert len(message) <= 130, (name, message)
        assert str(file.parent) not in message, name
        assert not message or "expected" in message, (name, message)
        reason = message.rpartition(": ")[2]
        told[name] = crops, reason
    return told


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_gives_the_same_crop_everywhere(name: str, tmp_path: Path) -> None:
    told = through_all(GOOD[name], tmp_path / name)
    assert len(set(told.values())) == 1, {key: value[1] for key, value in told.items()}
    ((crops, reason),) = set(told.values())
    assert (len(crops), reason) == (1, "")
    with Image.open(io.BytesIO(crops[0])) as crop:
        assert (crop.format, crop.mode) == ("PNG", "RGB")
        assert crop.size == ((30, 46) if name == "lying.jpg" else (32, 32))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_everywhere_for_the_same_reason(name: str, tmp_path: Path) -> None:
    told = through_all(BAD[name], tmp_path / name)
    assert len(set(told.values())) == 1, {key: value[1] for key, value in told.items()}
    ((crops, reason),) = set(told.values())
    assert crops == ()
    assert reason


def test_a_pdf_is_the_same_everywhere(tmp_path: Path) -> None:
    require_package("pypdfium2")
    told = through_all(HONEST["page.pdf"], tmp_path / "page.pdf")
    ((crops, reason),) = set(told.values())
    assert (len(crops), reason) == (1, "")
