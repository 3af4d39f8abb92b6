"""The learning curve as a picture."""

import os
from collections.abc import Sequence

import numpy as np

from acme_impala.experiments import logs
from acme_impala.experiments.run_directory import RunDirectory


def plot(directory: RunDirectory, title: str):
    """Draws returns over environment frames from the logs into learning_curve.png.

    Training episodes as dots (each the mean of a second or so of one actor), evaluations as a line
    with the range of their episodes. Atari's training episodes are lives; there the dots are the
    scores of whole games.
    """
    from matplotlib import figure  # Half a second, which only those who draw should wait for.

    training = [row for path in directory.logs.glob("actor_*.csv") for row in logs.read_rows(path)]
    evaluations = logs.read_rows(directory.logs / "evaluator.csv")
    picture = figure.Figure(figsize=(8, 5), layout="constrained")
    axes = picture.add_subplot()
    if training:
        scores = _column(training, "score")
        axes.plot(
            _column(training, logs.FRAMES), scores, ".", color="0.75", markersize=3,
            label="training", zorder=1,
        )  # fmt: skip
    if evaluations:
        frames = _column(evaluations, logs.FRAMES)
        axes.plot(frames, _column(evaluations, "episode_return"), color="C0", label="evaluation")
        low = _column(evaluations, "episode_return_min")
        high = _column(evaluations, "episode_return_max")
        axes.fill_between(frames, low, high, color="C0", alpha=0.2, linewidth=0)
    axes.set(xlabel="environment frames", ylabel="return", title=title)
    axes.grid(alpha=0.3)
    if training or evaluations:
        axes.legend(loc="lower right")
    fresh = directory.learning_curve.with_suffix(".new.png")
    picture.savefig(fresh, dpi=120)
    os.replace(fresh, directory.learning_curve)


def _column(rows: Sequence[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])
