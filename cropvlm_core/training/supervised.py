"""Supervised training of the embedded policy on rendered pages.

Every process draws its own pages, computes its own gradient, and the gradients are averaged, so two
cores train twice as fast as one. The schedule is measured in minutes of training, kept in the
checkpoint: a run that is stopped goes on where it was.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from cropvlm_core.errors import DataError
from cropvlm_core.training.losses import lesson_losses, stack
from cropvlm_core.training.network import PolicyNetwork, PolicySize
from cropvlm_core.training.pages import KINDS, render_page
from cropvlm_core.training.pages.degrade import window
from cropvlm_core.training.pages.fonts import installed_faces
from cropvlm_core.training.questions import VALIDATION_SEED
from cropvlm_core.training.saving import saving
from cropvlm_core.training.supervision import Lesson, lesson


@dataclass(frozen=True)
class TrainingPlan:
    """How a supervised run goes.

    Attributes:
        minutes: length of the whole schedule, wall clock.
        reading_minutes: the first part, on crammed lines only: letters and words, no questions.
        processes: number of training processes, one thread each.
        budget: input pixels of the network.
        pages: pages a step and process.
        rate: peak learning rate (AdamW), reached after 2 % of the schedule, cosine to 2 %.
        seed: source of all chance.
        size: channel counts of the network.
    """

    minutes: float = 95.0
    reading_minutes: float = 15.0
    processes: int = 2
    budget: int = 262_144
    pages: int = 1
    rate: float = 1.5e-3
    seed: int = 1
    size: PolicySize = field(default_factory=PolicySize)


def train_supervised(plan: TrainingPlan, folder: Path) -> None:
    """Train, or go on training, the policy whose checkpoint stands in ``folder/checkpoint.pt``.

    Args:
        plan: the schedule; on resuming, ``minutes`` may be larger than before.
        folder: gets ``checkpoint.pt`` (replaced atomically every two minutes) and ``log.txt``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / f"meeting-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    installed_faces()  # without fonts, say so here and not in every process
    # Ended from outside, the parent must take its children along: they die with a clean exit only.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        spawn(  # type: ignore[no-untyped-call]
            _run, (plan, folder, meeting), nprocs=plan.processes, daemon=True
        )
    finally:
        signal.signal(signal.SIGTERM, previous)
        meeting.unlink(missing_ok=True)


def lessons(plan: TrainingPlan, rng: random.Random, *, reading: bool) -> Iterator[list[Lesson]]:
    """Endless batches of ``plan.pages`` lessons of one input shape each."""
    waiting: dict[tuple[int, ...], list[Lesson]] = {}
    for one in _windows(plan, rng) if reading else _pages(plan, rng):
        pool = waiting.setdefault(tuple(one.pixels.shape), [])
        pool.append(one)
        if len(pool) == plan.pages * (2 if reading else 1):
            yield waiting.pop(tuple(one.pixels.shape))


def _pages(plan: TrainingPlan, rng: random.Random) -> Iterator[Lesson]:
    while True:
        seed = rng.randrange(VALIDATION_SEED)
        page = render_page(seed, cut=True)
        if page.asked:
            yield lesson(page, random.Random(seed), plan.budget)


def _windows(plan: TrainingPlan, rng: random.Random) -> Iterator[Lesson]:
    """Pieces of pages crammed with words, a third of the size of a page."""
    budget = plan.budget // 3
    while True:
        seed = rng.randrange(VALIDATION_SEED)
        chance = random.Random(seed)
        page = render_page(seed, "lines")
        for _ in range(3):
            piece = window(page, chance, budget * chance.uniform(0.6, 2.2))
            yield lesson(piece, chance, budget)


def _run(rank: int, plan: TrainingPlan, folder: Path, meeting: Path) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(meeting), plan.processes)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=plan.processes)
    try:
        _train(rank, plan, folder)
        distributed.barrier()  # leave together: a group taken down while the other is busy aborts
    finally:
        distributed.destroy_process_group()


def _train(rank: int, plan: TrainingPlan, folder: Path) -> None:
    torch.manual_seed(plan.seed)
    network = PolicyNetwork(plan.size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = PolicyNetwork(plan.size)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    held = load_checkpoint(folder / "checkpoint.pt")
    step, done, pages = 0, 0.0, 0
    if held is not None:
        network.load_state_dict(held["network"])
        averaged.load_state_dict(held["averaged"])
        optimizer.load_state_dict(held["optimizer"])
        step, done, pages = held["step"], held["minutes"], held["pages"]
        plan = replace(plan, reading_minutes=held["plan"]["reading_minutes"])
    else:
        averaged.load_state_dict(network.state_dict())
    rng = random.Random(f"{plan.seed}-{rank}-{step}")
    torch.manual_seed(rng.randrange(2**31))
    reading = done < plan.reading_minutes
    batches = lessons(plan, rng, reading=reading)
    watched: dict[str, float] = {}
    skipped, parent = 0, os.getppid()
    last = saved = time.monotonic()
    while done < plan.minutes and os.getppid() == parent:
        if reading and done >= plan.reading_minutes:
            reading, batches = False, lessons(plan, rng, reading=False)
        batch = stack(next(batches))
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * rate_factor(done / plan.minutes)
        optimizer.zero_grad(set_to_none=True)
        loss, figures = lesson_losses(network, batch, pointing=not reading)
        loss.backward()  # type: ignore[no-untyped-call]
        _share_gradients(network, plan.processes)
        # The gradients are averaged, so the norm, and what follows from it, is the same everywhere.
        if torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0).isfinite():
            optimizer.step()
        else:
            skipped += 1
            figures["skipped"] = torch.tensor(float(skipped))
        step += 1
        pages += len(batch.pixels) * plan.processes
        follow(averaged, network, min(0.998, 1 - 10 / (step + 10)))
        # All processes go by the clock of the first, so that they stop at the same step.
        now = time.monotonic()
        clock = torch.tensor([done + (now - last) / 60], dtype=torch.float64)
        distributed.broadcast(clock, 0)
        done, last = clock.item(), now
        for name, value in figures.items():
            watched[name] = 0.98 * watched.get(name, float(value)) + 0.02 * float(value)
        if rank == 0 and (step % 50 == 0 or done >= plan.minutes):
            log_line(folder, step, done, pages, watched)
        if rank == 0 and (now - saved > 120 or done >= plan.minutes):
            saved = now
            save_checkpoint(
                folder / "checkpoint.pt",
                run_state(network, averaged, optimizer, step, done)
                | rendered_state(pages, asdict(plan)),
            )


def rate_factor(progress: float) -> float:
    """The learning rate at ``progress`` (0..1) of the schedule, as a share of its peak."""
    warm = min(1.0, progress / 0.02 + 0.02)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _share_gradients(network: PolicyNetwork, count: int) -> None:
    if count == 1:
        return
    gradients = [
        parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        for parameter in network.parameters()
    ]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= count
    start = 0
    for parameter in network.parameters():
        end = start + parameter.numel()
        # Also where this process had none: another may have, and all must take the same step.
        parameter.grad = flat[start:end].view_as(parameter)
        start = end


@torch.no_grad()
def follow(averaged: PolicyNetwork, network: PolicyNetwork, keep: float) -> None:
    """Move the running average of the weights towards the network's."""
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - keep)


def log_line(
    folder: Path, step: int, minutes: float, pages: int, watched: dict[str, float]
) -> None:
    """Append a line of figures to ``folder/log.txt`` and show it."""
    figures = "  ".join(f"{name} {value:.3f}" for name, value in sorted(watched.items()))
    line = f"step {step}  minute {minutes:.1f}  pages {pages}  {figures}"
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    sys.stderr.write(line + "\n")


def run_state(
    network: PolicyNetwork,
    averaged: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    step: int,
    minutes: float,
) -> dict[str, Any]:
    """What every run goes on from; a checkpoint adds what the run was told."""
    return {
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "minutes": minutes,
    }


def rendered_state(pages: int, plan: dict[str, Any]) -> dict[str, Any]:
    """What a run on rendered pages adds: pages seen, its plan, the shares of the kinds."""
    kinds = {name: share for name, (_, share) in KINDS.items()}
    return {"pages": pages, "plan": plan, "kinds": kinds}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, flush to disk, rename: a checkpoint is whole or absent.

    Raises:
        SourceError: the disk is full, or does not take it; the checkpoint before is still there.
    """
    aside = path.with_suffix(".part")
    with saving(path.name):
        with aside.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint at ``path``, tensors and numbers only; None when there is none yet."""
    if not os.path.lexists(path):
        return None
    if not path.is_file():  # what waits for a writer, or has no end
        raise DataError(f"expected a whole checkpoint, got {path.name}, which is no file")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(f"expected a whole checkpoint, got {path.name}: {error!r:.80}") from error
    return state


def trained_network(state: dict[str, Any]) -> PolicyNetwork:
    """The averaged network of a checkpoint, ready for inference."""
    network = PolicyNetwork(PolicySize(**state["plan"]["size"]))
    network.load(state["averaged"])
    return network.eval()
