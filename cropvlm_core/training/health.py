"""The health of a GRPO run: figures of a batch of rollouts, and where alarms go off."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropvlm_core.box import Box, union_area
from cropvlm_core.errors import DataError
from cropvlm_core.training.rollouts import Rollout

Rewards = Mapping[str, Sequence[float | None]]
"""Of each reward by name, one value a rollout; None where it has none."""

NOISE = 1e-4
"""Advantages closer than this differ by rounding only."""


@dataclass(frozen=True)
class Health:
    """Figures of a batch of rollouts, all 0..1; None where there is nothing to count.

    Attributes:
        no_signal: share of the groups whose advantages are all equal, so that they teach nothing.
        area: mean share of the page that the crops show; the whole page counts 1.
        same_box: share of the rollouts that wrote the most frequent box, letter by letter.
        unreadable: share of the rollouts without a readable box.
        no_zoom: share of the rollouts that show only the whole page, by word or by box.
        repaired: share of the rollouts whose box was reversed or partly off the page.
        missing_rewards: share of the rollouts without a value, of the reward that lacks most.
        hit_rate: share of hits among the rollouts whose question knows where its answer stands;
            the whole page is a hit.
    """

    no_signal: float | None
    area: float
    same_box: float
    unreadable: float
    no_zoom: float
    repaired: float
    missing_rewards: float | None
    hit_rate: float | None

    @classmethod
    def of(
        cls,
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        rewards: Rewards | None = None,
    ) -> Health:
        """Return the figures of one rewarded batch, of any number of groups.

        Raises:
            DataError: no rollout, or not one advantage and value a rollout.
        """
        check_batch(rollouts, advantages, rewards or {})
        groups = [group for group in groups_of(rollouts) if len(group) > 1]
        silent = [_spread([advantages[index] for index in group]) <= NOISE for group in groups]
        crops = [[crop.box for crop in rollout.zoom.crops] for rollout in rollouts]
        reasons = Counter(rollout.zoom.reason for rollout in rollouts)
        hits = [
            hit
            for rollout, boxes in zip(rollouts, crops, strict=True)
            if (hit := rollout.question.hit(boxes)) is not None
        ]
        missing = [
            sum(value is None or math.isnan(value) for value in values) / len(rollouts)
            for values in (rewards or {}).values()
        ]
        return cls(
            no_signal=statistics.fmean(silent) if silent else None,
            area=statistics.fmean(union_area(boxes) if boxes else 1.0 for boxes in crops),
            same_box=same_box_share(map(written_box, rollouts)),
            unreadable=reasons["unreadable"] / len(rollouts),
            no_zoom=reasons["no_zoom_needed"] / len(rollouts),
            repaired=statistics.fmean(rollout.repaired for rollout in rollouts),
            missing_rewards=max(missing) if missing else None,
            hit_rate=statistics.fmean(hits) if hits else None,
        )


@dataclass(frozen=True)
class Limits:
    """Where alarms go off; shares 0..1, see :class:`Health` and :class:`SamePlace`.

    Attributes:
        memory: about how many batches a moving figure looks back, and how many must have been
            seen before its first alarm.
        release: an alarm goes off again only after its figure was back at this share of its limit
            (for ``smallest_area``: the limit over this share).
    """

    no_signal: float = 0.7
    largest_area: float = 0.8
    smallest_area: float = 0.005
    same_box: float = 0.5
    same_place: float = 0.9
    unreadable: float = 0.1
    no_zoom: float = 0.8
    repaired: float = 0.2
    missing_rewards: float = 0.1
    memory: int = 20
    release: float = 0.8

    def __post_init__(self) -> None:
        """Check what would make the figures meaningless.

        Raises:
            DataError: ``memory`` is below 1, or ``release`` not above 0 and at most 1.
        """
        if self.memory < 1 or not 0 < self.release <= 1:
            raise DataError(
                "expected memory >= 1 and release above 0 and at most 1, "
                f"got {self.memory} and {self.release}"
            )


class SamePlace:
    """How alike the boxes for different questions are, beside those for the same one: 0..1.

    The mean intersection over union of two boxes for neighbouring questions, over that of two boxes
    for one question. A policy that does not look at the question, be it at a fixed place or at
    random ones, is at 1. Boxes of the whole page are left out: they have figures of their own.
    """

    def __init__(self, memory: int) -> None:
        """Look back over ``memory`` batches."""
        self._sums: deque[tuple[float, int, float, int]] = deque(maxlen=memory)
        self._last: Sequence[Box] = ()

    def take(self, rollouts: Sequence[Rollout]) -> float | None:
        """Take a batch; return the share, None where nothing can be compared."""
        boxes = [next(iter(rollout.proposal.boxes), None) for rollout in rollouts]
        drawn = [
            [box for index in group if (box := boxes[index]) is not None and not box.is_whole]
            for group in groups_of(rollouts)
        ]
        same = [a.iou(b) for group in drawn for a, b in itertools.combinations(group, 2)]
        pairs = itertools.pairwise([self._last, *drawn])
        other = [a.iou(b) for group, more in pairs for a in group for b in more]
        self._last = drawn[-1]
        self._sums.append((sum(same), len(same), sum(other), len(other)))
        alike, pairs_alike, apart, pairs_apart = map(sum, zip(*self._sums, strict=True))
        if not pairs_apart or alike <= 0:
            return None
        return float(min(1.0, (apart / pairs_apart) / (alike / pairs_alike)))


def check_batch(rollouts: Sequence[Rollout], advantages: Sequence[float], rewards: Rewards) -> None:
    """Check that a batch is complete.

    Raises:
        DataError: no rollout, or not one advantage and value a rollout.
    """
    if not rollouts:
        raise DataError("expected at least one rollout, got none")
    for name, values in {"advantages": advantages, **rewards}.items():
        if len(values) != len(rollouts):
            raise DataError(f"expected {len(rollouts)} {name}, one a rollout, got {len(values)}")


def groups_of(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Return the indexes of the rollouts of each question, in order."""
    groups: dict[Any, list[int]] = {}
    for index, rollout in enumerate(rollouts):
        asked = rollout.question
        page = asked.image if isinstance(asked.image, str | bytes | Path) else id(asked.image)
        groups.setdefault((page, asked.question, asked.id), []).append(index)
    return list(groups.values())


def same_box_share(written: Iterable[str | None]) -> float:
    """Return the share of the most frequent of texts, None counted but never it."""
    counts = Counter(written)
    boxes = [count for text, count in counts.items() if text is not None]
    return max(boxes, default=0) / counts.total()


def written_box(rollout: Rollout) -> str | None:
    """Return the text of a reply that holds a readable box, else None."""
    return rollout.text.strip() if rollout.proposal.boxes else None


def percent(share: float) -> str:
    """Return a share 0..1 with two digits, such as ``4.5 %``."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
