"""The table of an evaluation: a row a task, and for several tasks the suite's figures."""

import csv
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from acme_impala import environments


class Row(NamedTuple):
    """A task, or a figure of the suite, which has a human-normalised score only."""

    task: str
    episodes: int | None = None
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    human_normalized: float | None = None  # In percent, of the mean; None: no human score is known.


def make_table(scores: Mapping[str, Sequence[float]]) -> list[Row]:
    """Makes the rows of the tasks, in their order, and of the suite.

    The suite are the tasks whose human scores are known; it has rows if there are several. Their
    names say how many tasks they sum up.

    Args:
        scores: of the whole games (undiscounted and unclipped) that were played, by task.

    Raises:
        ValueError: a task has no scores.
    """
    rows = [_row(task, games) for task, games in scores.items()]
    known = [row.human_normalized for row in rows if row.human_normalized is not None]
    if len(known) > 1:
        suite = environments.suite_scores(known)
        rows += [
            Row(f"{figure.replace('_', ' ')} of {len(known)} tasks", human_normalized=score)
            for figure, score in suite._asdict().items()
        ]
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """Lays a table out for people, with two decimals; columns that no row fills are left out."""
    titles = ["task", "episodes", "mean", "std", "min", "max", "human-normalised %"]
    columns = [
        [title, *map(_cell, column)]
        for title, column in zip(titles, zip(*rows, strict=True), strict=True)
        if any(value is not None for value in column)
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        f"| {line[0]:<{widths[0]}} | "
        + " | ".join(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        + " |"
        for line in zip(*columns, strict=True)
    ]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([lines[0], f"{rule}|", *lines[1:]])


def write_csv(rows: Sequence[Row], path: str | os.PathLike):
    """Writes a table for programs, in full precision, with the names of `Row`'s fields on top.

    Raises:
        OSError: the file cannot be written.
    """
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)  # None becomes an empty field.


def _row(task: str, games: Sequence[float]) -> Row:
    if len(games) == 0:
        raise ValueError(f"There is no score of {task!r}: play at least one episode of each task.")
    mean = float(np.mean(games))
    return Row(
        task,
        len(games),
        mean,
        float(np.std(games)),
        float(np.min(games)),
        float(np.max(games)),
        environments.human_normalized_score(task, mean),
    )


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
