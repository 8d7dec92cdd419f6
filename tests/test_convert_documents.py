"""Public sources of documents, in small folders of their layouts, as question sets."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from cropvlm_core.benchmarks.document_sets import Converter, convert, drawn_number
from cropvlm_core.benchmarks.icdar15 import ICDAR15
from cropvlm_core.benchmarks.icdar15 import WORDINGS as ICDAR_WORDINGS
from cropvlm_core.benchmarks.sroie import SROIE, WORDINGS
from cropvlm_core.benchmarks.vrdu import VRDU_ADS
from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, MissingExtraError
from cropvlm_core.questions import AnsweredQuestion, read_questions
from scripts import convert_documents
from scripts.convert_documents import CONVERTERS
from tests.programs import require_package

Corners = tuple[int, int, int, int]

RECEIPT = [
    "MR. TOY (KUCHAI) SDN BHD",
    "(CO REG :750441-W)",
    "LOT 1851-A & 1851-B, JALAN KPB 6,",
    "KAWASAN PERINDUSTRIAN BALAKONG ,",
    "43300 SERI KEMBANGAN, SELANGOR",
    "DRAIN CLOG FREE 3 X 15.00",
    "45.00",
    "SUB TOTAL 45.00",
    "TOTAL INCL. GST@6%",
    "CARD RM 45.00",
    "145.00 / 45.001 / 1,45.00",
    "12-03-18 14:37 SH02 B011",
    "THANK YOU FOR COMING TO MR TOY (KUCHAI) SDN. BHD.",
]
KEY = {
    "company": "MR. TOY (KUCHAI) SDN BHD",
    "date": "12-03-18",
    "address": "LOT 1851-A & 1851-B, JALAN KPB 6, KAWASAN PERINDUSTRIAN BALAKONG, 43300 SERI "
    "KEMBANGEN, SELANGOR",  # a letter is another than on the receipt
    "total": "RM 45.00",
}


def write_receipt(source: Path, name: str = "000", key: dict[str, str] | None = None) -> None:
    """A drawn receipt with the corners of its lines, as the repository stores it."""
    for folder in ("img", "box", "key"):
        (source / "data" / folder).mkdir(parents=True, exist_ok=True)
    page = Image.new("RGB", (460, 700), "white")
    pen = ImageDraw.Draw(page)
    rows = []

    def line(at: tuple[int, int], text: str) -> None:
        pen.text(at, text, fill="black")
        left, top, right, bottom = (int(side) for side in pen.textbbox(at, text))
        rows.append(f"{left},{top},{right},{top},{right},{bottom},{left},{bottom},{text}")

    for number, text in enumerate(RECEIPT):
        line((20, 20 + 40 * number), text)
    line((330, 20 + 40 * RECEIPT.index("TOTAL INCL. GST@6%")), "RM 45.00")
    page.save(source / "data" / "img" / f"{name}.jpg", quality=95)
    (source / "data" / "box" / f"{name}.csv").write_text("\n".join(rows) + "\n\n")
    (source / "data" / "key" / f"{name}.json").write_text(json.dumps(key or KEY))


def converted(
    converter: Converter, source: Path, out: Path, **options: Any
) -> dict[str, AnsweredQuestion]:
    convert(converter, source, out, **options)
    return {str(asked.id): asked for asked in read_questions(out)}


def darkest(picture: Image.Image) -> int:
    return min(picture.convert("L").tobytes())


def lightest(picture: Image.Image) -> int:
    return max(picture.convert("L").tobytes())


def lines_at(asked: AnsweredQuestion) -> list[tuple[int, int]]:
    """The first and last line of the receipt in each box, and whether its ink is all inside."""
    found = []
    for box in asked.boxes:
        left, top, right, bottom = box.to_pixels((460, 700))
        found.append(((top - 20) // 40, (bottom - 21) // 40))
        assert darkest(asked.open().crop((left, top, right, bottom))) < 100
    return found


def test_sroie(tmp_path: Path) -> None:
    write_receipt(tmp_path / "source")
    done = convert(SROIE, tmp_path / "source", tmp_path / "out")
    assert (done.documents, done.pages, done.questions, done.left_out) == (1, 1, 4, {})
    asked = {question.field: question for question in read_questions(tmp_path / "out")}
    assert list(asked) == ["company", "date", "address", "total"]
    assert {question.doc for question in asked.values()} == {"sroie-000"}
    assert asked["date"].id == "sroie-000-date"
    assert (asked["date"].width, asked["date"].height) == (460, 700)
    for field, question in asked.items():
        assert question.question in WORDINGS[str(field)]
    # the name stands there twice; the address is three lines, read with a wrong letter
    assert lines_at(asked["company"]) == [(0, 0), (12, 12)]
    assert lines_at(asked["address"]) == [(2, 4)]
    assert lines_at(asked["date"]) == [(11, 11)]
    # every 45.00, and the one in the row of the total is the one asked for
    assert lines_at(asked["total"]) == [(6, 6), (7, 7), (9, 9), (8, 8)]
    assert asked["total"].primary == (3,)
    assert asked["total"].answers == ("RM 45.00", "45.00")
    image = asked["date"].image
    assert isinstance(image, Path)
    assert image == tmp_path / "out" / "images" / "sroie-000.jpg"
    picture = tmp_path / "source" / "data" / "img" / "000.jpg"
    assert image.read_bytes() == picture.read_bytes()  # as it came
    row = json.loads((tmp_path / "out" / "questions.jsonl").read_text().splitlines()[1])
    assert row["image"] == "images/sroie-000.jpg"
    left, top, right, bottom = row["boxes"][0]
    assert (left, top) == pytest.approx((20 / 4.6, 462 / 7), abs=0.5)
    assert (right, bottom) == pytest.approx((144 / 4.6, 470 / 7), abs=0.5)


def test_sroie_leaves_out_what_it_does_not_find(tmp_path: Path) -> None:
    key = KEY | {"company": "SOMEBODY ELSE", "date": "", "total": "7.00"}
    write_receipt(tmp_path / "source", key=key)
    write_receipt(tmp_path / "source", "001")
    (tmp_path / "source" / "data" / "img" / "001.jpg").write_bytes(b"\xff\xd8\xff broken")
    write_receipt(tmp_path / "source", "002")
    (tmp_path / "source" / "data" / "key" / "002.json").unlink()
    done = convert(SROIE, tmp_path / "source", tmp_path / "out")
    assert (done.documents, done.pages, done.questions) == (2, 1, 1)
    assert done.left_out == {
        "company not found on the page": 1,
        "no date": 1,
        "total not found on the page": 1,
        "damaged or too large picture": 1,
    }
    assert [question.field for question in read_questions(tmp_path / "out")] == ["address"]


def test_samples_and_wordings_hang_on_the_seed_alone(tmp_path: Path) -> None:
    for number in range(12):
        write_receipt(tmp_path / "source", f"{number:03}")
    first = converted(SROIE, tmp_path / "source", tmp_path / "a", limit=5)
    again = converted(SROIE, tmp_path / "source", tmp_path / "b", limit=5)
    fewer = converted(SROIE, tmp_path / "source", tmp_path / "c", limit=3)
    other = converted(SROIE, tmp_path / "source", tmp_path / "d", limit=5, seed=1)
    everything = converted(SROIE, tmp_path / "source", tmp_path / "e")
    text = (tmp_path / "a" / "questions.jsonl").read_bytes()
    assert text == (tmp_path / "b" / "questions.jsonl").read_bytes()
    assert len(first) == len(again) == len(other) == 20
    assert set(fewer) < set(first) < set(everything)
    assert set(first) != set(other)
    assert {each.question for each in everything.values()} == {
        wording for wordings in WORDINGS.values() for wording in wordings
    }
    for identity, asked in first.items():
        assert everything[identity].question == asked.question
    assert drawn_number(0, "a") == drawn_number(0, "a") != drawn_number(1, "a")


def write_photographs(source: Path) -> None:
    """As the challenge's archives unpack: photographs in one folder, words in another."""
    for folder in ("images", "words"):
        (source / folder).mkdir(parents=True)
    tables = {
        "img_1": [
            "377,117,463,117,465,130,378,130,Genaxis",
            "493,115,519,115,519,131,493,131,[06]",
            "374,155,409,155,409,170,374,170,###",
            "492,151,551,151,551,170,492,170,62-03",
            "100,10,160,20,158,40,98,30,exit",
            "-4,600,60,600,60,640,-4,640,EXIT",
            "700,10,760,10,760,40,700,40,to",
            "700,90,760,90,760,140,700,140,sale, now",
            "800,90,860,90,860,140,800,140,Shop",
        ],
        "img_2": ["10,10,50,10,50,30,10,30,###"],
        "img_3": [],
    }
    for name, rows in tables.items():
        Image.effect_noise((1280, 720), 50).convert("RGB").save(source / "images" / f"{name}.jpg")
        table = source / "words" / f"gt_{name}.txt"
        table.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    (source / "words" / "gt_img_3.txt").unlink()


def test_icdar15(tmp_path: Path) -> None:
    write_photographs(tmp_path / "source")
    done = convert(ICDAR15, tmp_path / "source", tmp_path / "out")
    assert (done.documents, done.pages, done.questions) == (2, 1, 2)
    assert done.left_out == {"no word with a first letter of its own": 1}
    asked = {str(question.id): question for question in read_questions(tmp_path / "out")}
    # "to" is too short, two words begin with S, and "[06]" and "62-03" with no letter
    assert list(asked) == ["icdar15-1-e", "icdar15-1-g"]
    genaxis, exits = asked["icdar15-1-g"], asked["icdar15-1-e"]
    assert genaxis.answers == ("Genaxis",)
    assert genaxis.boxes == (
        Box(*(round(side, 11) for side in (377 / 1280, 117 / 720, 465 / 1280, 130 / 720))),
    )
    assert genaxis.question in {text.format("G") for text in ICDAR_WORDINGS["word_by_initial"]}
    # one word in two places, the second cut at the edge of the photograph
    assert exits.answers == ("EXIT", "exit")
    assert [box.to_pixels((1280, 720)) for box in exits.boxes] == [
        (0, 600, 60, 640),
        (98, 10, 160, 40),
    ]
    assert {question.field for question in asked.values()} == {"word_by_initial"}


CHARTS = {
    "simple/test_human_simple.json": [
        {"imgname": "1.png", "query": "What  does it show?", "label": "7.54"},
        {"imgname": "1.png", "query": "What  does it show?", "label": "7.54"},
        {"imgname": "gone.png", "query": "Where is it?", "label": "nowhere"},
    ],
    "complex/test_augmented_complex.json": [
        {"imgname": "OECD_A,_B_000010.png", "query": "Which two?", "label": "[Chile, Peru]"}
    ],
}


def write_charts(source: Path) -> None:
    """As the repository stores them."""
    for name, rows in CHARTS.items():
        file = source / "dataset" / name
        (file.parent / "png").mkdir(parents=True)
        file.write_text(json.dumps(rows))
        chart = rows[0]["imgname"]
        Image.effect_noise((85, 60), 50).convert("RGB").save(file.parent / "png" / chart)


def test_chartqa(tmp_path: Path) -> None:
    write_charts(tmp_path / "source")
    asked = list(converted(CONVERTERS["chartqa"], tmp_path / "source", tmp_path / "out").values())
    assert [question.field for question in asked] == ["augmented-complex", "human-simple"]
    assert [question.answers for question in asked] == [("[Chile, Peru]",), ("7.54",)]
    assert [question.boxes for question in asked] == [(), ()]
    assert asked[0].doc == "chartqa-OECD_A,_B_000010"
    assert str(asked[0].id).startswith("chartqa-OECD_A,_B_000010-")
    assert asked[0].open().size == (85, 60)
    assert asked[1].question == "What does it show?"  # once, though the file has it twice


AMOUNT: Corners = (300, 600, 400, 620)
AGENCY: Corners = (50, 100, 250, 130)


def write_forms(source: Path, *, packed: bool = True) -> None:
    """A PDF of two pages with black bars where people marked something, and the annotations."""
    main = source / "ad-buy-form" / "main"
    (main / "pdfs").mkdir(parents=True)
    size = (612, 792)
    sheets = [Image.new("RGB", size, "white") for _ in range(2)]
    for sheet, sides in zip(sheets, (AGENCY, AMOUNT), strict=True):
        ImageDraw.Draw(sheet).rectangle(sides, fill="black")
    name = "00a83bbc-0101-f092.pdf"
    sheets[0].save(
        main / "pdfs" / name, save_all=True, append_images=sheets[1:], resolution=72, quality=95
    )

    def place(page: int, sides: Corners) -> list[float]:
        left, top, right, bottom = sides
        return [page, left / size[0], top / size[1], right / size[0], bottom / size[1]]

    row = {
        "filename": name,
        "file_path": f"./pdfs/{name}",
        "ocr": {"text": "", "pages": []},
        "annotations": [
            ["gross_amount", [["$5,625.00\n", place(1, AMOUNT), [[10, 19]]]]],
            ["agency", [["Smith \nMedia", place(0, AGENCY), [[0, 5]]]]],
            ["product", [["again", [0, 0.5, 0.5, 0.5, 0.5], []]]],
            ["advertiser", [["", place(0, AGENCY), []]]],
            [["channel", "sub_amount"], [[["WABC", place(0, AGENCY), []]]]],
            ["something_new", [["x", place(0, AGENCY), []]]],
            [
                "flight_from",
                [
                    ["02/19/20", place(1, AGENCY), []],
                    ["Feb 19", place(0, AMOUNT), []],
                    ["02/19/2020", place(0, AGENCY), []],
                ],
            ],
        ],
    }
    other = row | {"filename": "ffff.pdf"}
    text = "".join(json.dumps(each) + "\n" for each in (row, other))
    if packed:
        (main / "dataset.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (main / "dataset.jsonl").write_text(text)


@pytest.mark.parametrize("packed", [True, False])
def test_vrdu_ads(tmp_path: Path, packed: bool) -> None:
    require_package("pypdfium2")
    write_forms(tmp_path / "source", packed=packed)
    done = convert(VRDU_ADS, tmp_path / "source", tmp_path / "out")
    assert (done.documents, done.pages, done.questions) == (1, 2, 3)
    assert done.left_out == {"product without a box": 1}
    asked = {str(question.field): question for question in read_questions(tmp_path / "out")}
    assert asked["gross_amount"].id == "ads-00a83bbc-2-gross_amount"
    assert asked["gross_amount"].answers == ("$5,625.00", "5,625.00")
    assert asked["agency"].answers == ("Smith Media",)
    # on the first page where it was marked, at both of its places there
    assert asked["flight_from"].doc == asked["agency"].doc == "ads-00a83bbc-1"
    assert asked["flight_from"].answers == ("Feb 19", "02/19/2020")
    assert len(asked["flight_from"].boxes) == 2
    for field in ("agency", "gross_amount"):
        question = asked[field]
        page = question.open()
        assert page.size == (1700, 2200) == (question.width, question.height)  # 200 dpi
        left, top, right, bottom = question.boxes[0].to_pixels(page.size)
        assert lightest(page.crop((left + 4, top + 4, right - 4, bottom - 4))) < 60
        assert page.getpixel((left - 8, top - 8)) == (255, 255, 255)


def test_pdf_files_need_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_forms(tmp_path / "source")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingExtraError, match=r"cropvlm\[pdf\]"):
        convert(VRDU_ADS, tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out" / "questions.jsonl").exists()  # the next try may write it


def test_a_broken_pdf_is_named(tmp_path: Path) -> None:
    require_package("pypdfium2")
    write_forms(tmp_path / "source")
    pdf = next((tmp_path / "source").rglob("*.pdf"))
    pdf.write_bytes(b"%PDF-1.7 and no more")
    with pytest.raises(DataError, match=r"expected page 1 of 00a83bbc-0101-f092\.pdf, got none"):
        convert(VRDU_ADS, tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("name", list(CONVERTERS))
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"expected .* in '.*', got no document of it"):
        convert(CONVERTERS[name], tmp_path, tmp_path / "out")


def test_broken_tables_are_named(tmp_path: Path) -> None:
    write_receipt(tmp_path / "a")
    (tmp_path / "a" / "data" / "box" / "000.csv").write_text("1,2,3,4,5,6,seven,8,TOTAL\n")
    with pytest.raises(DataError, match="expected eight numbers and a text, got '1,2,3"):
        convert(SROIE, tmp_path / "a", tmp_path / "out")
    write_receipt(tmp_path / "b")
    (tmp_path / "b" / "data" / "key" / "000.json").write_text("company: A")
    with pytest.raises(DataError, match=r"expected a JSON object in 000\.json"):
        convert(SROIE, tmp_path / "b", tmp_path / "out")
    write_charts(tmp_path / "c")
    (tmp_path / "c" / "dataset" / "simple" / "test_human_simple.json").write_text('[{"q": 1}]')
    with pytest.raises(DataError, match=r"label in test_human_simple\.json"):
        convert(CONVERTERS["chartqa"], tmp_path / "c", tmp_path / "out")
    write_photographs(tmp_path / "d")
    (tmp_path / "d" / "words" / "gt_img_1.txt").write_text("1,2,3,4,5,6,7,x,word\n")
    with pytest.raises(DataError, match="expected eight numbers and a word"):
        convert(ICDAR15, tmp_path / "d", tmp_path / "out")


def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_receipt(tmp_path / "source")
    words = ["sroie", str(tmp_path / "source"), "--out", str(tmp_path / "sets" / "sroie")]
    assert convert_documents.main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("licence: MIT")
    assert told.endswith(
        f"{tmp_path / 'sets' / 'sroie'}: 4 questions on 1 pages of 1 documents, left out: none\n"
    )
    assert {asked.set_name for asked in read_questions(tmp_path / "sets")} == {"sroie"}
    assert convert_documents.main(words) == 2
    assert "got one with questions.jsonl" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        convert_documents.main(["coco", "x", "--out", "y"])
