"""Runs that can be stopped at any time: they save on being told to, a checkpoint whole or none."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState

from cropvlm_core.training.finite import FiniteSteps
from cropvlm_core.training.saving import saving
from cropvlm_core.training.signals import Listener

_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")


class StopOnSignal(Listener, TrainerCallback):
    """Saves a checkpoint and ends the run after the step in which SIGTERM or Ctrl-C came.

    A context manager, around the training. Of several processes, all stop after the same
    step, whichever was told.

    Attributes:
        stopped: whether the run was ended so.
    """

    def __init__(self) -> None:
        """Listen from ``__enter__`` on."""
        super().__init__()
        self.stopped = False

    @property
    def signal(self) -> int:
        """The number of the signal that ended the run; SIGTERM where another process was told."""
        return signal.SIGTERM if self.heard is None else self.heard

    def on_step_end(self, args: Any, _state: Any, control: Any, **_: Any) -> Any:
        """Agree with the other processes; save and stop where one was told to."""
        told = self.heard is not None
        if args.world_size > 1:
            votes = torch.tensor([int(told)], device=args.device)
            distributed.all_reduce(votes, distributed.ReduceOp.MAX)
            told = bool(votes.item())
        if told:
            self.stopped = True
            control.should_evaluate = False
            control.should_save = True
            control.should_training_stop = True
        return control


class WholeCheckpoints(Trainer):
    """Writes each checkpoint aside and renames it when it is on the disk.

    A base class in front of one of TRL's trainers. A run that dies while it saves leaves the
    checkpoint before, never half a one; a full disk is a SourceError. A step whose gradient is not
    finite is left out. What is logged is not printed as well: that is for the loggers, and for who
    listens to this package's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the trainer behind takes."""
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(FiniteSteps())

    def go_on(self, checkpoint: Path | None) -> None:
        """Train from ``checkpoint`` on, or from the start; one that is at the end is only loaded.

        The Trainer would make one step more of it.
        """
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            if 0 < self.args.max_steps <= state.global_step:
                self._load_from_checkpoint(str(checkpoint))
                self.state = state
                self.callback_handler.on_train_end(self.args, self.state, self.control)
                return
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with saving(f"checkpoint {self.state.global_step}"):
            self._save_aside(model, trial)

    def _save_aside(self, model: Any, trial: Any) -> None:
        final = Path(self.args.output_dir)
        aside = final / ".part"
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(aside)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(final)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            name = f"checkpoint-{self.state.global_step}"
            _put(aside / name, final / name)
            for old in checkpoints(final)[: -(self.args.save_total_limit or 10**9)]:
                old.rename(aside / old.name)  # so that no half of it is left where it was
            shutil.rmtree(aside)
        self.accelerator.wait_for_everyone()


def leave_group() -> None:
    """Leave the group of processes that a launcher made, where there is one, all together."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in ``folder``, oldest step first."""
    found = {
        int(m[1]): each for each in folder.glob("*") if (m := _CHECKPOINT.fullmatch(each.name))
    }
    return [found[step] for step in sorted(found)]


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which at the end takes the place of ``folder``.

    Raises:
        SourceError: the disk is full, or does not take it.
    """
    aside = folder.with_name(f".{folder.name}.part")
    with saving(f"the {folder.name}"):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        _put(aside, folder)


def _put(written: Path, place: Path) -> None:
    """Rename a folder, once all that is in it is on the disk."""
    for each in [*written.rglob("*"), written] if os.name == "posix" else ():
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    shutil.rmtree(place, ignore_errors=True)
    written.rename(place)
