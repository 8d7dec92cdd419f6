"""Send hundreds of corrupt, odd and hostile files through a bulk job, and compare the verdicts.

    python -m scripts.hostile_bulk [--engine ray] [--seed 0]

The files of scripts/hostile_images.py are the pages of a question set, which `cropvlm batch` zooms
into with the cropper `centre`. Each file must have one row: one that must open a row that is ok,
one that must be refused a row that failed, or is quarantined where its decoder died or took too
long twice. Printed is what came of them; the exit code is 1 where something is not as it should be.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cropvlm_core.bulk import read_rows, zoom_pages
from tests.hostile.corpus import corpus

QUESTION = "What is the total?"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("processes", "ray"), default="processes")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = write_set(folder / "set", given.seed)
        begun = time.monotonic()
        rows = bulk(given.engine, folder / "set", folder / "out")
        seconds = time.monotonic() - begun
    return tell(expected, rows, seconds)


def write_set(folder: Path, seed: int) -> dict[str, str]:
    """Write the files and their question set; return each file's verdict."""
    folder.mkdir()
    expected: dict[str, str] = {}
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as lines:
        for file in corpus(seed):
            (folder / file.name).write_bytes(file.data)
            row = {"image": file.name, "question": QUESTION, "answers": ["x"], "id": file.name}
            lines.write(json.dumps(row) + "\n")
            expected[file.name] = file.verdict
    return expected


def bulk(engine: str, data: Path, out: Path) -> list[dict[str, Any]]:
    """The rows of a job."""
    if engine == "processes":
        zoom_pages(data, out=out, cropper="centre")
        return list(read_rows(out))
    from cropvlm_core.bulk import ray_engine

    ray_engine.zoom_pages(data, out=out, cropper="centre")
    return list(ray_engine.read_rows(out))


def tell(expected: dict[str, str], rows: list[dict[str, Any]], seconds: float) -> int:
    """Print what came of the files; 0 where all is as it should be."""
    verdicts = {"ok": "opens", "failed": "refused", "quarantined": "refused"}
    found = {row["id"]: row for row in rows}
    wrong = []
    for name, row in found.items():
        if expected[name] not in ("either", verdicts[row["status"]]):
            wrong.append(f"{name}: {row['status']}, {expected[name]} expected: {row.get('error')}")
    statuses = dict(Counter(row["status"] for row in rows))
    longest = max(len(row.get("error") or "") for row in rows)
    print(
        f"{len(expected)} files, {len(rows)} rows in {seconds:.0f} s: {statuses}; longest message "
        f"{longest}; lost {len(expected.keys() - found.keys())}, doubled "
        f"{len(rows) - len(found)}, other than expected {len(wrong)}"
    )
    for line in wrong:
        print(f"    {line}")
    return int(bool(wrong) or len(rows) != len(expected) or len(found) != len(expected))


if __name__ == "__main__":
    sys.exit(main())
