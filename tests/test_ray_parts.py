"""The parts of the Ray engine, each without Ray running: batches, rows, stores, shared keys."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.bulk import read_rows as plain_rows
from cropvlm_core.bulk import zoom_pages as plain_zoom
from cropvlm_core.bulk.storage import bare, file_system, join, local_path, read_source
from cropvlm_core.errors import (
    DataError,
    ModelError,
    QuestionError,
    SourceError,
    WeightsError,
)
from cropvlm_core.images import open_image, to_data_uri
from tests.bulk_croppers import TouchyCropper, middle, page, refuses
from tests.object_store import ObjectStore, object_store
from tests.programs import require_package

pa = require_package("pyarrow")
require_package("ray")

from cropvlm_core.bulk.ray_engine import ZoomPages, read_rows  # noqa: E402
from cropvlm_core.bulk.ray_engine.inputs import Inputs, identity  # noqa: E402
from cropvlm_core.bulk.ray_engine.rows import SCHEMA, to_row, to_table  # noqa: E402
from cropvlm_core.bulk.ray_engine.shared import SharedKeys  # noqa: E402
from cropvlm_core.bulk.ray_engine.store import RowStore  # noqa: E402

WHAT = ["What is the total?"]
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with object_store() as running:
        yield running


def row(key: str, **changed: Any) -> dict[str, Any]:
    """A row as the plain engine writes it."""
    crop = {
        "box": {"left": 0.1, "top": 0.2, "right": 0.3, "bottom": 0.4},
        "pixels": [1, 2, 3, 4],
        "confidence": None,
        "size": [2, 2],
        "file": f"crops/{key}.png",
        "bytes": b"picture",
    }
    told = {"key": key, "status": "ok", "attempts": 1, "image": "a.png", "question": "What?"}
    told |= {"zoomed": True, "reason": None, "crops": [crop], "box": crop["box"], "seconds": 0.5}
    return told | {"pixels": [1, 2, 3, 4], "confidence": None, "cropper": "centre"} | changed


def picture(colour: str | int, folder: Path, **options: Any) -> bytes:
    return page(folder / "page.png", colour, **options).read_bytes()


# ---- the class for map_batches


def test_a_batch_comes_out_as_the_plain_engine_writes_it(tmp_path: Path) -> None:
    for number in range(3):
        page(tmp_path / "pages" / f"{number}.png", number)
    sheets = [Image.new("RGB", (40, 50 + number), "white") for number in range(2)]
    sheets[0].save(tmp_path / "pages" / "scan.tiff", save_all=True, append_images=sheets[1:])
    (tmp_path / "pages" / "letter.png").write_text("Dear reader")
    questions = ["What is the total?", "Où ?"]
    plain_zoom(tmp_path / "pages", questions, out=tmp_path / "out", cropper=middle, workers=1)
    files = sorted((tmp_path / "pages").iterdir())
    batch = {
        "bytes": [file.read_bytes() for file in files],
        "path": [file.name for file in files],
    }
    zoom = ZoomPages(questions, cropper=middle)
    table = zoom(batch)
    zoom.bench.close()
    assert table.schema == SCHEMA
    ours = {each["key"]: each for each in map(to_row, table.to_pylist())}
    theirs = {each["key"]: each for each in plain_rows(tmp_path / "out")}
    assert len(ours) == 12
    assert ours.keys() == theirs.keys()
    for key, each in theirs.items():
        crops = [crop.pop("bytes") for crop in ours[key]["crops"]]
        assert crops == [(tmp_path / "out" / crop["file"]).read_bytes() for crop in each["crops"]]
        assert ours[key] | {"seconds": 0} == each | {"seconds": 0}


def test_every_way_to_hold_a_page(tmp_path: Path) -> None:
    data, other = picture("white", tmp_path), picture(7, tmp_path)
    page(tmp_path / "b.png", "gray")
    zoom = ZoomPages(cropper=TouchyCropper, crops=False)
    table = zoom(
        pa.table(
            {
                "image": [
                    {"bytes": data, "path": "x/1.png"},
                    {"bytes": data, "path": "x/1.png"},
                    {"bytes": other, "path": None},
                    {"bytes": None, "path": str(tmp_path / "b.png")},
                    {"bytes": None, "path": to_data_uri(Image.new("RGB", (30, 30)))},
                    None,
                ],
                "question": ["What?", "Who?", "What?", "What?", None, "What?"],
                "id": [1, 2, 3, 4, 5, 6],
            }
        )
    )
    zoom.bench.close()
    rows = [to_row(each) for each in table.to_pylist()]
    told = [(each["id"], each["image"][:12], each["status"], each["reason"]) for each in rows]
    assert told == [
        ("1", "x/1.png", "ok", None),
        ("2", "x/1.png", "ok", None),
        ("3", "3", "ok", None),
        ("4", str(tmp_path)[:12], "ok", None),
        ("5", "data:image/p", "failed", "question"),
        ("6", "6", "failed", "source"),
    ]
    # the first two were put in one call
    assert [each["confidence"] for each in rows[:4]] == [0.5, 0.5, 1, 1]
    assert rows[0]["crops"][0]["file"] is None


def test_what_harms_a_worker_is_quarantined_and_ray_never_sees_it(tmp_path: Path) -> None:
    colours = ["white", "red", "lime", "gray"]
    batch = {"image": [picture(colour, tmp_path) for colour in colours], "id": colours}
    zoom = ZoomPages(WHAT, cropper=TouchyCropper, timeout=1.5, overlays=True)
    rows = {each["id"]: each for each in zoom(batch).to_pylist()}
    again = zoom({"image": [picture("white", tmp_path)]}).to_pylist()  # it is as good as before
    assert list(zoom.bench.folder.rglob("*.[pj]*")) == []  # pictures went into the rows
    other = ZoomPages(WHAT, cropper="centre", folder=str(zoom.bench.folder.parent))
    assert zoom.bench.folder.exists()  # somebody is at work there
    zoom.bench.close()
    other = ZoomPages(WHAT, cropper="centre", folder=str(zoom.bench.folder.parent))
    assert not zoom.bench.folder.exists()
    other.bench.close()
    status = {name: (each["status"], each["attempts"]) for name, each in rows.items()}
    assert status == {
        "white": ("ok", 1),
        "red": ("quarantined", 2),
        "lime": ("quarantined", 2),
        "gray": ("ok", 1),
    }
    assert rows["lime"]["reason"] == "timed_out"
    assert [each["status"] for each in again] == ["ok"]
    assert open_image(again[0]["overlay"]).size == (40, 60)


def test_a_model_that_is_down_is_an_error(tmp_path: Path) -> None:
    pages = [picture("cyan", tmp_path, size=(40, 60 + number)) for number in range(3)]
    zoom = ZoomPages(WHAT, cropper=TouchyCropper)
    assert [each["reason"] for each in zoom({"image": pages}).to_pylist()] == ["model"] * 3
    with pytest.raises(ModelError, match="got HTTP 500"):  # the fifth in a row, over two batches
        zoom({"image": pages})
    zoom.bench.close()
    with pytest.raises(WeightsError, match="expected weights, got none"):
        ZoomPages(WHAT, cropper=refuses)


@pytest.mark.parametrize(
    ("batch", "questions", "words"),
    [
        ({"text": ["a"]}, WHAT, "expected a column image, bytes or path, got"),
        ({"image": [b""]}, [], "or a column question, got neither"),
        ({"image": [b""], "question": ["What?"]}, WHAT, "or a column question, got both"),
        ({"image": [7]}, WHAT, r"as the bytes of a file \(ray.data.read_binary_files\), got int"),
        ({"image": [[[1, 2]], [[3]]]}, WHAT, "as the bytes of a file .*, got list"),
    ],
)
def test_what_is_no_batch_of_pages(
    batch: dict[str, Any], questions: list[str], words: str, zooms: dict[bool, ZoomPages]
) -> None:
    with pytest.raises(DataError, match=words):
        zooms[bool(questions)](batch)


@pytest.fixture(scope="module")
def zooms() -> Iterator[dict[bool, ZoomPages]]:
    made = {True: ZoomPages(WHAT, cropper="centre"), False: ZoomPages(cropper="centre")}
    yield made
    for each in made.values():
        each.bench.close()


# ---- rows in a folder or a store


def test_rows_come_back_as_they_went(tmp_path: Path, store: ObjectStore) -> None:
    rows = [row("aa"), row("bb", status="failed", zoomed=False, crops=[], box=None, error="no")]
    for out in (str(tmp_path / "out"), store.uri("bucket/out")):
        rowed = RowStore(out)
        rowed.begin({"cropper": "1"})
        rowed.write(rows, 5.0)
        rowed.write(rows, 6.0)  # a batch that came again
        assert [each | {"seconds": 0.5} for each in read_rows(out, pictures=True)] == rows
        assert "bytes" not in next(read_rows(out))["crops"][0]
        (part,) = rowed.scan(lambda each: each["status"] == "failed")
        assert (part.began, part.unwanted) == (6, ["bb"])
        assert [each["key"] for each in part.rows] == ["aa"]
        rowed.take_out(part.name, part.unwanted)
        rowed.take_out(part.name, part.unwanted)
        assert [each["key"] for each in read_rows(out)] == ["aa"]
        rowed.begin({"cropper": "1"})
        with pytest.raises(DataError, match=r"out' was begun with .*name another folder") as raised:
            rowed.begin({"cropper": "2"})
        assert "endpoint" not in str(raised.value)
        rowed.take_out(part.name, ["aa"])
        assert list(read_rows(out)) == []


def test_other_peoples_folders_are_refused(tmp_path: Path) -> None:
    rowed = RowStore(str(tmp_path))
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(DataError, match="which holds rows without settings"):
        rowed.begin({})
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(DataError, match=r"expected settings.json of a bulk job"):
        rowed.begin({})
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"rows of a bulk job in Parquet, got rows/torn.parquet"):
        rowed.scan(lambda _: False)
    pa.parquet.write_table(to_table([row("aa")]), tmp_path / "rows" / "torn.parquet")
    with pytest.raises(DataError, match="no rows of a bulk job"):
        rowed.scan(lambda _: False)


def test_one_job_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    with RowStore(str(tmp_path / "out")).locked():
        with pytest.raises(DataError, match="which another bulk job is writing to"):
            with RowStore(str(tmp_path / "out")).locked():
                pass
    assert not (tmp_path / "out").exists()  # nothing was written


# ---- keys that workers share


class Shared(SharedKeys):
    """Asked directly, about pages of one question."""

    def take(self, worker: str, name: str, digest: str = "00", batch: bytes = b"1") -> Any:
        return self.claim(worker, batch, name, None, digest, [("What?", None)])


def test_a_key_is_given_once_and_again_to_who_takes_a_batch_over(tmp_path: Path) -> None:
    shared = Shared(RowStore(str(tmp_path)), {}, {}, {})
    ((key,), deaths, stop) = shared.take("w1", "a.png")
    assert (deaths, stop) == (0, False)
    assert shared.take("w2", "a.png", batch=b"2").keys == [None]
    (other,) = shared.take("w2", "b.png", batch=b"2").keys  # the same bytes under another name
    assert other is not None
    assert other.startswith(f"{key}-")
    assert shared.take("w3", "a.png") == ([key], 1, False)  # w1 was at it
    assert shared.take("w4", "a.png") == ([key], 2, False)
    shared.take("w4", "c.png", "01")
    assert shared.take("w5", "a.png") == ([key], 2, False)  # w4 had got further
    shared.settle("w5")
    assert shared.take("w6", "a.png") == ([key], 2, False)  # w5 died as it wrote
    shared.release([key])
    assert shared.take("w7", "a.png", batch=b"2").keys == [key]


def test_counts_of_a_batch_that_comes_again_count_once(tmp_path: Path) -> None:
    shared = Shared(RowStore(str(tmp_path)), {}, {b"\x00" * 16: 7}, {})
    shared.leave("w1", b"1", {"ok": 3, "done": 4})
    shared.leave("w2", b"2", {"ok": 1, "done": 1})
    shared.leave("w3", b"1", {"ok": 2, "failed": 1, "done": 4})
    assert shared.state()["counts"] == {"ok": 3, "failed": 1, "done": 5}
    assert shared.begin("v1")
    assert not shared.begin("v2")  # workers with other weights than the first
    assert "name another folder" in shared.state()["failure"]["error"]
    assert shared.stopping()


# ---- what there is to do


def test_pages_are_left_out_that_have_rows_since_they_changed(tmp_path: Path) -> None:
    files = [page(tmp_path / "pages" / f"{number}.png", number) for number in range(3)]
    inputs = Inputs(f"file://{tmp_path}/pages", [*WHAT, "Who?"], out=str(tmp_path / "out"))
    assert inputs.total == 6
    tables = list(inputs.tables({}, 2))
    assert [table["name"].to_pylist() for table in tables] == [["0.png", "1.png"], ["2.png"]]
    assert tables[1]["path"].to_pylist() == [str(files[2])]
    later = files[2].stat().st_ctime + 10
    began = {
        identity(f"{n}.png", None, question, None): later for n in range(3) for question in WHAT
    }
    assert sum(table.num_rows for table in inputs.tables(began, 9)) == 3  # nobody asked who
    began |= {identity("1.png", None, "Who?", None): later}
    assert [t["name"].to_pylist() for t in inputs.tables(began, 9)] == [["0.png", "2.png"]]
    began |= {identity("1.png", None, "Who?", None): later - 9}  # clocks differ
    assert sum(table.num_rows for table in inputs.tables(began, 9)) == 3


def test_a_question_set_is_taken_row_by_row(tmp_path: Path) -> None:
    page(tmp_path / "a.png")
    uri = to_data_uri(Image.new("RGB", (30, 30), "gray"))
    lines = [
        {"image": "a.png", "question": "What?", "id": "1"},
        {"image": uri, "question": "What?"},
        {"image": "a.png", "question": "What?", "id": "1"},  # said before
        {"image": "a.png", "question": "What?", "page": 2},
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inputs = Inputs(str(tmp_path), [], out=str(tmp_path / "out"))
    (table,) = inputs.tables({}, 9)
    told = [(each["name"][:10], each["id"], each["page"]) for each in table.to_pylist()]
    assert told == [("a.png", "1", 1), ("data:image", None, 1), ("a.png", None, 2)]
    assert table["path"].to_pylist()[:2] == [str(tmp_path / "a.png"), uri]
    began = {identity(each["name"], None, "What?", each["id"]): 1e10 for each in table.to_pylist()}
    assert [each["page"].to_pylist() for each in inputs.tables(began, 9)] == [[2]]


def test_pages_of_a_store(tmp_path: Path, store: ObjectStore) -> None:
    data = picture("white", tmp_path)
    for name in ("b c/1#?.png", "a.JPG", ".hidden/2.png", "notes.txt", "out/x.png"):
        store.put(f"bucket/scans/{name}", data)
    root = store.uri("bucket/scans")
    inputs = Inputs(root, WHAT, out=join(root, "out"))
    (table,) = inputs.tables({}, 9)
    assert table["name"].to_pylist() == ["a.JPG", "b c/1#?.png"]
    assert [read_source(place) for place in table["path"].to_pylist()] == [data, data]
    with pytest.raises(SourceError, match=r"got 's3://bucket/scans/no.png"):
        read_source(join(root, "no.png"))
    with pytest.raises(DataError, match="expected a store that can be listed"):
        Inputs(store.uri("bucket/nothing"), WHAT, out="out")
    with pytest.raises(DataError, match="question set is a local file"):
        Inputs(root, [], out="out")
    store.put("bucket/big.png", bytes(20 * 2**20 + 1))
    with pytest.raises(SourceError, match="expected at most 20971520 bytes"):
        read_source(store.uri("bucket/big.png"))


def test_places(tmp_path: Path) -> None:
    assert local_path(f"file://{tmp_path}/a%20b") == f"{tmp_path}/a b"
    assert bare("s3://key:secret@bucket/a?region=x") == "s3://bucket/a"
    (tmp_path / "a b").write_bytes(b"x")
    assert read_source(f"local://{tmp_path}/a%20b") == b"x"  # one of fsspec's
    for place, words in [
        ("http://127.0.0.1/a.png", "expected a path or the URI of an object store, got a http"),
        ("nowhere://a/b.png", "that pyarrow or fsspec reads, got one of 'nowhere'"),
    ]:
        with pytest.raises(SourceError, match=words):
            read_source(place)
        with pytest.raises(DataError, match=words):
            file_system(place)


@pytest.mark.parametrize(
    ("data", "questions", "kind"),
    [
        ("nowhere", WHAT, DataError),
        ("pages", [], DataError),
        ("pages", [" "], QuestionError),
        ("empty", WHAT, DataError),
        ("both", WHAT, DataError),
    ],
)
def test_bad_calls(data: str, questions: list[str], kind: type[Exception], tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    (tmp_path / "empty").mkdir()
    page(tmp_path / "both" / "a.png")
    (tmp_path / "both" / "b.parquet").touch()
    with pytest.raises(kind):
        Inputs(str(tmp_path / data), questions, out=str(tmp_path / "out"))


# ---- without the extra


def test_the_plain_engine_imports_no_ray_and_says_what_is_missing(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    code = (
        "import sys\n"
        "sys.modules |= {'ray': None, 'pyarrow': None}\n"  # to import them is an error
        "from cropvlm_core.bulk import zoom_pages, ray_engine\n"
        "from cropvlm_core.cli import main\n"
        "if __name__ == '__main__':\n"
        "    done = zoom_pages('pages', ['What?'], out='out', cropper='centre', workers=1)\n"
        "    assert done.ok == 1\n"
        "    try:\n"
        "        ray_engine.zoom_pages\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
        "    words = ['--question', 'What?', '--out', 'o', '--engine', 'ray']\n"
        "    print(main(['batch', 'pages', *words]))\n"
    )
    (tmp_path / "main.py").write_text(code)
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cropvlm_core.bulk.ray_engine.zoom_pages needs an extra package: "
        "pip install 'cropvlm[ray]'",
        "2",
    ]
    assert "--engine ray needs an extra package: pip install 'cropvlm[ray]'" in done.stderr
