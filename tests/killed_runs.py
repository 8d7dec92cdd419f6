"""Short runs of the warm start and of GRPO in processes of their own, and what is done to them."""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from cropvlm_core.errors import CropVLMError
from cropvlm_core.training.grpo_run import train_grpo
from cropvlm_core.training.run_settings import (
    GRPOSettings,
    RunSettings,
    SFTSettings,
    read_settings,
    to_yaml,
)
from cropvlm_core.training.sft import train_sft
from cropvlm_core.training.stopping import checkpoints
from cropvlm_core.training.supervised import load_checkpoint, save_checkpoint
from tests import grpo_runs

WEIGHTS = ("model/model.safetensors", "adapter/adapter_model.safetensors")
KINDS: dict[str, tuple[type[RunSettings], Callable[..., Any]]] = {
    "sft": (SFTSettings, train_sft),
    "grpo": (GRPOSettings, train_grpo),
}

# Children are forked from a process that has imported everything and runs no thread: a kill then
# meets the training, not the import.
PROCESSES = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """One thread, so that sums come out the same, and what children are forked from."""
    torch.set_num_threads(1)
    root = str(Path(__file__).resolve().parent.parent)
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
    }
    PROCESSES.set_forkserver_preload(["tests.killed_runs"])


def told(kind: str, **changed: Any) -> RunSettings:
    """Settings of a run of six short steps, each with its checkpoint."""
    common = {"save_steps": 1, "max_steps": 6, "keep_checkpoints": 2} | changed
    if kind == "grpo":
        return grpo_runs.told(**common)
    given = {
        "model": str(grpo_runs.policy()),
        "data": str(grpo_runs.pages()),
        "device_type": "cpu",
        "batch_size": 2,
        "gradient_accumulation": 2,
        "learning_rate": 1e-2,
        "lora_rank": 4,
        "lora_alpha": 8,
        "log_steps": 1,
    }
    return read_settings(SFTSettings, None, given | common)


def train(kind: str, settings: Path, out: Path, callbacks: Sequence[Any] = ()) -> None:
    """Begin a run, or go on with it."""
    torch.set_num_threads(1)
    cls, run = KINDS[kind]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        run(read_settings(cls, settings), out, resume=True, callbacks=callbacks)


def started(kind: str, out: Path, **changed: Any) -> Any:
    """Start :func:`train` in a process of its own."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "told.yaml"
    file.write_text(to_yaml(told(kind, **changed)), encoding="utf-8")
    process = PROCESSES.Process(target=train, args=(kind, file, out))
    process.start()
    return process


def gone_through(kind: str, out: Path, **changed: Any) -> float:
    """Begin a run, or go on with it, to its end; return its seconds."""
    began = time.monotonic()
    process = started(kind, out, **changed)
    process.join()
    check(process)
    return time.monotonic() - began


def check(process: Any) -> None:
    """Raise where a run that nobody killed has failed."""
    if process.exitcode not in (0, None):
        raise RuntimeError(f"a run that nobody killed ended with {process.exitcode}")


def weights(out: Path) -> list[bytes]:
    """What came out of a run."""
    return [(out / file).read_bytes() for file in WEIGHTS]


def newest(out: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    return max(steps_of(checkpoints(out / "checkpoints")), default=0)


def steps_of(found: Sequence[Path]) -> list[int]:
    """The steps of checkpoints."""
    return [int(each.name.rpartition("-")[2]) for each in found]


def is_whole(checkpoint: Path) -> bool:
    """Whether every file that a run goes on from can be read to its end."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_bytes())
        for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.load(checkpoint / file, weights_only=False)  # our own
        (model,) = checkpoint.glob("*.safetensors")
        return bool(load_file(model)) and checkpoint.name == f"checkpoint-{state['global_step']}"
    except Exception:  # noqa: BLE001 - whatever a torn file raises
        return False


# ---- kills


def kill_and_go_on(
    kind: str, out: Path, seconds: float, most: int, dice: random.Random, **changed: Any
) -> list[int]:
    """Kill a run at random moments, ``most`` times at the most, until it is through.

    Returns:
        the step of the newest checkpoint at each kill.
    """
    steps: list[int] = []
    while True:
        process = started(kind, out, **changed)
        process.join(dice.uniform(0.1, 1.0) * seconds if len(steps) < most else None)
        if process.exitcode is not None:
            check(process)
            return steps
        process.kill()
        process.join()
        steps.append(newest(out))


@dataclass
class Kills:
    """Kills while something was saved.

    ``inside``: those that left half a save aside. ``torn``: checkpoints that cannot be read.
    ``lost``: how often the newest was older than before. ``reached``: the newest step. ``span``:
    seconds from a save's beginning in which kills fall, so that about half of the saves end first.
    """

    inside: int = 0
    torn: int = 0
    lost: int = 0
    reached: int = 0
    span: float = 0.1

    def look(self, aside: Path, torn: int, newest_step: int) -> None:
        """Take down what a kill left."""
        self.inside += aside.exists()
        self.span *= 1.3 if aside.exists() else 0.7
        self.torn += torn
        self.lost += newest_step < self.reached
        self.reached = max(self.reached, newest_step)


def kill_in_saves(kind: str, out: Path, count: int, dice: random.Random) -> Kills:
    """Kill a run that saves at every step in ``count`` saves, and go on with it each time."""
    gone_through(kind, out, max_steps=1)  # there is something to lose
    kills = Kills(reached=1)
    aside = out / "checkpoints" / ".part"
    while kills.inside < count:
        process = started(kind, out, max_steps=100_000)
        _kill_soon_after(process, aside, dice.uniform(0, kills.span))
        whole = [is_whole(each) for each in checkpoints(out / "checkpoints")]
        kills.look(aside, whole.count(False), newest(out))
    return kills


def kill_in_file_saves(folder: Path, count: int, dice: random.Random) -> Kills:
    """The same for the one file that ``train embedded`` goes on from."""
    kills = Kills(reached=1)
    file = folder / "checkpoint.pt"
    aside = file.with_suffix(".part")
    save_checkpoint(file, {"step": 1})
    while kills.inside < count:
        process = PROCESSES.Process(target=save_for_ever, args=(file,))
        process.start()
        _kill_soon_after(process, aside, dice.uniform(0, kills.span))
        try:
            state = load_checkpoint(file)
            kills.look(aside, 0, 0 if state is None else state["step"])
        except CropVLMError:
            kills.look(aside, 1, kills.reached)
    return kills


def save_for_ever(file: Path) -> None:
    """Save a checkpoint of 12 MB again and again, from the last one on."""
    held = load_checkpoint(file)
    step = 0 if held is None else held["step"]
    while True:
        step += 1
        save_checkpoint(file, {"step": step, "network": {"w": torch.full((3_000_000,), step)}})


def _kill_soon_after(process: Any, aside: Path, seconds: float) -> None:
    """Kill ``process`` so many seconds after it began to write at ``aside``."""
    began = time.time()
    while _changed(aside) < began:
        if not process.is_alive():
            check(process)
            raise RuntimeError("a run without an end has ended")
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.join()


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


# ---- full disks


class SmallFiles(TrainerCallback):  # type: ignore[misc]
    """From the end of a step on, no file of this process may be longer than so many bytes."""

    def __init__(self, step: int, most: int) -> None:
        self.step, self.most = step, most

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            _limit_files(self.most)


def fill_disk(kind: str, out: Path, limit: int | None, **changed: Any) -> tuple[str, str]:
    """Train until the disk is full, or with ``limit`` bytes a file from the second save on.

    Returns:
        the name of the error, and what it says.
    """
    receiver, sender = PROCESSES.Pipe(duplex=False)
    settings = to_yaml(told(kind, **changed))
    process = PROCESSES.Process(target=_until_full, args=(kind, settings, out, limit, sender))
    process.start()
    sender.close()
    raised: tuple[str, str] = receiver.recv()
    process.join()
    return raised


def _until_full(kind: str, settings: str, out: Path, limit: int | None, sender: Any) -> None:
    callbacks = [] if limit is None else [SmallFiles(2, limit)]
    with tempfile.TemporaryDirectory() as elsewhere:
        file = Path(elsewhere, "told.yaml")
        file.write_text(settings, encoding="utf-8")
        try:
            train(kind, file, out, callbacks)
        except Exception as error:  # noqa: BLE001 - which one is the question
            sender.send((type(error).__name__, str(error)))
        else:
            sender.send(("nothing", "the run went through"))


@contextlib.contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may become longer than ``most`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.getsignal(signal.SIGXFSZ)
    _limit_files(most)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def _limit_files(most: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error instead, as of a full disk
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
