"""The journal beneath evaluations and bulk jobs; its rows are tested in test_evaluation_rows.py."""

import contextlib
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropvlm_core.errors import DataError
from cropvlm_core.journal import Journal, to_line

SETTINGS = {"cropper": "centre"}


def journal(folder: Path) -> Journal:
    return Journal(folder, SETTINGS, what="bulk job")


def keys(folder: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (folder / "rows.jsonl").read_text().splitlines()]


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_rows_are_forced_to_the_disk_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    now = [100.0]
    monkeypatch.setattr(os, "fsync", forced.append)
    monkeypatch.setattr("cropvlm_core.journal.time.monotonic", lambda: now[0])
    with journal(tmp_path) as store:
        forced.clear()  # that of the settings
        for number in range(1000):
            store.add({"key": str(number)})
        assert forced == []
        now[0] += 1.5
        store.sync()
        store.sync()
        assert len(forced) == 1
        now[0] += 1.5
        store.sync()  # nothing new
        assert len(forced) == 1
        store.add({"key": "x"})
        assert len(forced) == 2
    assert len(forced) == 3


def test_half_a_surrogate_pair_comes_back_as_it_was(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with journal(tmp_path) as store:
        store.add({"key": "a", "image": name})
        assert [row["image"] for row in store.rows()] == [name]
    assert to_line({"key": "é"}) == '{"key":"é"}\n'.encode()


def test_rows_can_be_taken_out(tmp_path: Path) -> None:
    with journal(tmp_path) as store:
        for key in "abcd":
            store.add({"key": key})
        assert store.drop(lambda row: row["key"] in "bd") == 2
        assert keys(tmp_path) == ["a", "c"]
        store.add({"key": "e"})
        assert keys(tmp_path) == ["a", "c", "e"]
        before = (tmp_path / "rows.jsonl").stat().st_ino
        assert store.drop(lambda _: False) == 0
        assert (tmp_path / "rows.jsonl").stat().st_ino == before
        with pytest.raises(DataError, match="another bulk job is writing to"):
            journal(tmp_path)  # the file is another one now, and taken all the same
        assert files(tmp_path) == ["rows.jsonl", "settings.json"]
    with journal(tmp_path) as store:
        store.add({"key": "f"})
    assert keys(tmp_path) == ["a", "c", "e", "f"]


def test_an_error_while_rows_are_taken_out_leaves_them_all(tmp_path: Path) -> None:
    def unwanted(row: Any) -> bool:
        if row["key"] == "b":
            raise ZeroDivisionError
        return True

    with journal(tmp_path) as store:
        for key in "abc":
            store.add({"key": key})
        with pytest.raises(ZeroDivisionError):
            store.drop(unwanted)
        store.add({"key": "d"})
    assert keys(tmp_path) == ["a", "b", "c", "d"]
    assert files(tmp_path) == ["rows.jsonl", "settings.json"]


def _write(folder: Path, name: str) -> None:
    number = 0
    while number < 30:
        with contextlib.suppress(DataError), journal(folder) as store:
            store.drop(lambda row: row["key"].startswith(name))
            store.add({"key": f"{name}{number}"})
            number += 1


def test_two_processes_never_write_to_the_same_file(tmp_path: Path) -> None:
    with journal(tmp_path):
        pass
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_write, args=(tmp_path, name)) for name in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    # Each drops its own row before it adds another: the last of each is left.
    assert sorted(keys(tmp_path)) == ["a29", "b29"]


_LINES = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([b'{"key":"a"}', b'{"key":"b"}', b"\n"]))
)


@given(_LINES)
def test_any_file_of_rows_is_read_or_refused(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with journal(folder):
            pass
        text = b"\n".join(lines)
        (folder / "rows.jsonl").write_bytes(text)
        with journal(folder) as store:
            whole = text[: text.rfind(b"\n") + 1]
            assert (folder / "rows.jsonl").read_bytes() == whole
            try:
                found = [row["key"] for row in store.rows()]
            except DataError:
                return
            store.add({"key": "last"})
        assert keys(folder) == [*found, "last"]


def test_a_row_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    with journal(tmp_path) as store:
        with (tmp_path / "rows.jsonl").open("a") as stream:
            stream.write("[" * 200_000 + "\n")
        with pytest.raises(DataError, match=r"rows\.jsonl:1: expected a row"):
            list(store.rows())
