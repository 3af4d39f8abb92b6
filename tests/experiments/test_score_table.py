"""Score tables: rows of tasks, the suite's figures, and both ways to write them."""

import csv

import pytest

from acme_impala.experiments import score_table
from acme_impala.experiments.score_table import Row

SCORES = {
    "atari:pong": [14.6, 14.6],  # Human.
    "catch": [1.0, -1.0, 1.0],
    "atari:breakout": [1.7 + 3 * 28.8],  # Three times human.
    "atari:freeway": [0.0, 0.0],  # Random.
}


def test_a_task_has_mean_spread_and_human_normalised_score():
    (row,) = score_table.make_table({"atari:boxing": [0.1, 24.1]})
    assert row == Row("atari:boxing", 2, *map(pytest.approx, (12.1, 12.0, 0.1, 24.1, 100.0)))


def test_where_no_human_score_is_known_there_is_none():
    (row,) = score_table.make_table({"catch": [1.0, -1.0]})
    assert row == Row("catch", 2, 0.0, 1.0, -1.0, 1.0, None)


def test_a_suite_has_mean_median_and_capped_mean_of_the_tasks_that_humans_played():
    rows = score_table.make_table(SCORES)
    assert [row.task for row in rows[:4]] == list(SCORES)
    assert rows[4:] == [
        Row("mean of 3 tasks", human_normalized=pytest.approx(400 / 3)),
        Row("median of 3 tasks", human_normalized=pytest.approx(100.0)),
        Row("mean capped of 3 tasks", human_normalized=pytest.approx(200 / 3)),
    ]


@pytest.mark.parametrize(
    "scores", [{"atari:pong": [1.0]}, {"atari:pong": [1.0], "catch": [1.0]}, {"catch": [1.0]}]
)
def test_there_is_no_suite_of_a_single_task(scores):
    assert [row.task for row in score_table.make_table(scores)] == list(scores)


def test_a_task_that_was_not_played_is_refused():
    with pytest.raises(ValueError, match="no score of 'catch': play at least one episode"):
        score_table.make_table({"atari:pong": [1.0], "catch": []})


def test_a_table_for_people():
    assert score_table.to_markdown(score_table.make_table(SCORES)).splitlines() == [
        "| task                   | episodes |  mean |  std |   min |   max | human-normalised % |",
        "|------------------------|---------:|------:|-----:|------:|------:|-------------------:|",
        "| atari:pong             |        2 | 14.60 | 0.00 | 14.60 | 14.60 |             100.00 |",
        "| catch                  |        3 |  0.33 | 0.94 | -1.00 |  1.00 |                    |",
        "| atari:breakout         |        1 | 88.10 | 0.00 | 88.10 | 88.10 |             300.00 |",
        "| atari:freeway          |        2 |  0.00 | 0.00 |  0.00 |  0.00 |               0.00 |",
        "| mean of 3 tasks        |          |       |      |       |       |             133.33 |",
        "| median of 3 tasks      |          |       |      |       |       |             100.00 |",
        "| mean capped of 3 tasks |          |       |      |       |       |              66.67 |",
    ]


def test_people_are_not_shown_an_empty_column():
    table = score_table.to_markdown(score_table.make_table({"catch": [1.0]}))
    assert table.splitlines()[0] == "| task  | episodes | mean |  std |  min |  max |"


def test_a_table_for_programs(tmp_path):
    rows = score_table.make_table(SCORES)
    score_table.write_csv(rows, tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["task"] for row in read] == [row.task for row in rows]
    assert [list(row) for row in read] == [list(Row._fields)] * len(rows)
    for name in Row._fields[1:]:
        for text, value in zip(
            [row[name] for row in read], [getattr(r, name) for r in rows], strict=True
        ):
            assert text == "" if value is None else float(text) == value
