"""What one page gives a step: a loss on places, on rewards, or on a rendered page.

The part of the network that reads, local and most of the work, stays as it is, and what it makes of
a page is computed once. What is trained looks around on the page, reads the question, and points.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.training.embedded_grpo import GroupFigures, group_loss
from cropvlm_core.training.embedded_policy import look_at
from cropvlm_core.training.losses import lesson_losses, stack
from cropvlm_core.training.network import PolicyNetwork
from cropvlm_core.training.own_documents.material import OwnPage
from cropvlm_core.training.page_store import Preparation
from cropvlm_core.training.pages.sheet import Asked, Page
from cropvlm_core.training.questions import VALIDATION_SEED
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.supervision import IGNORED, Lesson, lesson

RENDERED = 96
"""So many rendered pages are gone over again and again."""

_KEPT = 400  # pages of which it is kept what the fixed part makes of them, 1 to 2 MB each
_ASKED = ("grams", "right", "cell", "steps", "weight", "sides")  # of a lesson, a question each


@dataclass(frozen=True)
class _Read:
    """A page as the fixed part of the network leaves it; its pixels are not kept.

    ``lesson``: what is right about it. ``local``: local features (1, grid, rows, columns).
    """

    lesson: Lesson
    local: Tensor


class Teacher:
    """Makes losses of pages.

    Args:
        network: the policy that learns; the part that reads is frozen here.
        settings: those of its weight file.
        rewards: added up, an action's reward.
        group: actions a question.
        questions: the most questions of a page at a time.
        shuffle: the control: rewards and places are dealt out at random.
        seed: which rendered pages.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        settings: PolicySettings,
        rewards: Sequence[Reward],
        *,
        group: int,
        questions: int,
        shuffle: bool,
        seed: int,
    ) -> None:
        """Freeze what shall stay."""
        self.network, self.settings, self.rewards = network, settings, rewards
        self.group, self.questions, self.shuffle, self.seed = group, questions, shuffle, seed
        page = network.page
        for part in (page.stem, page.halve, page.read, page.narrow, page.local):
            part.requires_grad_(False)
        self._kept: OrderedDict[Hashable, _Read] = OrderedDict()

    def from_places(self, page: OwnPage, rng: random.Random) -> tuple[Tensor, dict[str, float]]:
        """The supervised loss on the questions of a page whose answers' places are known."""
        read = self._own(page)
        one = dealt_out(read.lesson, rng) if self.shuffle else read.lesson
        loss, figures = self._supervised(one, read.local, rng)
        return loss, {"pointed": float(figures["pointed"]), "pointing": float(figures["pointing"])}

    def from_rewards(self, page: OwnPage, rng: random.Random) -> tuple[Tensor, GroupFigures]:
        """The policy gradient's loss on questions of a page."""
        opened = page.opened()
        chosen = rng.sample(opened, min(self.questions, len(opened)))
        grams = torch.from_numpy(np.stack([question_input(one.question) for one in chosen]))
        features = self.network.page.with_context(self._own(page).local)
        return group_loss(
            self.network,
            look_at(self.network, features, grams[None]),
            page.prepared,
            chosen,
            self.settings,
            self.rewards,
            group=self.group,
            shuffle=rng if self.shuffle else None,
        )

    def from_rendered(self, rng: random.Random) -> Tensor:
        """The supervised loss on a page of the project's own, so that what it knew stays known."""
        how = Preparation(self.settings.budget, self.settings.line, max(1.0, self.settings.most))
        read = None
        while read is None:
            number = rng.randrange(RENDERED)
            seed = random.Random(f"{self.seed}-{number}").randrange(VALIDATION_SEED)
            read = self._read(seed, functools.partial(how.of_seed, seed))
        return self._supervised(read.lesson, read.local, rng)[0]

    def _supervised(
        self, one: Lesson, local: Tensor, rng: random.Random
    ) -> tuple[Tensor, dict[str, Tensor]]:
        batch = stack([_some(one, rng, self.questions)])
        encoded = local, self.network.page.with_context(local)
        return lesson_losses(self.network, batch, encoded=encoded)

    def _own(self, page: OwnPage) -> _Read:
        read = self._read(("own", id(page)), functools.partial(self._own_lesson, page))
        assert read is not None
        return read

    def _read(self, key: Hashable, make: Callable[[], Lesson | None]) -> _Read | None:
        """A page after the fixed part of the network, made once; None for one without questions."""
        if key not in self._kept:
            one = make()
            if one is None:
                return None
            with torch.no_grad():
                local = self.network.page.read_locally(one.pixels[None])
            bare = dataclasses.replace(one, pixels=one.pixels.new_zeros(0))
            self._kept[key] = _Read(bare, local)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _own_lesson(self, page: OwnPage) -> Lesson:
        """What is right about a page, at the size in which inference sees it."""
        asked = [
            Asked(question.question, "", spans, "own")
            for question, spans in zip(page.questions, page.spans, strict=True)
            if spans
        ]
        one = lesson(
            Page(page.opened()[0].open(), [word.printed for word in page.words], asked, "own"),
            random.Random(self.seed),
            self.settings.budget,
            line=self.settings.line,
            most=self.settings.most,
            questions=len(asked),
        )
        # Where each letter of a word stands is not known well enough to teach letters.
        return dataclasses.replace(one, letters=torch.full_like(one.letters, IGNORED))


def _some(one: Lesson, rng: random.Random, count: int) -> Lesson:
    """A lesson with ``count`` of its questions at most."""
    there = [index for index, weight in enumerate(one.weight.tolist()) if weight > 0]
    kept = torch.tensor(rng.sample(there, min(count, len(there))))
    return dataclasses.replace(one, **{name: getattr(one, name)[kept] for name in _ASKED})


def dealt_out(one: Lesson, rng: random.Random) -> Lesson:
    """A lesson whose questions have each other's answers."""
    order = list(range(len(one.grams)))
    rng.shuffle(order)
    return dataclasses.replace(one, grams=one.grams[torch.tensor(order)])
