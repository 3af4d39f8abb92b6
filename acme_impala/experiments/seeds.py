"""The seeds of a program's nodes, all from the experiment's."""

import numpy as np

from acme_impala.experiments.config import ExperimentConfig


def seeds(config: ExperimentConfig, node: int, learner_steps: int, *lives: int) -> tuple[int, int]:
    """Seeds of a node's environment and of its actions.

    Args:
        config: has the experiment's seed.
        node: a number of the node's own: 0 the evaluator, 1 and on the actors.
        learner_steps: where the run starts from, so that a continued run sees new episodes.
        lives: of the node's process and the learner's, likewise.
    """
    environment, actions = np.random.SeedSequence(
        [config.seed, node, learner_steps, *lives]
    ).generate_state(2)
    return int(environment), int(actions)
