"""Make a trained file the weights in the wheel, and fill in its figures.

    python scripts/release_weights.py runs/embedded --version 2026.11.3 --note "Reads tables."
    cropvlm evaluate DATA/sroie --cropper embedded,ocr --out runs/sroie        # and other sets
    python scripts/release_weights.py --figures runs/sroie/results.json runs/vrdu/results.json

The first copies RUN/policy.onnx, or the file named, into cropvlm_core/embedded/, stamps name,
version and licence into it, writes its SHA-256 beside it, and adds an entry to WEIGHTS.md. A
version is the year, the month, and a number that counts on within the month. The last command fills
the newest entry's table with what was measured with this very file.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.embedded.settings import FORMAT
from cropvlm_core.embedded.weights import DIGEST, MAX_SHIPPED, WEIGHTS
from cropvlm_core.errors import CropVLMError, WeightsError, shorten
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "cropvlm_core" / "embedded"
CHANGELOG = "WEIGHTS.md"
NAME = "cropvlm-embedded"
LICENCE = "Apache-2.0"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
UNMEASURED = "Not measured yet."
_HEAD = (
    "| question set | questions | hits | area | shuffled: hits | milliseconds, p95 | "
    "`ocr`: hits at area |"
)
_VERSION = re.compile(r"(20[0-9]{2})\.(1[0-2]|[1-9])\.([1-9][0-9]*)")
_HEADING = re.compile(r"^## (\S+) ", re.MULTILINE)


def main(argv: Sequence[str] | None = None, *, folder: Path = FOLDER) -> int:
    """Release a file, or fill in figures; 0, or 2 with a line on stderr where that is refused."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", metavar="RUN|FILE", nargs="?", type=Path, help="a run's folder, or an ONNX file"
    )
    parser.add_argument("--version", help="such as 2026.11.3")
    parser.add_argument("--note", help="what changed, in a sentence or two")
    parser.add_argument(
        "--figures", metavar="RESULTS", nargs="+", type=Path, default=[],
        help="results.json of evaluations with this file",
    )  # fmt: skip
    given = parser.parse_args(argv)
    try:
        if given.source is not None:
            if not given.version or not given.note:
                raise WeightsError("expected --version and --note, got none")
            release(given.source, given.version, given.note, folder)
        elif not given.figures:
            raise WeightsError("expected a run, a file, or --figures, got nothing")
        if given.figures:
            fill_in([json.loads(file.read_text("utf-8")) for file in given.figures], folder)
    except (CropVLMError, OSError) as error:
        print(f"release_weights: {error}", file=sys.stderr)
        return 2
    return 0


def release(source: Path, version: str, note: str, folder: Path) -> None:
    """Check a file, stamp it, and put it, its SHA-256 and an entry into ``folder``.

    Raises:
        WeightsError: it is too large, of an old format, without calibration or provenance, finds
            nothing on the example, or its version is no new one.
    """
    log = folder / CHANGELOG
    written = log.read_text("utf-8")
    check_version(version, _HEADING.findall(written))
    file = source / WEIGHTS if source.is_dir() else source
    with tempfile.TemporaryDirectory() as scratch:
        stamped = Path(scratch) / WEIGHTS
        stamp(file, stamped, {"name": NAME, "version": version, "licence": LICENCE})
        size = stamped.stat().st_size
        if size > MAX_SHIPPED:
            raise WeightsError(f"expected a file of at most {MAX_SHIPPED} bytes, got {size}")
        cropper = EmbeddedCropper(stamped)
        check(cropper)
        entry = to_entry(cropper, note, size)
        aside = folder / f"{WEIGHTS}.part"
        aside.write_bytes(stamped.read_bytes())
        aside.replace(folder / WEIGHTS)
    (folder / DIGEST).write_text(f"{cropper.digest}  {WEIGHTS}\n", encoding="ascii")
    place = first.start() if (first := _HEADING.search(written)) else len(written)
    log.write_text(f"{written[:place]}{entry}\n{written[place:]}", encoding="utf-8")
    print(f"released {version}, {size} bytes, SHA-256 {cropper.digest}")


def check_version(version: str, earlier: Sequence[str]) -> None:
    """Refuse what is no version, or not above all earlier ones."""
    if not _VERSION.fullmatch(version):
        raise WeightsError(f"expected a version such as 2026.11.3, got {shorten(version)}")
    numbers = [tuple(map(int, one.split("."))) for one in (*earlier, version)]
    if max(numbers[:-1], default=()) >= numbers[-1]:
        raise WeightsError(f"expected a version above {max(earlier)}, got {version}")


def stamp(file: Path, stamped: Path, told: Mapping[str, str]) -> None:
    """Copy a weight file with more metadata."""
    import onnx

    EmbeddedCropper(file)  # refuses what is none
    model = onnx.load(str(file))
    about = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, about | dict(told))
    stamped.write_bytes(model.SerializeToString())


def check(cropper: EmbeddedCropper) -> None:
    """Refuse a file that is not whole, or finds nothing on the example."""
    if cropper.about["format"] != FORMAT:
        raise WeightsError(f"expected format {FORMAT}, got {cropper.about['format']}")
    if cropper.settings.calibration is None:
        raise WeightsError("expected a file with a fitted confidence, got one without calibration")
    trained = json.loads(cropper.about.get("trained", "{}"))
    if not {"step", "pages", "kinds", "plan"} <= trained.keys():
        raise WeightsError("expected to read how the file was trained, got nothing")
    example = VisualQuestion(ROOT / "examples" / "receipt.png", "What is the total?")
    zoom = ZoomPipeline(cropper, min_confidence=0).zoom_batch([example])[0]
    if zoom.box is None or zoom.box.area > 0.5:
        raise WeightsError(f"expected a crop of the example, got {zoom.reason or zoom.box}")


def to_entry(cropper: EmbeddedCropper, note: str, size: int) -> str:
    """An entry of the changelog, its figures still missing."""
    trained = json.loads(cropper.about["trained"])
    kinds = len(trained["kinds"])
    today = datetime.now(UTC).date().isoformat()
    return f"""## {cropper.about["version"]} ({today})

{note.strip()}

| | |
|---|---|
| SHA-256 | `{cropper.digest}` |
| size | {size:,} bytes |
| format | {cropper.about["format"]} |
| trained | {trained["step"]:,} steps on {trained["pages"]:,} rendered pages of {kinds} kinds |
| settings | `{cropper.about["settings"]}` |

{BEGIN}
{UNMEASURED}
{END}
"""


def fill_in(results: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Replace the figures of the newest entry.

    Raises:
        WeightsError: an evaluation was of another file.
    """
    digest = (folder / DIGEST).read_text("ascii").split()[0]
    rows = [row for one in results for row in figure_rows(one, digest)]
    table = "\n".join([_HEAD, "|---|---|---|---|---|---|---|", *rows])
    log = folder / CHANGELOG
    written = log.read_text("utf-8")
    begin, end = written.index(BEGIN) + len(BEGIN), written.index(END)
    log.write_text(f"{written[:begin]}\n{table}\n{written[end:]}", encoding="utf-8")
    print(table)


def figure_rows(results: Mapping[str, Any], digest: str) -> list[str]:
    """A line of the table for each question set of an evaluation."""
    versions: Mapping[str, str] = results["croppers"]
    ours = [name for name, version in versions.items() if digest[:16] in version]
    if not ours:
        told = shorten(list(versions.values()))
        raise WeightsError(f"expected an evaluation of weights {digest[:16]}, got {told}")
    views = {(view["kind"], view["cropper"]): view["sets"] for view in results["views"]}
    own = views["cropper", ours[0]]
    shuffled, ocr = views.get(("shuffled", ours[0]), {}), views.get(("cropper", "ocr"), {})
    rows = []
    for name, held in own.items():
        figures, times = held["figures"], held["figures"]["crop_ms"]
        other = ocr[name]["figures"] if name in ocr else None
        rows.append(
            f"| {name} | {figures['questions']} | {hits(figures)} | {percent(figures['area'])} | "
            f"{hits(shuffled[name]['figures']) if name in shuffled else '-'} | "
            f"{times['median']:.0f}, {times['p95']:.0f} | "
            f"{'-' if other is None else hits(other) + ' at ' + percent(other['area'])} |"
        )
    return rows


def hits(figures: Mapping[str, Any]) -> str:
    """Hit rate with its interval."""
    rate = figures["hit_rate"]
    if rate is None:
        return "-"
    if rate["low"] is None:
        return percent(rate["mean"])
    return f"{percent(rate['mean'])} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def percent(share: float) -> str:
    """0..1 in per cent."""
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
