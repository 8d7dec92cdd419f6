"""The notebook: what is committed is whole and small, and a fresh kernel bears its claims out."""

import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import decoded
from tests.programs import absent, require_fonts, require_package

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"

CLAIMS = """
import json
print(json.dumps({
    "area": zoom.box.area,
    "crop": list(zoom.crop.image.size),
    "page": list(page.size),
    "places": [pipeline.zoom(page, asked).box.top for asked in ("What is the total?", question)],
    "target": target is not None,
    "read": target and ZoomPipeline(FixedCropper(None)).ask(zoom.crop.image, question, target).text,
    "scores": target and {view.view: view.figures.score.mean for view in results.views},
    "rescued": target and len(rescued),
    "report": target and (out / "report" / "report.html").stat().st_size,
}))
"""


def cells(notebook: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def pictures(notebook: dict[str, Any]) -> list[str]:
    return [
        data
        for cell in cells(notebook, "code")
        for output in cell["outputs"]
        for kind, data in output.get("data", {}).items()
        if kind.startswith("image/")
    ]


def printed(notebook: dict[str, Any]) -> str:
    return "".join(
        "".join(output.get("text", ()))
        for cell in cells(notebook, "code")
        for output in cell["outputs"]
    )


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def executed(notebook: dict[str, Any], folder: Path, **options: Any) -> dict[str, Any]:
    """The notebook as a fresh kernel leaves it."""
    require_package("nbclient")
    require_package("ipykernel")
    (folder / "in.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    words = [str(folder / "in.ipynb"), "--out", str(folder / "out.ipynb")]
    command = [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.ipynb").read_text())  # type: ignore[no-any-return]


def test_what_is_committed_was_run_to_its_end(committed: dict[str, Any]) -> None:
    code = cells(committed, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["metadata"] == {} for cell in committed["cells"])
    assert committed["metadata"]["language_info"] == {"name": "python"}
    text = printed(committed)
    assert "Skipped" not in text
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert not re.search(r"(?:/tmp|/home|/root|/work|/Users)/", json.dumps(outputs))


def test_its_pictures_are_whole_and_small(committed: dict[str, Any]) -> None:
    found = pictures(committed)
    assert len(found) >= 7
    assert sum(map(len, found)) < 300_000
    assert all(min(decoded(data).size) > 20 for data in found)


def test_its_links_lead_somewhere(committed: dict[str, Any]) -> None:
    text = "".join("".join(cell["source"]) for cell in cells(committed, "markdown"))
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) >= 4
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_a_fresh_kernel_bears_it_out(committed: dict[str, Any], tmp_path: Path) -> None:
    from cropvlm_core.errors import CropVLMError
    from cropvlm_core.loading import load_target

    require_fonts()
    try:
        load_target("tesseract@512")
    except CropVLMError as missing:
        absent(str(missing))
    asked = json.loads(json.dumps(committed))
    asked["cells"].append(
        {
            "cell_type": "code",
            "id": "claims",
            "metadata": {},
            "source": CLAIMS,
            "outputs": [],
            "execution_count": None,
        }
    )
    started = time.monotonic()
    run = executed(asked, tmp_path)
    assert time.monotonic() - started < 60
    (told,) = cells(run, "code")[-1]["outputs"]
    claims = json.loads("".join(told["text"]))
    assert claims["target"]
    # 1: a small part, cut out pixel for pixel, that depends on the question
    assert claims["area"] < 0.3
    assert claims["crop"][0] * claims["crop"][1] == pytest.approx(
        claims["area"] * claims["page"][0] * claims["page"][1], rel=1e-6
    )
    total, phone = claims["places"]
    assert phone + 0.2 < total
    # 2: the reader makes the number out on the crop
    assert "04-8802 8244" in claims["read"]
    assert re.search(r"^page and crop +reads it right: True", printed(run), re.MULTILINE)
    # 3: crops help, and neither their number nor their size is why
    scores = claims["scores"]
    for control in ("no crop", "centre", "random", "embedded, shuffled"):
        assert scores["embedded"] > scores[control] + 0.1, control
    assert scores["true box"] > scores["no crop"] + 0.3
    assert claims["rescued"] >= 5
    assert claims["report"] > 50_000
    # and what is committed is what it gives
    assert len(pictures(run)) == len(pictures(committed))
    assert [cell["source"] for cell in run["cells"]][:-1] == [
        cell["source"] for cell in committed["cells"]
    ]
    assert sum(map(len, pictures(run))) < 300_000


def test_without_tesseract_it_says_what_it_leaves_out(
    committed: dict[str, Any], tmp_path: Path
) -> None:
    hide = "import sys\nsys.modules['tesserocr'] = None\nimport os\nos.environ['PATH'] = ''\n"
    without = json.loads(json.dumps(committed))
    first = cells(without, "code")[0]
    first["source"] = hide + "".join(first["source"])
    run = executed(without, tmp_path)
    text = printed(run)
    assert text.count("Skipped, with the cells below:") == 1
    assert "pip install" in text
    assert "of the page, confidence" in text
    assert len(pictures(run)) == 5
    assert base64.b64decode(pictures(run)[0])


def test_a_cell_that_fails_ends_it_and_nothing_is_written(
    committed: dict[str, Any], tmp_path: Path
) -> None:
    broken = json.loads(json.dumps(committed))
    broken["cells"] = broken["cells"][:2]
    cells(broken, "code")[0]["source"] = "1 / 0"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        executed(broken, tmp_path)
    assert not (tmp_path / "out.ipynb").exists()
