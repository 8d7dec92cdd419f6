"""Show that training survives what happens to long runs: kills, full disks, failing rewards.

    PYTHONPATH=. python scripts/training_faults.py [--kills 20] [--saves 50] [--only PART ...]

Runs the warm start (`train sft`) and GRPO (`train grpo`) of a tiny model on the CPU, in processes
of their own, and does harm to them:

    resume   SIGKILL at random moments, until the run is through: are the weights those of a run
             that nobody killed, bit for bit?
    saves    SIGKILL while a checkpoint is written: is every checkpoint whole, and none lost? The
             same for the one file of `train embedded`.
    disk     no room while a checkpoint is written (a limit on the size of files, and a small disk
             in memory where this system lets us have one): a SourceError, the checkpoint before
             whole, and a run that goes on from it as if nothing had been?
    stop     SIGTERM: how long until everything is saved?
    rewards  30 % of the rewards are lacking, others are NaN, infinite or 1e300, and some calls
             raise: does the run end, is nothing that failed taken for 0, is every weight finite?

Prints a table of what was found; the exit code is 1 where something is not as it should be. Linux.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cropvlm_core.errors import SourceError
from cropvlm_core.training.stopping import checkpoints
from cropvlm_core.training.supervised import save_checkpoint
from tests.failing_rewards import failing_run
from tests.killed_runs import (
    KINDS,
    Kills,
    fill_disk,
    gone_through,
    is_whole,
    kill_and_go_on,
    kill_in_file_saves,
    kill_in_saves,
    newest,
    prepare,
    small_files,
    started,
    steps_of,
    weights,
)

PARTS = ("resume", "saves", "disk", "stop", "rewards")
LONGEST = 30.0  # seconds from SIGTERM to the end
STEPS = 30  # of the run with failing rewards


class Table:
    """Prints rows, and remembers whether all was as it should be."""

    def __init__(self) -> None:
        """Print the head."""
        self.good = True
        print("| what | figure | as it should be |\n|---|---|---|", flush=True)

    def row(self, what: str, figure: str, good: bool) -> None:
        """Print a row."""
        self.good &= good
        print(f"| {what} | {figure} | {'yes' if good else 'NO'} |", flush=True)

    def kills(self, what: str, found: Kills) -> None:
        """Print what kills in saves came to."""
        figure = (
            f"{found.inside} kills, {found.torn} torn, {found.lost} lost, {found.reached} saved"
        )
        self.row(f"{what}: SIGKILL in a save", figure, (found.torn, found.lost) == (0, 0))


def main(argv: Sequence[str] | None = None) -> int:
    """Do all the harm, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-disk", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    prepare()
    if given.small_disk:
        print(json.dumps(fill_small_disk(given.small_disk[0], Path(given.small_disk[1]))))
        return 0
    table, dice = Table(), random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            folder = Path(name, kind)
            if "resume" in given.only:
                resume(table, kind, folder / "resume", given.kills, dice)
            if "saves" in given.only:
                found = kill_in_saves(kind, folder / "saves", given.saves, dice)
                table.kills(f"train {kind}", found)
            if "disk" in given.only:
                disk(table, kind, folder / "disk")
            if "stop" in given.only:
                stop(table, kind, folder / "stop")
        embedded(table, Path(name), given.only, given.saves, dice)
        if "rewards" in given.only:
            rewards(table, Path(name, "rewards"))
    return 0 if table.good else 1


def resume(table: Table, kind: str, folder: Path, kills: int, dice: random.Random) -> None:
    """Kill runs until there were so many kills, and compare what comes out of each."""
    seconds = gone_through(kind, folder / "straight")
    straight = weights(folder / "straight")
    steps: list[int] = []
    runs = equal = 0
    while len(steps) < kills:
        out = folder / f"killed-{runs}"
        steps += kill_and_go_on(kind, out, seconds, kills - len(steps), dice)
        runs += 1
        equal += weights(out) == straight
        shutil.rmtree(out)
    table.row(
        f"train {kind}: SIGKILL at random moments, then --resume",
        f"{len(steps)} kills in {runs} runs, after steps {sorted(set(steps))}: "
        f"{equal} of {runs} bit-equal with the run that nobody killed",
        equal == runs,
    )


def disk(table: Table, kind: str, folder: Path) -> None:
    """Take the room away in the second save: at once, in the weights, in the optimizer."""
    gone_through(kind, folder / "straight", max_steps=3)
    (checkpoint, _) = checkpoints(folder / "straight" / "checkpoints")
    (model,) = checkpoint.glob("*.safetensors")
    optimizer = (checkpoint / "optimizer.pt").stat().st_size
    for limit in (0, model.stat().st_size // 2, optimizer - 100):
        out = folder / str(limit)
        raised, said = fill_disk(kind, out, limit, max_steps=3)
        found = checkpoints(out / "checkpoints")
        good = raised == SourceError.__name__ and steps_of(found) == [1] and is_whole(found[0])
        gone_through(kind, out, max_steps=3)
        equal = weights(out) == weights(folder / "straight")
        table.row(
            f"train {kind}: no file beyond {limit} bytes in the second save",
            f"{raised}: {said}; gone on with: {'' if equal else 'NOT '}bit-equal",
            good and equal,
        )
    small_disk(table, kind)


def small_disk(table: Table, kind: str) -> None:
    """A disk of 4 MB, in a user namespace, where there are such."""
    with tempfile.TemporaryDirectory() as place:
        inner = f"{sys.executable} -W ignore {__file__} --small-disk {kind} {place}/run"
        mount = f"mount -t tmpfs -o size=4m tmpfs {place} && exec {inner}"
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    what = f"train {kind}: a disk of 4 MB that is full"
    try:
        raised, said, steps, whole = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        table.row(what, f"not tried: {done.stderr.strip()[-100:]}", True)
        return
    figure = f"{raised}: {said}; {len(steps)} checkpoints, {whole} whole"
    table.row(what, figure, raised == SourceError.__name__ and 0 < len(steps) == whole)


def fill_small_disk(kind: str, out: Path) -> tuple[str, str, list[int], int]:
    """Train on the small disk until it is full."""
    raised, said = fill_disk(kind, out, None, max_steps=100_000, keep_checkpoints=100_000)
    found = checkpoints(out / "checkpoints")
    return raised, said, steps_of(found), sum(map(is_whole, found))


def stop(table: Table, kind: str, folder: Path, times: int = 3) -> None:
    """Tell a run to stop at any moment after its beginning, and wait for it."""
    seconds = []
    for number in range(times):
        out = folder / str(number)
        process = started(kind, out, max_steps=100_000, save_steps=100_000)
        while not (out / "settings.yaml").exists():
            time.sleep(0.01)
        time.sleep(2 + number / 3)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        process.join(LONGEST * 4)
        good = process.exitcode == 0 and newest(out) > 0
        whole = all(map(is_whole, checkpoints(out / "checkpoints")))
        seconds.append(time.monotonic() - began if good and whole else math.inf)
    figure = f"at most {max(seconds):.1f} s of {times}"
    table.row(f"train {kind}: SIGTERM, until saved and ended", figure, max(seconds) <= LONGEST)


def embedded(
    table: Table, folder: Path, parts: Sequence[str], saves: int, dice: random.Random
) -> None:
    """The one file that `train embedded` goes on from."""
    file = folder / "checkpoint.pt"
    if "saves" in parts:
        (folder / "embedded").mkdir()
        found = kill_in_file_saves(folder / "embedded", saves, dice)
        table.kills("train embedded", found)
    if "disk" in parts:
        save_checkpoint(file, {"step": 1, "network": {"w": torch.ones(100_000)}})
        before, said = file.read_bytes(), ""
        with small_files(100_000):
            try:
                save_checkpoint(file, {"step": 2, "network": {"w": torch.ones(100_000)}})
            except SourceError as error:
                said = f"SourceError: {error}"
        good = bool(said) and file.read_bytes() == before
        table.row("train embedded: no file beyond 100,000 bytes in a save", said, good)


def rewards(table: Table, folder: Path) -> None:
    """Train on rewards that fail, and look at every step."""
    reward, ledger, lines = failing_run(folder, STEPS)
    dropped = sum(line["dropped_groups"] for line in lines) / len(lines)
    table.row(
        "train grpo: 30 % of rewards lacking, 15 % odd, 10 % of calls raise",
        f"{len(lines)} of {STEPS} steps; {ledger.missing} rewards missing, {ledger.taken_for_zero} "
        f"taken for 0, {ledger.wrong} wrong advantages; {dropped:.0%} of {ledger.groups} groups "
        f"dropped; {ledger.endless} weights not finite",
        len(lines) == STEPS
        and ledger.missing == reward.failed + reward.odd > 0
        and (ledger.taken_for_zero, ledger.wrong, ledger.endless) == (0, 0, 0)
        and math.isclose(dropped, ledger.lone / ledger.groups, abs_tol=1e-6),
    )


if __name__ == "__main__":
    raise SystemExit(main())
