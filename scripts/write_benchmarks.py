"""Measure croppers on question sets and write the tables into BENCHMARKS.md.

    python scripts/write_benchmarks.py DATA --out runs/benchmarks

DATA is a folder of question sets. Each set is evaluated by ``cropvlm evaluate`` with all controls;
its folder under ``--out`` keeps rows and report.html, and a run that was broken off goes on. The
text between the two marks in BENCHMARKS.md is replaced, and nothing else.
"""

import argparse
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cropvlm_core.evaluation import report
from cropvlm_core.evaluation.evaluate import evaluate
from cropvlm_core.questions import QUESTIONS_FILE

BEGIN = "<!-- written by scripts/write_benchmarks.py -->"
END = "<!-- end -->"
FILE = Path(__file__).parents[1] / "BENCHMARKS.md"
PACKAGES = ("pillow", "numpy", "onnxruntime", "tesserocr")


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate every set and replace the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cropper", default="embedded,ocr")
    parser.add_argument("--target", default="tesseract@512")
    given = parser.parse_args(argv)
    parts = [machine(given.target)]
    for file in sorted(given.data.glob(f"*/{QUESTIONS_FILE}")):
        name = file.parent.name
        results = evaluate(
            file.parent, given.cropper.split(","), given.target, out=given.out / name
        )
        command = f"cropvlm evaluate DATA/{name} --target {given.target} --cropper {given.cropper}"
        text = report.to_text(results, notes=False)
        parts.append(f"### {name}\n\n```bash\n{command} --out runs/{name}\n```\n\n```\n{text}\n```")
        print(f"{text}\n", flush=True)
    written = FILE.read_text(encoding="utf-8")
    before, rest = written.split(BEGIN)
    after = rest.split(END)[1]
    parts.append(f"```\n{report.NOTES}\n```")
    inside = "\n\n".join(parts)
    FILE.write_text(f"{before}{BEGIN}\n\n{inside}\n\n{END}{after}", encoding="utf-8")


def machine(target: str) -> str:
    """A sentence about where and when."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    today = datetime.now(UTC).date().isoformat()
    system = f"{os.cpu_count()} cores ({processor()}), {platform.system()}"
    return f"Target {target}; {today}; {system}; {', '.join(found)}."


def processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
