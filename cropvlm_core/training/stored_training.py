"""Supervised training on one device, a GPU or a CPU, beside processes that render its pages.

Producers fill a folder with lessons, the device holds them (``page_pool``) and takes one step on a
few batches of different shapes. The schedule is measured in minutes, kept in the checkpoint: a run
that is stopped goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cropvlm_core.errors import DataError
from cropvlm_core.training.export import read_network
from cropvlm_core.training.losses import lesson_losses
from cropvlm_core.training.network import PolicyNetwork, PolicySize
from cropvlm_core.training.page_pool import PagePool
from cropvlm_core.training.page_store import Preparation, on_device, produce
from cropvlm_core.training.pages.fonts import installed_faces
from cropvlm_core.training.supervised import (
    follow,
    load_checkpoint,
    log_line,
    rate_factor,
    rendered_state,
    run_state,
    save_checkpoint,
)


@dataclass(frozen=True)
class StoredPlan:
    """How a run beside producers goes.

    Attributes:
        minutes: length of the whole schedule, wall clock.
        reading_minutes: the first part: letters and words, no questions.
        device: "cuda", "cpu", ...
        producers: processes that render pages.
        rest: a producer sleeps so many times the processor time that a page took.
        pixels: input pixels of a batch.
        batches: batches of a step.
        questions: questions a page and step.
        store: bytes of lessons held on the device (and in the folder) for reuse.
        rate: peak learning rate (AdamW), reached after 2 % of the schedule, cosine to 2 %.
        half: compute in bfloat16 where that is exact enough; faster on GPUs and recent CPUs.
        seed: source of all chance.
        pages: how pages become lessons.
        size: channel counts of the network.
    """

    minutes: float = 10.0
    reading_minutes: float = 0.6
    device: str = "cuda"
    producers: int = 13
    rest: float = 0.0
    pixels: int = 24_000_000
    batches: int = 4
    questions: int = 8
    store: int = 30_000_000_000
    rate: float = 2e-3
    half: bool = True
    seed: int = 1
    pages: Preparation = field(default_factory=Preparation)
    size: PolicySize = field(default_factory=PolicySize)

    @property
    def budget(self) -> int:
        """Input pixels for ordinary print."""
        return self.pages.budget


def train_stored(
    plan: StoredPlan, folder: Path, *, store: Path | None = None, start: Path | None = None
) -> None:
    """Train, or go on training, the policy whose checkpoint stands in ``folder/checkpoint.pt``.

    Args:
        plan: the schedule.
        folder: gets ``checkpoint.pt`` (replaced atomically every half minute) and ``log.txt``.
        store: where lessons are kept, best a folder in memory; by default ``folder/store``.
        start: a weight file whose network a new run begins with; ``plan.size`` is then its size.

    Raises:
        WeightsError: ``start`` cannot be read.
    """
    installed_faces()  # without fonts, say so here and not in every process
    folder.mkdir(parents=True, exist_ok=True)
    store = store or folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    held = load_checkpoint(folder / "checkpoint.pt")
    if held is None and start is not None:
        begun = read_network(start)
        plan = replace(plan, size=begun.size)
        held = {"averaged": begun.state_dict(), "step": 0, "minutes": 0.0, "pages": 0}
    elif held is not None:
        plan = replace(plan, size=PolicySize(**held["plan"]["size"]))
    with _producers(plan, store, held["step"] if held else 0) as alive:
        pool = PagePool(store, torch.device(plan.device), plan.store, plan.seed, alive)
        with closing(pool):
            _Run(plan, folder, held).train(pool)


def device_memory(device: str) -> int:
    """Bytes of memory of an accelerator.

    Raises:
        DataError: there is no such device.
    """
    try:
        if torch.device(device).type == "mps":
            return torch.mps.recommended_max_memory()
        return int(torch.get_device_module(device).mem_get_info(device)[1])
    except (RuntimeError, AttributeError, ValueError, AssertionError) as error:
        raise DataError(f"expected a device that torch can train on, got {device}") from error


@contextmanager
def _producers(plan: StoredPlan, store: Path, step: int) -> Iterator[Callable[[], bool]]:
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(plan.producers):
        source = f"{plan.seed}-{step}-{number}"
        process = context.Process(
            target=produce, args=(store, plan.pages, source, plan.rest), daemon=True
        )
        process.start()
        started.append(process)
    try:
        yield lambda: any(process.is_alive() for process in started)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()


class _Run:
    def __init__(self, plan: StoredPlan, folder: Path, held: dict[str, Any] | None) -> None:
        self.plan, self.folder = plan, folder
        self.device = torch.device(plan.device)
        # Each device's faster one; on CPUs by a sixth.
        self.layout = torch.contiguous_format if plan.device == "cpu" else torch.channels_last
        torch.manual_seed(plan.seed)
        self.network = PolicyNetwork(plan.size).to(
            self.device,
            memory_format=self.layout,  # type: ignore[call-overload]
        )
        self.averaged = PolicyNetwork(plan.size).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=plan.rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=True,
        )
        self.step, self.done, self.pages = 0, 0.0, 0
        if held is None:
            self.averaged.load_state_dict(self.network.state_dict())
        else:
            self.network.load_state_dict(held.get("network", held["averaged"]))
            self.averaged.load_state_dict(held["averaged"])
            if "optimizer" in held:
                self.optimizer.load_state_dict(held["optimizer"])
            self.step, self.done, self.pages = held["step"], held["minutes"], held["pages"]
        torch.manual_seed(random.Random(f"{plan.seed}-{self.step}").randrange(2**31))

    def train(self, pool: PagePool) -> None:
        plan = self.plan
        pool.draw(1)  # the clock starts when there is something to learn
        watched: dict[str, float] = {}
        last = saved = logged = time.monotonic()
        while self.done < plan.minutes:
            for group in self.optimizer.param_groups:
                group["lr"] = plan.rate * rate_factor(self.done / plan.minutes)
            figures: dict[str, Tensor] = {}
            for _ in range(plan.batches):
                batch = pool.draw(plan.pixels)
                figures |= self._learn(batch, pointing=self.done >= plan.reading_minutes)
            figures["norm"] = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            # A gradient that is not finite shall move nothing, and asking whether it is would wait
            # for the GPU: the fused step looks at this number there, as torch.amp's scaler has it.
            self.optimizer.found_inf = (~figures["norm"].isfinite()).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            follow(self.averaged, self.network, min(0.999, 1 - 10 / (self.step + 10)))
            now = time.monotonic()
            self.done, last = self.done + (now - last) / 60, now
            if self.step % 20 == 0 or self.step < 3:
                for name, value in figures.items():
                    watched[name] = 0.8 * watched.get(name, float(value)) + 0.2 * float(value)
            if now - logged > 10 or self.done >= plan.minutes:
                logged = now
                watched["stored"] = float(pool.pages)
                log_line(self.folder, self.step, self.done, self.pages, watched)
            if now - saved > 30 or self.done >= plan.minutes:
                saved = now
                self._save()

    def _learn(self, stored: dict[str, Tensor], *, pointing: bool) -> dict[str, Tensor]:
        """Add the gradient of one batch."""
        batch = on_device(stored, self.device, self.plan.questions)
        batch.pixels = batch.pixels.contiguous(memory_format=self.layout)
        with self._half():
            loss, figures = lesson_losses(self.network, batch, pointing=pointing)
        (loss / self.plan.batches).backward()  # type: ignore[no-untyped-call]
        self.pages += len(batch.pixels)
        return figures

    def _half(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.plan.half)

    def _save(self) -> None:
        plan = asdict(self.plan) | {"budget": self.plan.budget}
        save_checkpoint(
            self.folder / "checkpoint.pt",
            run_state(self.network, self.averaged, self.optimizer, self.step, self.done)
            | rendered_state(self.pages, plan),
        )
