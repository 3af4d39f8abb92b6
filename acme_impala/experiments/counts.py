"""What a program counts, and the learner's counter, which keeps what it could not pass on."""

import time
from collections.abc import Mapping

from acme.utils import counting

from acme_impala.config import IMPALAConfig
from acme_impala.experiments.remote import Remote

# Every count there is, so that logs have the same columns from their first row on.
COUNTS = (
    "actor_environments_lost",
    "actor_episodes",
    "actor_frames",
    "actor_steps",
    "actor_unrolls",
    "learner_frames",
    "learner_replayed_frames",
    "learner_steps",
    "learner_walltime",
)


def make_counter(counts: Mapping[str, float]) -> counting.Counter:
    """Makes the counter node, which goes on from the counts of a checkpoint."""
    counter = counting.Counter()
    counter.restore({"counts": {**dict.fromkeys(COUNTS, 0), **counts}, "cache": {}})
    return counter


class LearnerCounter(counting.Counter):
    """Counts what the learner does, and knows the program's other counts.

    Acme's counter forgets what it was about to pass on when that fails, as it may in the moment in
    which a program ends: a checkpoint would then hold less than the log.

    What was learned from was acted, even where the actors have not come to report it.
    """

    def __init__(self, program: Remote, agent: IMPALAConfig):
        super().__init__()
        self._frames_per_step = agent.frames_per_step
        self._program = program
        self._last_exchange = 0.0
        self._take_over(dict.fromkeys(COUNTS, 0))

    def increment(self, **counts: float) -> Mapping[str, float]:
        """Counts, here; returns all counts."""
        return super().increment(**{f"learner_{name}": n for name, n in counts.items()})

    def get_counts(self) -> Mapping[str, float]:
        """Returns all counts."""
        counts = super().get_counts()
        frames = counts["learner_frames"]
        least = {"actor_frames": frames, "actor_steps": frames // self._frames_per_step}
        return {**counts, **{name: max(counts[name], n) for name, n in least.items()}}

    def exchange(self, every_seconds: float = 0.0):
        """Passes on what was counted here since the last time, and takes over all counts.

        Args:
            every_seconds: nothing is done sooner than this after the last time.
        """
        if time.monotonic() - self._last_exchange < every_seconds:
            return
        counted = {name: n - self._taken_over[name] for name, n in super().get_counts().items()}
        self._take_over(self._program.increment(**counted))
        self._last_exchange = time.monotonic()

    def _take_over(self, counts: Mapping[str, float]):
        self._taken_over = counts
        self.restore({"counts": dict(counts), "cache": {}})
