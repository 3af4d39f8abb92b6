"""The learning curve as a picture."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from acme_impala.experiments import logs
from acme_impala.experiments.run_directory import RunDirectory

_SUITE = "human_normalized_mean_capped"  # In the evaluator's log of tasks with human scores.
_RANGE = ("episode_return_min", "episode_return_max")
_MARKED = ".-"  # A line, and its points: there may be only one.


def plot(directory: RunDirectory, title: str, tasks: Sequence[str] = ()):
    """Draws returns over environment frames from the logs into learning_curve.png.

    Training episodes as dots (each the mean of a second or so of one actor), evaluations as a line
    with the range of their episodes. Atari's training episodes are lives; there the dots are the
    scores of whole games.

    Args:
        directory: of the run.
        title: of the picture.
        tasks: the names of several tasks, each of which has a picture of its own; where human
            scores are known, the suite has one too, of its human-normalised scores.
    """
    from matplotlib import figure  # Half a second, which only those who draw should wait for.

    evaluations = logs.read_rows(directory.logs / "evaluator.csv")
    if tasks:
        is_normalized = bool(evaluations) and _SUITE in evaluations[0]
        columns = math.ceil(math.sqrt(len(tasks) + is_normalized))
        rows = math.ceil((len(tasks) + is_normalized) / columns)
        picture = figure.Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
        picture.suptitle(title)
        axes = picture.subplots(rows, columns, squeeze=False).ravel()
        for axis, task in zip(axes, tasks, strict=False):
            training = _read_training(directory, logs.task_pattern(task))
            _draw(axis, task, training, evaluations, f"episode_return/{task}", None)
        if is_normalized:
            _draw_suite(axes[len(tasks)], evaluations)
        for axis in axes[: len(tasks) + is_normalized]:
            axis.locator_params(axis="x", nbins=5)  # More numbers run into each other.
        for axis in axes[len(tasks) + is_normalized :]:
            axis.set_axis_off()
    else:
        picture = figure.Figure(figsize=(8, 5), layout="constrained")
        training = _read_training(directory, "actor_*.csv")
        _draw(picture.add_subplot(), title, training, evaluations, "episode_return", _RANGE)
    fresh = directory.learning_curve.with_suffix(".new.png")
    picture.savefig(fresh, dpi=120)
    os.replace(fresh, directory.learning_curve)


def _read_training(directory: RunDirectory, pattern: str) -> list[dict[str, str]]:
    """Reads the rows of all actors' logs."""
    return [row for path in directory.logs.glob(pattern) for row in logs.read_rows(path)]


def _draw(
    axes: Any,
    title: str,
    training: Sequence[dict[str, str]],
    evaluations: Sequence[dict[str, str]],
    column: str,
    range_: tuple[str, str] | None,
):
    if training:
        axes.plot(
            _column(training, logs.FRAMES), _column(training, "score"), ".", color="0.75",
            markersize=3, label="training", zorder=1,
        )  # fmt: skip
    if evaluations:
        frames = _column(evaluations, logs.FRAMES)
        axes.plot(frames, _column(evaluations, column), _MARKED, color="C0", label="evaluation")
        if range_:
            low, high = (_column(evaluations, name) for name in range_)
            axes.fill_between(
                frames, low, high, color="C0", alpha=0.2, linewidth=0, label="its episodes' range"
            )
    axes.set(xlabel="environment frames", ylabel="return", title=title)
    axes.grid(alpha=0.3)
    if training or evaluations:
        axes.legend(loc="lower right")
    else:
        axes.text(0.5, 0.5, "No episode has ended yet.", transform=axes.transAxes, ha="center")


def _draw_suite(axes: Any, evaluations: Sequence[dict[str, str]]):
    for figure in (_SUITE, "human_normalized_median"):
        label = figure.removeprefix("human_normalized_").replace("_", " ")
        frames = _column(evaluations, logs.FRAMES)
        axes.plot(frames, _column(evaluations, figure), _MARKED, label=label)
    axes.set(xlabel="environment frames", ylabel="%", title="suite, human-normalised")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _column(rows: Sequence[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row.get(name) or "nan") for row in rows])
