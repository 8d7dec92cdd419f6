"""Rows of public data sets as their cards on the Hub list the columns, and files that hold them."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests.programs import require_package

Rows = list[dict[str, Any]]


def picture(shade: int, file_format: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    """An encoded page of one shade with its number on it."""
    page = Image.new("RGB", size, (shade, shade, shade))
    ImageDraw.Draw(page).text((4, 4), str(shade), fill="white")
    stream = io.BytesIO()
    page.save(stream, file_format)
    return stream.getvalue()


def textvqa_rows() -> Rows:
    """As the cards of lmms-lab/textvqa and facebook/textvqa list them; two share an image."""
    shown = [picture(10), picture(10), picture(20)]
    return [
        {
            "image_id": f"{number // 2:016x}",
            "question_id": 34602 + number,
            "question": f"what is written on sign {number}?",
            "question_tokens": ["what"],
            "image": {"bytes": data, "path": f"{number}.jpg"},
            "image_width": 40,
            "image_height": 30,
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "answers": ["stop", "stop", "Stop", "stop sign", *["stop"] * 6],
            "image_classes": ["Sign"],
            "set_name": "train",
            "ocr_tokens": ["STOP"],
        }
        for number, data in enumerate(shown)
    ]


def docvqa_rows() -> Rows:
    """As the cards of HuggingFaceM4/DocumentVQA and lmms-lab/DocVQA list the columns."""
    return [
        {
            "questionId": 337 + number,
            "question": f"what is the date {number}?",
            "question_types": kinds,
            "image": {"bytes": picture(30, "PNG"), "path": None},
            "docId": 279,
            "ucsf_document_id": "xnbl0037",
            "ucsf_document_page_no": "1",
            "answers": ["1/8/93", "1/8/1993"],
        }
        for number, kinds in enumerate((["handwritten", "form"], [], ["form"]))
    ]


def infographicvqa_rows() -> Rows:
    """As the card of lmms-lab/DocVQA lists the columns of its configuration InfographicVQA."""
    return [
        {
            "questionId": "65718",
            "question": "Which platform has a heavy female audience?",
            "answers": ["pinterest"],
            "answer_type": ["single span"],
            "image": {"bytes": picture(40, "PNG", (30, 90)), "path": "20471.png"},
            "image_url": "https://example.com/a.png",
            "operation/reasoning": [],
            "ocr": "{}",
            "data_split": "train",
        }
    ]


def stvqa_rows() -> Rows:
    """As the card of danjacobellis/stvqa_task1 lists the columns."""
    return [
        {
            "path": "coco-text/COCO_train2014_000000209618.jpg",
            "question": f"Where is the train going {number}?",
            "dictionary": ["new", "york"],
            "answer": ["New York", "york"],
            "image": {"bytes": picture(50), "path": None},
        }
        for number in range(2)
    ]


def stvqa_image_rows() -> Rows:
    """As public code reads vikhyatk/st-vqa: a row an image, its questions in a list."""
    return [
        {
            "image": {"bytes": picture(60 + row), "path": None},
            "qas": [{"question": f"{row}.{n}?", "answers": ["a"]} for n in range(2)],
        }
        for row in range(2)
    ]


def chartqa_rows() -> Rows:
    """As the card of lmms-lab/ChartQA lists the columns."""
    return [
        {
            "type": kind,
            "question": f"How many bars are there {number}?",
            "answer": "14",
            "image": {"bytes": picture(70, "PNG"), "path": None},
        }
        for number, kind in enumerate(("human_test", "augmented_test"))
    ]


def chartqa_query_rows() -> Rows:
    """As the card of HuggingFaceM4/ChartQA lists the columns."""
    return [
        {
            "image": {"bytes": picture(71, "PNG"), "path": None},
            "query": "What is the sum?",
            "label": ["1.5"],
            "human_or_machine": kind,
        }
        for kind in (0, 1)
    ]


def hrbench_rows() -> Rows:
    """As lmms-eval and VLMEvalKit read DreamMr/HR-Bench: every question with its options turned."""
    image = base64.b64encode(picture(80, size=(400, 300))).decode("ascii")
    options = ["12", "None", "1.50", "B"]
    return [
        {
            "index": cycle,
            "question": "What is the number on the door?",
            "answer": "ABCD"[(1 - cycle) % 4],
            **{letter: options[(at + cycle) % 4] for at, letter in enumerate("ABCD")},
            "category": "single",
            "cycle_category": str(cycle),
            "image": image,
        }
        for cycle in range(4)
    ]


GLOVE = (
    "What is the material of the glove?\n(A) rubber\n(B) cotton\n(C) kevlar\n(D) leather\n"
    "Answer with the option's letter from the given choices directly."
)


def write_vstar(folder: Path) -> Path:
    """A folder as craigwu/vstar_bench is one: questions, pictures, and a JSON file beside each."""
    facts = [
        ("direct_attributes", "sa_4690", GLOVE, "A", ["glove"], [[564, 142, 155, 157]]),
        (
            "relative_position",
            "sa_7",
            "Is the dog left of the car?\n(A) yes\n(B) no\nAnswer with the option's letter.",
            "B",
            ["dog", "car"],
            [[100, 300, 200, 100], [900, 500, 101, 300]],  # ends a pixel beyond the picture
        ),
    ]
    rows = []
    for number, (kind, name, text, label, objects, boxes) in enumerate(facts):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{name}.jpg").write_bytes(picture(90 + number, size=(1000, 800)))
        beside = {"target_object": objects, "bbox": boxes, "question": "", "options": []}
        (folder / kind / f"{name}.json").write_text(json.dumps(beside))
        rows.append(
            {
                "question_id": number,
                "image": f"{kind}/{name}.jpg",
                "text": text,
                "category": kind,
                "label": label,
            }
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "test_questions.jsonl").write_text(lines)
    return folder


def write_parquet(file: Path, rows: Rows) -> None:
    """A Parquet file with images as the Hub stores them."""
    datasets = require_package("datasets")
    file.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(rows)
    if isinstance(rows[0]["image"], dict):
        table = table.cast_column("image", datasets.Image())
    table.to_parquet(file)


def parquet(folder: Path, rows: Rows, split: str = "train") -> Path:
    """A folder with the rows in two Parquet files, named as the Hub names them."""
    parts = min(2, len(rows))
    for part in range(parts):
        count = -(-len(rows) // parts)
        write_parquet(
            folder / f"{split}-{part:05}-of-{parts:05}.parquet",
            rows[part * count : (part + 1) * count],
        )
    return folder


def write_tsv(file: Path, rows: Rows) -> Path:
    """A table of tabs, as VLMEvalKit's sets are stored."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        table.writeheader()
        table.writerows(rows)
    return file


CARD = """---
configs:
- config_name: DocVQA
  data_files:
  - {split: validation, path: DocVQA/validation-*}
  - {split: test, path: DocVQA/test-*}
- config_name: InfographicVQA
  data_files:
  - {split: validation, path: InfographicVQA/validation-*}
---
Two sets in one repository.
"""


def write_docvqa_repository(folder: Path) -> Path:
    """A repository as lmms-lab/DocVQA is one: two configurations, and a test split of questions."""
    kept_back = [row | {"answers": None} for row in docvqa_rows()]
    parquet(folder / "DocVQA", docvqa_rows(), "validation")
    parquet(folder / "DocVQA", kept_back, "test")
    parquet(folder / "InfographicVQA", infographicvqa_rows(), "validation")
    (folder / "README.md").write_text(CARD)
    return folder
