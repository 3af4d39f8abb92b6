"""Scores between a random policy's and a human's, for one task and for a suite of tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from acme_impala.environments.atari57 import ATARI_57
from acme_impala.environments.dmlab30 import DMLAB_30


def human_normalized_score(task: str, score: float) -> float | None:
    """Returns 100 * (score - random) / (human - random): percent, 0 random and 100 human.

    Args:
        task: an environment's name, as `EnvironmentFactory` takes it.
        score: mean, undiscounted and unclipped, of whole games.

    Returns:
        None where no human score is known.
    """
    reference = _REFERENCES.get(_letters(task))
    if reference is None:
        return None
    return 100.0 * (score - reference.random) / (reference.human - reference.random)


class SuiteScores(NamedTuple):
    """What the paper sums a suite up with, in percent."""

    mean: float
    median: float
    mean_capped: float  # No task counts for more than 100: none makes up for another.


def suite_scores(human_normalized: Sequence[float]) -> SuiteScores:
    """Sums up the human-normalised scores of a suite's tasks.

    Args:
        human_normalized: in percent, one a task.

    Raises:
        ValueError: there is none.
    """
    if len(human_normalized) == 0:
        raise ValueError("A suite's scores need the score of at least one task, got none.")
    return SuiteScores(
        mean=float(np.mean(human_normalized)),
        median=float(np.median(human_normalized)),
        mean_capped=float(np.mean(np.minimum(human_normalized, 100.0))),
    )


def _letters(task: str) -> str:
    """Drops what differs between 'atari:space_invaders' and 'atari:SpaceInvaders'."""
    return task.replace("_", "").lower()


_REFERENCES = {
    _letters(f"{kind}:{task}"): scores
    for kind, suite in (("atari", ATARI_57), ("dmlab", DMLAB_30))
    for task, scores in suite.items()
}
