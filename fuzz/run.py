"""Fuzz what reads hostile input, with atheris (libFuzzer), for some seconds in all.

    python fuzz/run.py [--seconds 60] [--target NAME] [--found FOLDER]

Shares the seconds between the targets of ``fuzz/targets.py``, each in a process of its own with a
limit on memory, 10 seconds for one input, and 20,000 bytes of it. What a target begins with is in
``fuzz/corpus``. An input that gets something out which no target expects is kept in FOLDER, its
traceback is shown, and the exit code is 1; ``python fuzz/run.py --replay FILE --target NAME`` shows
it again.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MEMORY = 2048  # MB of one target
PATIENCE = 10  # seconds of one input
LENGTH = 20_000
STARTING = 900  # seconds that a process may need beside fuzzing, on a busy machine


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--replay", type=Path, help="call the target with this file, and end")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.inside:
        _fuzz(given.target, given.seconds, given.inside, given.found)
    from fuzz.targets import TARGETS

    if given.replay:
        TARGETS[given.target](given.replay.read_bytes())
        return 0
    names = [given.target] if given.target else list(TARGETS)
    print("| target | inputs | inputs a second | escapes |\n|---|---|---|---|", flush=True)
    escaped = [name for name in names if _run(name, given.seconds / len(names), given.found)]
    with contextlib.suppress(OSError):
        given.found.rmdir()  # where nothing was found
    return 1 if escaped else 0


def _run(name: str, seconds: float, found: Path) -> bool:
    """Fuzz one target in a process of its own; return whether something escaped."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--inside", folder, "--target", name]
        command += ["--seconds", f"{seconds:g}", "--found", str(found)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + STARTING,
            check=False,
        )
    units = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    count = int(units[1]) if units else 0
    bad = done.returncode != 0
    print(f"| {name} | {count} | {count / seconds:.0f} | {'see below' if bad else 0} |", flush=True)
    if bad:
        print(done.stderr[-6000:], file=sys.stderr)
    return bad


def _fuzz(name: str, seconds: float, corpus: Path, found: Path) -> None:
    """Fuzz here; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["cropvlm_core", "fuzz"]):
        from fuzz.targets import TARGETS, seeds
    for number, data in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(data)
    found.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": max(1, round(seconds)),
        "rss_limit_mb": MEMORY,
        "timeout": PATIENCE,
        "max_len": LENGTH,
        "print_final_stats": 1,
        "artifact_prefix": f"{found}/{name}-",
    }
    told = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *told, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
