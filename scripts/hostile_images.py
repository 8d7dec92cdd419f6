"""Send hundreds of corrupt, odd and hostile files through every entry point, and measure.

    python -m scripts.hostile_images
    python -m scripts.hostile_images --seed 7 --entry "Python, bytes" --entry "command line"

Each entry point runs in a process of its own, watched from outside: a file that crashes it or
keeps it for 20 seconds is counted, and a new process goes on behind it. Printed is the table of
RELIABILITY.md. Memory (Linux) is what the process took at the peak beyond what it held before the
file, by the kernel's own count; or, where that is more, together with what its decoding workers
hold beyond an idle one, looked at every 3 ms. The same seed makes the same files.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tests.entry_points import ENTRIES, outcome
from tests.hostile.corpus import corpus

_PATIENCE = 20.0  # seconds until a file is given up, far beyond what is asked for
_HANG = 5.0
_CLOCKS = ("seconds", "cpu")  # on the wall, and of this process alone: a busy machine tells less
_COLUMNS = (
    "entry point",
    "files",
    "opened",
    "refused",
    "crashed",
    "over 5 s (of which CPU)",
    "untyped",
    "other than expected",
    "longest message",
    "slowest, s (CPU s)",
    "most memory, MB",
    "bombs: slowest, ms (CPU ms)",
    "bombs: most memory, MB",
)


@dataclass
class Tally:
    """What an entry point made of the corpus."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)

    def table_row(self, name: str) -> list[str]:
        """The figures, as the table shows them."""
        opened = [row for row in self.rows if row["verdict"] == "opens"]
        refused = [row for row in self.rows if row["verdict"] == "refused"]
        bombs = [row for row in self.rows if row["bomb"]]
        other = [row for row in self.rows if row["expected"] not in ("either", row["verdict"])]
        return [
            name,
            str(len(self.rows) + len(self.crashed)),
            str(len(opened)),
            str(len(refused)),
            str(len(self.crashed)),
            "{} ({})".format(*(sum(row[clock] > _HANG for row in self.rows) for clock in _CLOCKS)),
            str(len(self.rows) - len(opened) - len(refused)),
            str(len(other)),
            str(max((len(row["message"]) for row in refused), default=0)),
            "{} ({})".format(*(_most(self.rows, clock, 1, 2) for clock in _CLOCKS)),
            _most(self.rows, "memory", 1e-6, 0),
            "{} ({})".format(*(_most(bombs, clock, 1000, 0) for clock in _CLOCKS)),
            _most(bombs, "memory", 1e-6, 0),
        ]

    def notable(self) -> Iterator[str]:
        """Files that did not go as promised."""
        yield from (f"crashed or hung: {name}" for name in self.crashed)
        for row in self.rows:
            slow = row["seconds"] > _HANG or (row["bomb"] and row["cpu"] > 0.1)
            heavy = row["memory"] > 400e6 or (row["bomb"] and row["memory"] > 30e6)
            odd = row["expected"] not in ("either", row["verdict"])
            odd = odd or row["verdict"] == "untyped"
            if slow or heavy or odd or len(row["message"]) > 120:
                yield (
                    f"{row['name']}: {row['verdict']}, {row['seconds']:.2f} s "
                    f"({row['cpu']:.2f} CPU s), "
                    f"{row['memory'] / 1e6:.0f} MB: {row['message'][:200]}"
                )


def _most(rows: Sequence[dict[str, Any]], key: str, unit: float, digits: int) -> str:
    return f"{max((row[key] for row in rows), default=0) * unit:.{digits}f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run every entry point over the corpus; return 0 where all went as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--entry", action="append", choices=ENTRIES, help="only this one")
    parser.add_argument("--only", default="", help="only files whose name has this pattern")
    parser.add_argument("--child", choices=ENTRIES, help=argparse.SUPPRESS)
    parser.add_argument("--skip", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.child:
        _child(given)
        return 0
    print("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|")
    bad = 0
    for name in given.entry or ENTRIES:
        tally = _measured(name, given)
        print("| " + " | ".join(tally.table_row(name)) + " |", flush=True)
        for line in tally.notable():
            bad += 1
            print(f"    {line}", file=sys.stderr, flush=True)
    return min(bad, 1)


def _measured(name: str, given: argparse.Namespace) -> Tally:
    """All files through one entry point, over as many processes as it takes."""
    tally = Tally()
    begun = 0
    while True:
        command = [sys.executable, "-m", "scripts.hostile_images", "--child", name]
        command += ["--seed", str(given.seed), "--only", given.only, "--skip", str(begun)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            current = ""
            for line in _lines(child):
                told = json.loads(line)
                if "verdict" in told:
                    tally.rows.append(told)
                    current = ""
                elif "name" in told:
                    begun, current = told["number"], told["name"]
                else:
                    return tally
            child.kill()
        if not current:  # it died before, between or behind the files
            tally.crashed.append("the process itself")
            return tally
        tally.crashed.append(current)


def _lines(child: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """Lines of a process, until it ends or says nothing for too long."""
    assert child.stdout is not None
    pending = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], _PATIENCE)
        more = os.read(child.stdout.fileno(), 2**16) if ready else b""
        if not more:
            return
        *lines, pending = (pending + more).split(b"\n")
        yield from lines


def _child(given: argparse.Namespace) -> None:
    """Send the files through one entry point; one line of JSON before and behind each."""
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory() as folder:
        warm = next(iter(corpus(given.seed)))
        outcome(given.child, warm.data, Path(folder, "warm.png"))  # imports are no file's fault
        outcome("Python, isolated", warm.data, Path(folder, "warm.png"))
        _Memory.base = sum(_held("VmRSS", pid) for pid in _children())
        for number, file in enumerate(corpus(given.seed), 1):
            if number <= given.skip or not re.search(given.only, file.name):
                continue
            print(json.dumps({"name": file.name, "number": number}), file=out)
            with _Memory() as memory:
                start, used = time.perf_counter(), time.process_time()
                try:
                    result = outcome(given.child, file.data, Path(folder, file.name))
                    verdict = "refused" if result.message else "opens"
                    message = result.message
                except Exception as error:  # noqa: BLE001 - this is what is counted
                    verdict, message = "untyped", f"{type(error).__name__}: {error}"
                seconds, cpu = time.perf_counter() - start, time.process_time() - used
            told: dict[str, Any] = {"verdict": verdict, "message": message, "seconds": seconds}
            told |= {"cpu": cpu, "memory": memory.taken}
            told |= {"name": file.name, "expected": file.verdict, "bomb": file.bomb}
            print(json.dumps(told), file=out)
            Path(folder, file.name).unlink(missing_ok=True)
    print(json.dumps({"done": True}), file=out)


class _Memory:
    """Bytes that the body takes at its peak, in this process and its children."""

    taken = 0
    base: ClassVar[int] = 0  # what a worker holds that has just begun

    def __enter__(self) -> "_Memory":
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would be taken for free
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak begins anew
        self._before = _held("VmRSS", os.getpid())
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        self.taken = max(self.taken, _held("VmHWM", os.getpid()) - self._before)

    def _look(self) -> None:
        while not self._ended.wait(0.003):
            self.taken = max(self.taken, self._now())

    def _now(self) -> int:
        taken = _held("VmRSS", os.getpid()) - self._before
        for pid in _children():
            taken += max(_held("VmRSS", pid) - self.base, 0)
        return taken


def _children() -> list[int]:
    known = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in known.read_text().split()] if known.exists() else []


def _held(what: str, pid: int) -> int:
    with contextlib.suppress(OSError):  # it has ended
        found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
