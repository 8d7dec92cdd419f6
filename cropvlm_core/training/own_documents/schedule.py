"""The steps of a run by the clock: which page next, what to learn from, when to save."""

from __future__ import annotations

import copy
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from cropvlm_core.training.own_documents.learning import Teacher
from cropvlm_core.training.own_documents.material import OwnPage
from cropvlm_core.training.own_documents.plan import OwnPlan
from cropvlm_core.training.supervised import follow, rate_factor, run_state, save_checkpoint

SAVE_EVERY = 20.0
"""Seconds between checkpoints: so much is lost at most."""

_LOG_EVERY = 5.0  # seconds
_TELL_EVERY = 60.0


class Schedule:
    """Where a run is: what its checkpoint holds.

    Attributes:
        averaged: a running average of the weights, which is what gets exported.
        step: steps taken. done: minutes of training.
    """

    def __init__(
        self,
        plan: OwnPlan,
        teacher: Teacher,
        told: dict[str, Any],
        held: dict[str, Any] | None,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin, or go on from the checkpoint ``held``; ``clock`` tells the seconds."""
        self.plan, self.teacher, self.told, self.folder = plan, teacher, told, folder
        self.clock = clock
        self.network = teacher.network
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01,
            fused=True,
        )  # fmt: skip
        self.step, self.done = 0, 0.0
        if held is not None:
            self.network.load_state_dict(held["network"])
            self.averaged.load_state_dict(held["averaged"])
            self.optimizer.load_state_dict(held["optimizer"])
            self.step, self.done = held["step"], held["minutes"]

    def train(
        self,
        pages: Sequence[OwnPage],
        *,
        check: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """Take steps until the schedule ends, or ``check`` raises; the checkpoint is then whole."""
        plan = self.plan
        placed = [page for page in pages if any(page.spans)]
        warm = plan.minutes * plan.warm if placed else 0.0
        last = saved = logged = self.clock()
        told = last - _TELL_EVERY
        figures: list[dict[str, float]] = []
        try:
            while self.done < plan.minutes:
                check()
                warming = self.done < warm
                figures.append(self._learn(placed if warming else pages, warming=warming))
                self.step += 1
                now = self.clock()
                self.done, last = self.done + (now - last) / 60, now
                if now - logged > _LOG_EVERY or self.done >= plan.minutes:
                    line = self._log(figures, warming=warming)
                    figures, logged = [], now
                    if now - told > _TELL_EVERY:
                        tell("  ".join(f"{name} {value}" for name, value in line.items()))
                        told = now
                if now - saved > SAVE_EVERY:
                    self.save()
                    saved = now
        finally:
            self.save()

    def _learn(self, pages: Sequence[OwnPage], *, warming: bool) -> dict[str, float]:
        """One step: the user's pages, perhaps a rendered one, one update."""
        plan = self.plan
        rng = random.Random(f"{plan.seed}-{self.step}")
        torch.manual_seed(rng.randrange(2**31))
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate * rate_factor(self.done / plan.minutes)
        found: list[dict[str, float]] = []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            chosen = self._chosen(pages)
            for page in chosen:
                if warming:
                    loss, figures = self.teacher.from_places(page, rng)
                else:
                    loss, groups = self.teacher.from_rewards(page, rng)
                    figures = vars(groups)
                (loss / len(chosen)).backward()  # type: ignore[no-untyped-call]
                found.append(figures)
            # As many rendered pages as the share asks for, on average.
            wanted = len(chosen) * plan.rehearsal / (1 - plan.rehearsal)
            for _ in range(int(wanted) + (rng.random() < wanted % 1)):
                (self.teacher.from_rendered(rng) / len(chosen)).backward()  # type: ignore[no-untyped-call]
        if torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0).isfinite():
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        follow(self.averaged, self.network, min(0.99, 1 - 10 / (self.step + 10)))
        return _means(found)

    def _chosen(self, pages: Sequence[OwnPage]) -> list[OwnPage]:
        """The pages of this step: every page once an epoch, in an order of its own."""
        count = min(self.plan.pages, len(pages))
        chosen = []
        for place in range(self.step * count, (self.step + 1) * count):
            epoch, index = divmod(place, len(pages))
            order = list(range(len(pages)))
            random.Random(f"{self.plan.seed}-epoch-{epoch}").shuffle(order)
            chosen.append(pages[order[index]])
        return chosen

    def _log(self, figures: Sequence[dict[str, float]], *, warming: bool) -> dict[str, Any]:
        line: dict[str, Any] = {
            "step": self.step,
            "minute": round(self.done, 2),
            "from": "places" if warming else "rewards",
        }
        same = [one for one in figures if one.keys() == figures[-1].keys()]
        line |= {name: round(value, 4) for name, value in _means(same).items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return line

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.folder / "checkpoint.pt",
            run_state(self.network, self.averaged, self.optimizer, self.step, self.done)
            | {"told": self.told},
        )


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        name: sum(row[name] for row in rows) / len(rows)
        for name in dict.fromkeys(itertools.chain.from_iterable(rows))
    }
