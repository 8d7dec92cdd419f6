"""Pages of PDF files as images: drawn in a worker, within limits, chosen by number."""

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.cropper import FixedCropper
from cropvlm_core.decoding.pdf import DPI, scale_of
from cropvlm_core.decoding.survey import MAX_PIXELS, MAX_SIDE, UnreadableError
from cropvlm_core.errors import ImageError, MissingExtraError
from cropvlm_core.images import open_image, open_page, page_count
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions, write_questions
from cropvlm_core.zoom import ZoomPipeline
from tests.cli_calls import one_line_error, run
from tests.hostile import pdfs
from tests.hostile.files import pdf, pdf_page, stream
from tests.pages import MIDDLE
from tests.programs import require_package

require_package("pypdfium2")

INK = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}


def three_pages() -> bytes:
    """Pages of 200 x 100 points with a bar at the left top: red, green, blue."""
    colours = (b"1 0 0 rg", b"0 1 0 rg", b"0 0 1 rg")
    bars = [stream(colour + b" 0 50 100 50 re f") for colour in colours]
    return pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R 4 0 R 5 0 R] /Count 3 >>",
        *[
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents {number} 0 R >>"
            for number in (6, 7, 8)
        ],
        *bars,
    )


PAGES = three_pages()


@pytest.mark.parametrize("number", INK)
def test_the_page_asked_for_is_drawn_upright_at_200_dpi(number: int) -> None:
    page = open_page(PAGES, page=number)
    assert (page.number, page.count) == (number, 3)
    assert (page.image.mode, page.image.info) == ("RGB", {})
    assert page.image.size == (math.ceil(200 * DPI / 72), math.ceil(100 * DPI / 72))
    pixels = np.asarray(page.image)
    assert pixels[50, 50].tolist() == list(INK[number])
    assert pixels[250, 50].tolist() == [255, 255, 255]
    assert pixels[50, 500].tolist() == [255, 255, 255]


def test_every_way_in(tmp_path: Path) -> None:
    file = tmp_path / "pages.png"  # the ending says nothing
    file.write_bytes(PAGES)
    for source in (PAGES, file, str(file)):
        assert page_count(source) == 3
        assert open_image(source, page=2).getpixel((50, 50)) == INK[2]
        assert VisualQuestion(source, "What?", page=3).open().getpixel((50, 50)) == INK[3]
    assert open_image(PAGES).getpixel((50, 50)) == INK[1]


@pytest.mark.parametrize(
    ("turn", "corner"), [(0, (10, 10)), (90, (260, 10)), (180, (540, 260)), (270, (10, 540))]
)
def test_a_page_is_turned_as_it_says(turn: int, corner: tuple[int, int]) -> None:
    """The bar at the top left comes to the top right, the bottom right, the bottom left."""
    data = PAGES.replace(b"/MediaBox [0 0 200 100]", b"/MediaBox [0 0 200 100] /Rotate %d" % turn)
    page = open_image(data)
    assert page.size == ((556, 278) if turn in (0, 180) else (278, 556))
    assert page.getpixel(corner) == (255, 0, 0)
    inked = np.asarray(page)[..., 1] == 0
    assert inked.mean() == pytest.approx(0.25, rel=0.01)


def test_what_was_written_into_a_form_is_shown() -> None:
    look = stream(b"0 0 0 rg 0 0 80 80 re f", "/Type /XObject /Subtype /Form /BBox [0 0 80 80]")
    field = "/Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Ann) /F 4 /Rect [10 10 90 90]"
    data = pdf(
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Annots [5 0 R] >>",
        "<< >>",
        f"<< {field} /AP << /N 6 0 R >> >>",
        look,
    )
    assert open_image(data).getpixel((140, 140)) == (0, 0, 0)


@pytest.mark.parametrize("box", ["0 0 14400 14400", "0 0 1000000 1000000", "0 0 9000000 90"])
def test_a_giant_page_is_drawn_smaller(box: str) -> None:
    page = open_image(pdf_page(box=box))
    assert page.width * page.height <= MAX_PIXELS
    assert max(page.size) <= MAX_SIDE


@given(*[st.floats(min_value=1e-6, max_value=1e9)] * 2)
def test_no_page_is_larger_than_we_decode(width: float, height: float) -> None:
    scale = scale_of(width, height)
    across, down = math.ceil(width * scale), math.ceil(height * scale)
    assert 1 <= across <= MAX_SIDE
    assert 1 <= down <= MAX_SIDE
    assert across * down <= MAX_PIXELS
    assert scale <= DPI / 72
    if max(width, height) < 2_000:  # all usual paper
        assert scale == DPI / 72


@pytest.mark.parametrize("side", [0.0, -5.0, math.nan, math.inf])
def test_what_is_no_size_of_a_page(side: float) -> None:
    for pair in ((side, 9.0), (9.0, side)):
        with pytest.raises(UnreadableError, match="points large"):
            scale_of(*pair)


REFUSED = {
    "page 4 of 3": (PAGES, 4, "expected page 1 to 3, got page 4"),
    "cut off": (PAGES[:200], 1, "a PDF that opens, got 200 bytes: it is damaged, or empty"),
    "no page": (
        pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 0 >>"),
        1,
        "it is damaged, or empty",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_is_named(name: str) -> None:
    data, page, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        open_image(data, page=page)
    assert len(str(caught.value)) <= 120


def test_a_locked_file_needs_a_password() -> None:
    locked = next(file.data for file in pdfs.pdfs() if file.name == "locked.pdf")
    for call in (open_image, page_count):
        with pytest.raises(ImageError, match="it needs a password"):
            call(locked)


def test_hostile_files_are_drawn_or_refused() -> None:
    """But for those that take a worker's time or memory: scripts/hostile_images.py has them."""
    names = []
    for file in pdfs.pdfs():
        if file.name.startswith(("forms", "many", "tiny", "image", "box-0_0_1e9")):
            break
        names.append(file.name)
        try:
            page = open_image(file.data)
        except ImageError as error:
            assert file.verdict != "opens", file.name
            assert len(str(error)) <= 120  # noqa: PT017 - both outcomes are right
        else:
            assert file.verdict != "refused", file.name
            assert page.width * page.height <= MAX_PIXELS
    assert len(names) >= 8


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for call in (open_image, page_count):
        with pytest.raises(MissingExtraError, match=r"pip install 'cropvlm\[pdf\]'"):
            call(PAGES)
    assert open_image(_png()).size == (9, 9)


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, "PNG")
    return stream.getvalue()


def test_drawing_loads_no_reader_into_this_process() -> None:
    before = "pypdfium2" in sys.modules
    open_image(PAGES)
    assert ("pypdfium2" in sys.modules) == before


def test_a_question_names_its_page(tmp_path: Path) -> None:
    (tmp_path / "pages.pdf").write_bytes(PAGES)
    questions = [
        AnsweredQuestion(tmp_path / "pages.pdf", "Which colour?", page=number, answers=("ink",))
        for number in INK
    ]
    write_questions(tmp_path / "questions.jsonl", questions)
    rows = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert [row.get("page") for row in rows] == [None, 2, 3]
    read = list(read_questions(tmp_path))
    assert [question.page for question in read] == [1, 2, 3]
    pipeline = ZoomPipeline(FixedCropper(MIDDLE))
    zooms = [pipeline.zoom_batch([question])[0] for question in read]
    assert [zoom.image.getpixel((50, 50)) for zoom in zooms] == list(INK.values())
    assert len({question.shown for question in read}) == 3


def test_the_command_line_draws_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, crop = tmp_path / "pages.pdf", tmp_path / "crop.png"
    file.write_bytes(PAGES)
    assert run("zoom", file, "What?", "--page", 2, "--cropper", "centre", "-o", crop) == 0
    told = capsys.readouterr()
    assert "page 2 of 3\n" in told.out
    assert told.err == ""
    with Image.open(crop) as written:
        assert written.getpixel((0, 0)) == INK[2]
    assert run("zoom", file, "What?", "--page", 4, "--cropper", "centre") == 2
    assert "expected page 1 to 3, got page 4: 'pages.pdf'" in one_line_error(capsys)
