"""Bulk jobs on a Ray that runs: one for the whole module, as starting it takes long."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.bulk import BulkProgress, BulkReport
from cropvlm_core.bulk import read_rows as plain_rows
from cropvlm_core.bulk import zoom_pages as plain_zoom
from cropvlm_core.errors import WeightsError
from tests.bulk_croppers import TouchyCropper, middle, page, refuses
from tests.cli_calls import run
from tests.object_store import ObjectStore, object_store
from tests.programs import require_package

pa = require_package("pyarrow")
ray: Any = require_package("ray")

import pyarrow.parquet as pq  # noqa: E402

from cropvlm_core.bulk.ray_engine import SCHEMA, read_rows, zoom_dataset, zoom_pages  # noqa: E402
from cropvlm_core.bulk.ray_engine.cluster import cluster  # noqa: E402

WHAT = ["What is the total?"]
ASK = ("--question", *WHAT, "--cropper", "centre", "--engine", "ray")

pytestmark = [
    pytest.mark.slow,
    # Ray's own, as it starts processes and reads with threads
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[Path]:
    """Ray as a job starts it; the folder that it leaves nothing in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr("cropvlm_core.bulk.ray_engine.cluster.OBJECT_STORE", 100 * 2**20)
        before = signal.getsignal(signal.SIGTERM)
        with cluster(2) as ready:
            assert ready.folder is not None
            assert ready.workers == 2
            assert signal.getsignal(signal.SIGTERM) == before  # Ray would take it
            yield ready.folder
        assert not ready.folder.exists()


def zoom(data: Any, out: Any, questions: list[str] = WHAT, **options: Any) -> BulkReport:
    chosen: dict[str, Any] = {"cropper": middle, "workers": 1} | options
    return zoom_pages(data, questions, out=out, **chosen)


def without_seconds(rows: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["key"]: each | {"seconds": None} for each in rows}


def test_both_engines_write_the_same_rows_and_go_on(tmp_path: Path) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out"
    for number in range(12):
        page(pages / f"{number % 3}" / f"{number}.png", number)
    (pages / "letter.png").write_text("Dear reader")
    questions = ["What is the total?", "Who?"]
    told: list[BulkProgress] = []
    report = zoom(pages, out, questions, workers=2, progress=told.append, max_crops=2)
    assert (report.rows, report.ok, report.failed, report.fresh) == (26, 24, 2, 26)
    assert (report.zoomed, report.missing) == (24, 0)
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 26, 26)
    plain_zoom(pages, questions, out=tmp_path / "plain", cropper=middle, workers=2, max_crops=2)
    ours = without_seconds(read_rows(out))
    assert ours == without_seconds(plain_rows(tmp_path / "plain"))
    parts = list((out / "rows").iterdir())
    assert len(parts) == 7  # no worker waits for the other
    assert all(pq.read_schema(part).equals(SCHEMA) for part in parts)
    for each in read_rows(out, pictures=True):
        for crop in each["crops"]:
            assert (tmp_path / "plain" / crop["file"]).read_bytes() == crop["bytes"]

    page(pages / "0" / "0.png", 99)  # a page that was changed is another page
    page(pages / "new.png", 77)
    (pages / "1" / "1.png").touch()  # it is read again, and is what it was
    assert zoom(pages, out, questions, max_crops=2).fresh == 4
    assert without_seconds(read_rows(out)).keys() > ours.keys()


def test_what_harms_a_worker_or_ray_itself_is_quarantined(tmp_path: Path) -> None:
    """The last try of a page that kills whoever runs the worker is never made."""
    for number, colour in enumerate(["white", "red", "navy", "silver", "gray"]):
        page(tmp_path / "pages" / f"{number}.png", colour)
    cropper = functools.partial(TouchyCropper, tmp_path)
    report = zoom(tmp_path / "pages", tmp_path / "out", cropper=cropper, pages_a_file=5)
    assert (report.ok, report.quarantined, report.missing) == (3, 2, 0)
    status = {each["image"]: each for each in read_rows(tmp_path / "out")}
    assert len(status) == 5
    assert status["1.png"]["attempts"] == status["2.png"]["attempts"] == 2
    assert "SIGSEGV" in status["1.png"]["error"]
    assert "one at which 2 machines died" in status["2.png"]["error"]


def test_a_cropper_that_cannot_be_loaded_ends_the_job(tmp_path: Path) -> None:
    page(tmp_path / "pages" / "a.png")
    with pytest.raises(WeightsError, match="expected weights, got none"):
        zoom(tmp_path / "pages", tmp_path / "out", cropper=refuses)
    assert not (tmp_path / "out").exists()


def test_from_a_store_into_a_store(
    tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        file = page(tmp_path / f"{number}.png", number)
        store.put(f"bucket/scans/a b/{number}.png", file.read_bytes())
    store.put("bucket/scans/letter.pdf", b"Dear reader")
    data, out = store.uri("bucket/scans"), store.uri("bucket/out")
    assert run("batch", data, *ASK, "--out", out, "--workers", 1, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["failed"], told["missing"]) == (3, 1, 0)
    assert {each["image"] for each in read_rows(out)} == {
        "a b/0.png",
        "a b/1.png",
        "a b/2.png",
        "letter.pdf",
    }
    assert "bucket/out/settings.json" in store.objects


def test_pages_in_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [page(tmp_path / f"{number}.png", number) for number in range(3)]
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    (tmp_path / "data").mkdir()
    for part in (0, 1):
        table = pa.table({"image": images, "question": ["What?", "Who?", " "], "id": [part] * 3})
        pq.write_table(table, tmp_path / "data" / f"{part}.parquet")
    words = ["batch", tmp_path / "data", "--engine", "ray", "--cropper", "centre"]
    assert run(*words, "--out", tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["ok"], told["failed"], told["missing"]) == (6, 4, 2, 0)
    found = [(row["image"], row["id"], row["question"]) for row in read_rows(tmp_path / "out")]
    assert ("0.png", "1", "What?") in found
    assert run(*words, *ASK[:2], "--out", tmp_path / "other") == 2
    assert "or a column question in Parquet, got both" in capsys.readouterr().err

    torn = (tmp_path / "data" / "0.parquet").read_bytes()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.parquet").write_bytes(torn[:4] + bytes(99) + torn[103:])
    assert run(*words[:1], tmp_path / "torn", *words[2:], "--out", tmp_path / "other") == 1
    assert "cropvlm: error: expected Ray to run the job, got" in capsys.readouterr().err
    assert list(read_rows(tmp_path / "other")) == []

    rows = zoom_dataset(  # the same, as a stage of somebody's own pipeline
        ray.data.read_parquet(str(tmp_path / "data")), cropper="centre", workers=1
    ).materialize()
    assert rows.schema().base_schema.equals(SCHEMA)
    keys = {each["key"] for each in rows.take_all()}
    assert keys & {each["key"] for each in read_rows(tmp_path / "out")}


def test_told_to_stop_on_a_cluster_it_writes_what_is_done(tmp_path: Path) -> None:
    """The same command on the Ray of another process, by RAY_ADDRESS; Ctrl-C, then again."""
    for number in range(40):
        page(tmp_path / "pages" / f"{number}.png", number)
    page(tmp_path / "pages" / "99.png", "lime")
    out = tmp_path / "out"
    words = ["batch", str(tmp_path / "pages"), *ASK, "--out", str(out), "--workers", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", TOUCHY, str(tmp_path), *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        cwd=Path(__file__).parent.parent,
        start_new_session=True,
    ) as job:
        while calls(tmp_path) < 42:  # one to try the cropper out, and the last page hangs
            assert job.poll() is None
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGINT)
        _, told = job.communicate(timeout=60)
    assert job.returncode == 130
    assert f"40 rows are kept in {out}; the same command goes on there" in told
    assert "Traceback" not in told
    assert {row["status"] for row in read_rows(out)} == {"ok"}
    (tmp_path / "pages" / "99.png").unlink()
    cropper = functools.partial(TouchyCropper, tmp_path)
    assert zoom(tmp_path / "pages", out, cropper=cropper).fresh == 0


TOUCHY = """
import functools, sys
from pathlib import Path
from cropvlm_core.bulk import ray_engine
from cropvlm_core.cli import main
from tests.bulk_croppers import TouchyCropper

cropper = functools.partial(TouchyCropper, Path(sys.argv[1]))
whole = ray_engine.zoom_pages
ray_engine.zoom_pages = lambda *a, **told: whole(*a, **told | {"cropper": cropper})
sys.exit(main([*sys.argv[2:], "--pages-a-file", "99"]))
"""


def calls(folder: Path) -> int:
    file = folder / "pids"
    return file.read_bytes().count(b"\n") if file.exists() else 0
