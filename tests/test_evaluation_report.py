"""The tables that `cropvlm evaluate` prints."""

from pathlib import Path

from cropvlm_core.cropper import FixedCropper
from cropvlm_core.evaluation.evaluate import evaluate
from cropvlm_core.evaluation.report import NOTES, READER_NOTE, to_text
from cropvlm_core.evaluation.statistics import Interval
from cropvlm_core.evaluation.text_table import aligned, chance, difference, name, share_between
from tests.test_evaluate import TOP, ColourReader, CornerCropper, corner_set, write_set


def cells(text: str, start: str) -> list[list[str]]:
    """The cells of every line that begins with ``start``."""
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_several_sets_have_a_table_each_and_fields_a_line(tmp_path: Path) -> None:
    corner_set(tmp_path / "data" / "one")
    corner_set(tmp_path / "data" / "two", pages=4)
    croppers = {"mine": CornerCropper()}
    results = evaluate(tmp_path / "data", croppers, ColourReader(), metric="exact_match")
    text = to_text(results)
    assert text.startswith("20 questions (20 with boxes) about 10 images\ntarget ColourReader, ")
    assert "Set one:\n" in text
    assert "Set two:\n" in text
    over_all, boxes, one, *_ = cells(text, "mine  ")
    assert over_all[:2] == ["mine", "100.0%"]
    assert over_all[2].startswith("+100.0")
    assert over_all[-4:] == ["20", "0", "0", "0"]
    assert boxes[1:4] == ["100.0%", "100.0%", "4.0%"]
    assert one[-4:] == ["12", "0", "0", "0"]
    assert "Scores, by field:" in text
    assert "two  gold" in text
    assert "Each cropper against everything else" in text
    assert text.endswith(NOTES)
    assert READER_NOTE not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_without_a_target_there_are_only_boxes(tmp_path: Path) -> None:
    data = write_set(tmp_path / "s", [{"image": "a.png"}, {"image": "b.png"}])
    text = to_text(evaluate(data, {"mine": FixedCropper(TOP)}), notes=False)
    assert "target" not in text
    assert "score" not in text
    [row] = cells(text, "mine  ")
    assert row[:6] == ["mine", "-", "-", "25.0%", "0.0%", "0.0%"]


def test_names_out_of_the_data_cannot_disturb_a_terminal(tmp_path: Path) -> None:
    data = write_set(
        tmp_path / "s",
        [{"image": "a.png", "field": "\x1b[2J", "boxes": [[0, 0, 9, 9]]}, {"image": "b.png"}],
    )
    text = to_text(evaluate(data, {"mine": FixedCropper(TOP)}))
    assert "\x1b" not in text
    assert r"\x1b[2J" in text


def test_how_figures_are_written() -> None:
    assert share_between(Interval(0.5, 0.4, 0.625)) == "50.0% [40.0, 62.5]"
    assert share_between(Interval(1.0, 1.0, 1.0)) == "100.0%"
    assert share_between(Interval(0.5, None, None)) == "50.0%"
    assert share_between(None) == "-"
    assert difference(Interval(-0.05, -0.1, 0.0)) == "-5.0 [-10.0, +0.0]"
    assert difference(Interval(0.05, None, None)) == "+5.0"
    assert (chance(0.0004), chance(0.05)) == ("<0.001", "0.050")
    assert name("") == "-"
    assert len(name("x" * 100)) <= 40
    assert aligned([["a", "1"], ["bcd", "10"]]) == "a     1\nbcd  10"
