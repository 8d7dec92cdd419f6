"""What a reward tells: a value that a step can be taken by, or none; whatever it returns."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cropvlm_core.errors import DataError, ModelError
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.rollouts import Rollout

logger = logging.getLogger(__name__)

LARGEST = 1e30
"""No reward is larger, so that sums and differences stay finite in float32."""


def values_of(reward: Reward, rollouts: Sequence[Rollout]) -> list[float | None]:
    """Ask ``reward`` for its values; None wherever there is none that a step can be taken by.

    A call that fails (``ModelError``) and a value that is NaN, infinite or beyond 1e30 tell nothing
    about a box; they are logged.

    Raises:
        DataError: not one value a rollout.
    """
    name = reward.__name__
    try:
        values = reward(rollouts)
    except ModelError as error:
        logger.warning("%s has no value for %d rollouts: %s", name, len(rollouts), error)
        return [None] * len(rollouts)
    if len(values) != len(rollouts):
        raise DataError(f"expected {len(rollouts)} values of {name}, got {len(values)}")
    known = [
        None if value is None or not abs(value) <= LARGEST else float(value) for value in values
    ]
    if spoilt := known.count(None) - list(values).count(None):
        logger.warning("%d of %d values of %s are not finite", spoilt, len(values), name)
    return known
