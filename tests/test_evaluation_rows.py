"""The rows of an evaluation on disk: whole or absent, once each."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.rows import RowStore, read_rows, read_settings, rescore

SETTINGS = {"target": "constant:1", "metric": "anls"}


def row(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "answers": ["12"], "views": {}, **more}


def keys(folder: Path) -> list[str]:
    return [each["key"] for each in read_rows(folder)]


def test_rows_are_there_at_once_and_after_reopening(tmp_path: Path) -> None:
    with RowStore(tmp_path / "run", SETTINGS) as store:
        store.add(row("a", question="Où ?\n\u2028"))
        assert keys(tmp_path / "run") == ["a"]
        store.add(row("b"))
    with RowStore(tmp_path / "run", SETTINGS) as store:
        assert store.done == {"a", "b"}
        store.add(row("c"))
    assert keys(tmp_path / "run") == ["a", "b", "c"]
    assert next(read_rows(tmp_path / "run"))["question"] == "Où ?\n\u2028"
    assert read_settings(tmp_path / "run") == SETTINGS


@pytest.mark.parametrize("torn", range(1, 12))
def test_what_a_kill_tore_is_cut_off(torn: int, tmp_path: Path) -> None:
    with RowStore(tmp_path, SETTINGS) as store:
        store.add(row("a"))
        store.add(row("b"))
    file = tmp_path / "rows.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-torn])
    assert keys(tmp_path) == ["a"]
    with RowStore(tmp_path, SETTINGS) as store:
        assert store.done == {"a"}
        store.add(row("b"))
    assert file.read_bytes() == whole


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RowStore(tmp_path, SETTINGS) as store:
        store.add(row("a"))
        size = (tmp_path / "rows.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                store.add(row("b", question="x" * 1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert store.done == {"a"}
        store.add(row("b"))
    assert keys(tmp_path) == ["a", "b"]


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    with RowStore(tmp_path, SETTINGS):
        pass
    with pytest.raises(DataError, match=r"constant:1.*constant:2.*another folder"):
        RowStore(tmp_path, SETTINGS | {"target": "constant:2"})


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with RowStore(tmp_path, SETTINGS), pytest.raises(DataError, match="nobody writes to"):
        RowStore(tmp_path, SETTINGS)
    with RowStore(tmp_path, SETTINGS):
        pass


def test_rows_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(DataError, match="without settings"):
        RowStore(tmp_path, SETTINGS)
    assert (tmp_path / "rows.jsonl").read_text() == '{"key": "a"}\n'


@pytest.mark.parametrize("line", ["[]", '{"key": 3}', "nonsense", ""])
def test_a_line_that_is_no_row_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: expected a row"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("read", [lambda folder: list(read_rows(folder)), read_settings])
def test_a_folder_without_an_evaluation(read: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of an evaluation"):
        read(tmp_path)


def test_another_metric_scores_the_old_answers(tmp_path: Path) -> None:
    views = {"no crop": {"answer": "13", "score": 0.5}, "boxes": {"answer": None, "score": None}}
    with RowStore(tmp_path, SETTINGS) as store:
        store.add(row("a", views=views))
    rescore(tmp_path, "exact_match")
    [found] = read_rows(tmp_path)
    assert found["views"]["no crop"] == {"answer": "13", "score": 0.0}
    assert found["views"]["boxes"] == {"answer": None, "score": None}
    assert read_settings(tmp_path) == SETTINGS | {"metric": "exact_match"}
    with RowStore(tmp_path, SETTINGS | {"metric": "exact_match"}) as store:
        assert store.done == {"a"}


def test_a_rescoring_that_was_killed_is_done_anew(tmp_path: Path) -> None:
    views = {"no crop": {"answer": "13", "score": 0.5}}
    with RowStore(tmp_path, SETTINGS) as store:
        store.add(row("a", views=views))
    # As a kill between the two renames leaves it: the rows say one metric, nothing says which.
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS | {"metric": None}))
    rescore(tmp_path, "exact_match")
    assert next(read_rows(tmp_path))["views"]["no crop"]["score"] == 0.0


def test_rescoring_nothing(tmp_path: Path) -> None:
    rescore(tmp_path / "nowhere", "anls")
    assert not (tmp_path / "nowhere").exists()
