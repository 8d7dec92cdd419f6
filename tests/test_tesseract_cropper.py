"""The cropper ``ocr``: the label that the question names, with its value."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.errors import ModelError
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.tesseract import OCRCropper
from cropvlm_core.tesseract.asked import Asked
from cropvlm_core.tesseract.engine import Word
from cropvlm_core.tesseract.layout import PageText
from cropvlm_core.tesseract.matching import find_boxes
from cropvlm_core.zoom import Zoom, ZoomPipeline
from tests.pages import jpeg_lying_down
from tests.printed import SIZE, TABLE, calls, printed, require_tesseract, row, stand_in, where
from tests.programs import require_package

COMPANY = (330, 40, "Harbour Light Supplies")
STREET = (330, 85, "14 Quay Street, Dover 77120")
NUMBER = (330, 210, "HL-20931")
ORDERED = (330, 260, "14/03/2024")
SHIPPED = (330, 310, "21/03/2024")
CONTACT = (620, 260, "Marta Jensen")
LAMPS = (760, 560, "96.00")
ROPE = (480, 610, "25")
TOTAL = (760, 760, "1,284.50")
PHONE = (60, 900, "Call us: 0555 214 8830")
DELIVER = (60, 1050, "Tom Becker")
STREET_TO = (60, 1095, "8 Mill Lane")
TOWN_TO = (60, 1140, "Leeds 41207")

TEXTS = [
    COMPANY,
    STREET,
    (60, 210, "Order number"),
    NUMBER,
    (60, 260, "Order date:"),
    ORDERED,
    (60, 310, "Date of shipment"),
    SHIPPED,
    (620, 210, "Contact person"),
    CONTACT,
    (60, 500, "Article"),
    (480, 500, "Pieces"),
    (760, 500, "Price"),
    (60, 560, "Brass lamp"),
    (480, 560, "12"),
    LAMPS,
    (60, 610, "Mooring rope"),
    ROPE,
    (760, 610, "38.50"),
    (60, 760, "Total amount"),
    TOTAL,
    PHONE,
    (60, 1000, "Deliver to"),
    DELIVER,
    STREET_TO,
    TOWN_TO,
]
PAGE = printed(TEXTS)


@pytest.fixture(scope="module")
def cropper() -> OCRCropper:
    require_tesseract()
    return OCRCropper()


def zoomed(cropper: OCRCropper, question: str, page: Image.Image = PAGE) -> Zoom:
    return ZoomPipeline(cropper).zoom(page, question)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the order number?", NUMBER),
        ("ORDER NO", NUMBER),
        ("Which order number is given on this page?", NUMBER),
        ("What is the ordr nunber?", NUMBER),  # as misread as print can be
        ("When was it ordered? Give the order date.", ORDERED),
        ("What is the shipment date?", SHIPPED),
        ("On which date was the shipment?", SHIPPED),
        ("Who is the contact person?", CONTACT),
        ("What does Contact person say?", CONTACT),
        ("How much does the brass lamp cost?", LAMPS),
        ("What is the price of the Brass lamp?", LAMPS),
        ("How many pieces of mooring rope?", ROPE),
        ("What is the total?", TOTAL),
        ("How much is the total amount of this bill?", TOTAL),
        ("What is the telephone number?", PHONE),
        ("To which address is it delivered?", TOWN_TO),
        ("Who is named under deliver to?", DELIVER),
        ("Which company sent this?", COMPANY),
        ("Read the word beginning with 'Supp'.", (330, 40, "Harbour Light Supplies")),
        ('Find "HL-20931".', NUMBER),
    ],
)
def test_it_finds(cropper: OCRCropper, question: str, answer: tuple[int, int, str]) -> None:
    zoom = zoomed(cropper, question)
    assert zoom.box is not None
    place = where(*answer)
    if "beginning" in question:
        place = Box(place.left + 0.6 * place.width, place.top, place.right, place.bottom)
    assert place.covered_by(zoom.box) >= 0.9
    assert zoom.box.area < 0.16
    assert zoom.crops[0].confidence is not None


def test_the_address_of_a_company_is_the_lines_below_its_name(cropper: OCRCropper) -> None:
    zoom = zoomed(cropper, "What is the address of Harbour Light Supplies?")
    assert zoom.box is not None
    assert where(*STREET).covered_by(zoom.box) >= 0.9


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("What colour is the elephant?", PAGE),
        ("Which word starts with Zq?", PAGE),
        ("?", PAGE),
        ("¿¡…", PAGE),
        ("\U0001f4b8\u200d\ufe0f \u202e", PAGE),
        ("What is the total?", Image.new("RGB", (800, 600), "white")),
        ("Who signed?", Image.new("RGB", (1, 1))),
        ("When?", Image.new("RGB", (1, 3000), "white")),
    ],
)
def test_nothing_sure_enough_is_the_whole_page(
    cropper: OCRCropper, question: str, page: Image.Image
) -> None:
    (proposal,) = cropper.propose_batch([VisualQuestion(page, question)])
    assert proposal.boxes == ()
    assert proposal.reason == "low_confidence"
    assert zoomed(cropper, question, page).reason == "low_confidence"


def test_several_boxes_best_first(cropper: OCRCropper) -> None:
    (proposal,) = cropper.propose_batch([VisualQuestion(PAGE, "Which date is given?")])
    assert len(proposal.boxes) >= 2
    confidences = [value for value in proposal.confidences if value is not None]
    assert len(confidences) == len(proposal.boxes)
    assert confidences == sorted(confidences, reverse=True)
    assert 0.3 <= confidences[-1] <= confidences[0] <= 1
    crops = [
        crop.box
        for crop in ZoomPipeline(cropper, max_crops=2).zoom(PAGE, "Which date is given?").crops
    ]
    assert len(crops) == 2
    for date in (ORDERED, SHIPPED):
        assert max(where(*date).covered_by(crop) for crop in crops) >= 0.9


def test_a_page_that_lies_askew(cropper: OCRCropper) -> None:
    turned = PAGE.rotate(-2, Image.Resampling.BICUBIC, fillcolor="white")
    zoom = zoomed(cropper, "How much is the total amount?", turned)
    assert zoom.box is not None
    at = where(*TOTAL).centre
    middle = Box(at[0] - 0.04, at[1] + 0.003, at[0] + 0.02, at[1] + 0.009)
    assert middle.covered_by(zoom.box) == 1.0
    assert zoom.box.area < 0.2


def test_boxes_are_fractions_of_the_upright_page(cropper: OCRCropper) -> None:
    asked = "What is the order number?"
    zoom = ZoomPipeline(cropper).zoom(jpeg_lying_down(PAGE), asked)
    assert zoom.image.size == SIZE
    assert zoom.box is not None
    assert where(*NUMBER).covered_by(zoom.box) >= 0.9


def test_pages_are_read_small_or_large(cropper: OCRCropper) -> None:
    for size in ((500, 700), (4000, 5600)):
        page = PAGE.resize(size, Image.Resampling.LANCZOS)
        zoom = zoomed(cropper, "What is the order number?", page)
        assert zoom.box is not None
        assert where(*NUMBER).covered_by(zoom.box) >= 0.9


def test_both_engines_give_the_same_boxes() -> None:
    require_tesseract()
    require_package("tesserocr")
    asked = [VisualQuestion(PAGE, text) for text in ("What is the total?", "Order number?")]
    pairs = [OCRCropper(engine=name).propose_batch(asked) for name in ("tesserocr", "program")]
    for one, other in zip(*pairs, strict=True):
        assert one.boxes[0].iou(other.boxes[0]) > 0.9


def test_questions_about_one_page_read_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = f"print({(TABLE + row('Total') + row('9.50', 80))!r}, end='')"
    stand_in(tmp_path / "bin", reading)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    cropper = OCRCropper(engine="program", remembered=1)
    page, other = Image.new("RGB", (200, 100), "white"), Image.new("RGB", (200, 101), "white")
    asked = [VisualQuestion(page, "Total?"), VisualQuestion(page.copy(), "What is the total?")]
    first, second = cropper.propose_batch(asked)
    assert first.boxes == second.boxes
    assert cropper.propose_batch(asked[:1]) == [first]
    assert len(calls(tmp_path / "bin")) == 1
    cropper.propose_batch([VisualQuestion(other, "Total?"), asked[0]])
    assert len(calls(tmp_path / "bin")) <= 3


def test_a_failing_engine_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "sys.exit('out of memory')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    cropper = OCRCropper(engine="program")
    with pytest.raises(ModelError, match="out of memory"):
        zoomed(cropper, "What is the total?")


def test_name_and_version(cropper: OCRCropper) -> None:
    loaded = load_cropper("ocr")
    assert isinstance(loaded, OCRCropper)
    assert loaded.name == "ocr"
    assert loaded.version == cropper.version
    assert "tesseract 5" in loaded.version
    assert loaded.rules == OCRCropper.rules


SIDE = st.integers(0, 3000)
WORDS = st.builds(
    lambda text, left, top, width, height: Word(text, left, top, left + width, top + height),
    st.text(min_size=1, max_size=12) | st.sampled_from(["Total", "Date:", "12.50", "No.", "of"]),
    SIDE,
    SIDE,
    st.integers(1, 500),
    st.integers(1, 90),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(WORDS, max_size=6).map(tuple), max_size=25),
    st.text(max_size=60)
    | st.sampled_from(["What is the total date?", "address of Total", "who?", "No of 12.50"]),
)
def test_any_words_and_any_question_give_boxes_on_the_page(
    lines: list[tuple[Word, ...]], question: str
) -> None:
    page = PageText.of(lines, (4000, 4000))
    found = find_boxes(page, Asked.of(question))
    confidences = [confidence for _, confidence in found]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 <= confidence <= 1 for confidence in confidences)


def test_a_full_page_and_an_endless_question_take_seconds_at_most() -> None:
    lines = [
        tuple(
            Word(f"word{(at * 31 + n) % 977}", 60 * at, 30 * n, 60 * at + 45, 30 * n + 20)
            for at in range(60)
        )
        for n in range(150)
    ]
    start = time.monotonic()
    page = PageText.of(lines, (3600, 4500))
    asked = Asked.of(" ".join(f"word{n}" for n in range(1500))[:10_000])
    find_boxes(page, asked)
    assert time.monotonic() - start < 20
