"""What a rollout is worth.

The paper (CropVLM, arXiv 2511.19820, section on GRPO) shows a frozen model the page with the crop
and takes the log-likelihood of the right answer, or the score of the answer that the model gives,
and adds 1 for a well-formed box. Here those are :class:`AnswerLikelihood`, :class:`AnswerScore` and
:func:`valid_box`; :class:`CropArea` is ours. A reward gives one value a rollout, None where it has
none: a model that failed tells nothing about a box.

A reply that is no legal one (no readable box, or "No zoom needed." where that may not be said) is
never made into a box. What it gets instead is named: ``unreadable``.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from cropvlm_core.box import union_area
from cropvlm_core.errors import DataError, ModelError, shorten
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.scoring import METRICS, Metric
from cropvlm_core.training.frozen_vlm import FrozenVLM
from cropvlm_core.training.rollouts import Rollout
from cropvlm_core.vlm import VLM, Conversation, ScoringVLM
from cropvlm_core.zoom import Zoom

logger = logging.getLogger(__name__)


class Reward(Protocol):
    """A function, or an object that can be pickled, under a name of its own."""

    @property
    def __name__(self) -> str:
        """What its figures are logged under."""
        ...

    def __call__(self, rollouts: Sequence[Rollout], /) -> list[float | None]:
        """Return one value a rollout, in order; None where there is none."""
        ...


@runtime_checkable
class TokenCountingVLM(ScoringVLM, Protocol):
    """A VLM that tells over how many tokens its log-likelihood is summed."""

    def token_counts(self, replies: Sequence[str]) -> list[int]:
        """Return the number of tokens of each reply."""
        ...


def reward_names(rewards: Sequence[Reward]) -> list[str]:
    """Return the names of ``rewards``, in order.

    Raises:
        ValueError: there is none, one has no name, or two have the same.
    """
    names = [getattr(reward, "__name__", None) for reward in rewards]
    known = [name for name in names if isinstance(name, str) and name]
    if not rewards or len(known) != len(names) or len(set(known)) != len(known):
        raise ValueError(f"expected rewards, each with a __name__ of its own, got {shorten(names)}")
    return known


def valid_box(rollouts: Sequence[Rollout]) -> list[float | None]:
    """Return 1 for a well-formed box that leads to a crop, or for a legal refusal, else 0.

    A box that had to be repaired is not well-formed; one that shows the whole page is no crop.
    """
    return [
        1.0 if rollout.declined or (rollout.zoom.crops and not rollout.repaired) else 0.0
        for rollout in rollouts
    ]


@dataclasses.dataclass(frozen=True)
class CropArea:
    """A price on what the target is shown again: ``-price`` times the crop's share of the page.

    A legal "No zoom needed." is free. Whatever else shows no crop, be it a box around the whole
    page or none that can be read, costs the whole page.

    Raises:
        ValueError: the price is negative or not finite.
    """

    price: float

    def __post_init__(self) -> None:
        """Check the price."""
        _check_penalty("price", self.price)

    @property
    def __name__(self) -> str:
        """What its figures are logged under."""
        return "crop_area"

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """Return the negative price of each crop."""
        return [0.0 if each.declined else -self.price * _area(each.zoom) for each in rollouts]


@dataclasses.dataclass(frozen=True)
class AnswerLikelihood:
    """Log-likelihood (nats) of the right answer, given page and crop, under a frozen VLM.

    A reply without a legal box gets what the answer is worth with the page alone, which is what
    would be shown at inference, less ``unreadable``: so it is never better than no crop, and the
    reward's scale does not matter. Rollouts that show the same are asked about once, and the page
    is one image object throughout, so that a model can read it once. A value that is not finite is
    missing.

    Args:
        vlm: the model; it is given the answer verbatim (see :func:`gold_answer`).
        per_token: divide by the answer's tokens, so that long answers weigh no more than short
            ones; otherwise the sum, as in the paper.
        unreadable: nats (a token, with ``per_token``) taken off for a reply without a legal box.

    Raises:
        TypeError: the VLM gives no log-likelihood, or does not count tokens for ``per_token``.
        ValueError: the penalty is negative or not finite.
    """

    vlm: ScoringVLM
    _: dataclasses.KW_ONLY
    per_token: bool = False
    unreadable: float = 1.0

    def __post_init__(self) -> None:
        """Check that the VLM can do what is needed."""
        _check_penalty("unreadable", self.unreadable)
        kind = type(self.vlm).__name__
        if not isinstance(self.vlm, ScoringVLM):
            raise TypeError(f"expected a VLM with log_likelihood, got {kind}: use AnswerScore")
        if self.per_token and not isinstance(self.vlm, TokenCountingVLM):
            raise TypeError(f"expected a VLM with token_counts for per_token=True, got {kind}")

    @property
    def __name__(self) -> str:
        """What its figures are logged under."""
        return "answer_likelihood_per_token" if self.per_token else "answer_likelihood"

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """Ask about each different view once, all in one call.

        Raises:
            DataError: a question without an answer.
            ModelError: the model failed.
        """
        if not rollouts:
            return []
        rows = [(rollout.view, gold_answer(rollout.question)) for rollout in rollouts]
        zooms = {row: rollout.zoom for row, rollout in zip(rows, rollouts, strict=True)}
        values = self._likelihoods(
            [zoom.conversation() for zoom in zooms.values()], [answer for _, answer in zooms]
        )
        known = dict(zip(zooms, values, strict=True))
        if missing := sum(not math.isfinite(value) for value in values):
            logger.warning("%d of %d log-likelihoods are not finite", missing, len(values))
        return [
            _finite(known[row] - (0.0 if rollout.legal else self.unreadable))
            for row, rollout in zip(rows, rollouts, strict=True)
        ]

    def _likelihoods(
        self, conversations: Sequence[Conversation], answers: Sequence[str]
    ) -> list[float]:
        sums = self.vlm.log_likelihood(conversations, answers)
        if len(sums) != len(answers):
            raise ModelError(f"expected {len(answers)} log-likelihoods, got {len(sums)}")
        if not isinstance(self.vlm, TokenCountingVLM) or not self.per_token:
            return sums
        counts = self.vlm.token_counts(answers)
        if len(counts) != len(answers) or min(counts) < 1:
            raise ModelError(
                f"expected the tokens of {len(answers)} answers, got {shorten(counts)}"
            )
        return [value / count for value, count in zip(sums, counts, strict=True)]


class AnswerScore:
    """Score of what a frozen VLM answers, given page and crop; for any VLM, behind an API too.

    A VLM with ``areply`` is asked ``max_parallel`` conversations at a time, any other one all at
    once. Rollouts that show the same are asked about once; replies are kept. A conversation that
    fails (``ModelError``) leaves its rollouts without a value, never with 0, costs no other
    conversation its reply, is logged, and is asked again the next time.
    """

    def __init__(
        self,
        vlm: VLM,
        metric: str | Metric = "anls",
        *,
        unreadable: float = -1.0,
        cache: str | os.PathLike[str] | None = None,
        identity: str | None = None,
        remembered: int = 100_000,
        max_parallel: int = 8,
    ) -> None:
        """Ask ``vlm`` and score its replies by ``metric``.

        Args:
            vlm: the model; it retries by itself, if at all.
            metric: ``mixed_accuracy`` (the paper's), ``anls``, ``vqa_accuracy``, ``exact_match``,
                ``relaxed_accuracy``, or a function
                of the reply and the right answers.
            unreadable: the reward of a reply without a legal box, which is not asked about. The
                metrics named give 0..1.
            cache: a file of replies, for runs that go on later.
            identity: a text that changes when the replies may (see ``training.frozen_vlm``).
            remembered: the most replies held in memory.
            max_parallel: conversations under way at once.

        Raises:
            ValueError: an unknown metric, a number out of range, or a ``cache`` for a VLM whose
                identity nobody tells.
            SourceError: the file cannot be made or read.
        """
        if isinstance(metric, str) and metric not in METRICS:
            raise ValueError(f"expected a metric of {sorted(METRICS)}, got {shorten(metric)}")
        if not math.isfinite(unreadable):
            raise ValueError(f"expected unreadable to be finite, got {unreadable}")
        self.metric = METRICS[metric] if isinstance(metric, str) else metric
        self.unreadable = unreadable
        self.frozen = FrozenVLM(
            vlm,
            cache=cache,
            identity=identity,
            remembered=remembered,
            max_parallel=max_parallel,
        )
        name = getattr(self.metric, "__name__", type(self.metric).__name__)
        self.__name__ = f"answer_score_{name}"

    @property
    def vlm(self) -> VLM:
        """The model that is asked."""
        return self.frozen.vlm

    @property
    def failures(self) -> int:
        """Conversations that got no reply, so far."""
        return self.frozen.failures

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """Ask about each different view that has no reply yet.

        Raises:
            DataError: a question without an answer.
            SourceError: the file of replies cannot be read or written any more.
        """
        for rollout in rollouts:
            gold_answer(rollout.question)
        replies = iter(self.frozen.replies([each.zoom for each in rollouts if each.legal]))
        return [
            self._score(rollout, next(replies)) if rollout.legal else self.unreadable
            for rollout in rollouts
        ]

    def _score(self, rollout: Rollout, reply: str | None) -> float | None:
        return None if reply is None else float(self.metric(reply, rollout.question.answers))


def gold_answer(question: AnsweredQuestion) -> str:
    """Return the one right answer whose likelihood counts, verbatim.

    The paper has one a question. Of several, such as those of ten annotators, it is the most
    frequent; of equally frequent ones the first, which sets list as the main spelling.

    Raises:
        DataError: the question has no answer, or only blank ones.
    """
    counts = Counter(answer for answer in question.answers if answer.strip())
    if not counts:
        name = shorten(question.id or question.question)
        raise DataError(f"expected a question with an answer, got none for {name}")
    return counts.most_common(1)[0][0]


def _area(zoom: Zoom) -> float:
    return union_area(crop.box for crop in zoom.crops) if zoom.crops else 1.0


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _check_penalty(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"expected {name} >= 0 and finite, got {shorten(value)}")
