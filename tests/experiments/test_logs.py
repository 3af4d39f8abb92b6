"""Logs: rows by the second, whole after a crash, and one table over all of a run's starts."""

import csv
import math
import time

import pytest
from acme.utils import loggers

from acme_impala.experiments import logs
from acme_impala.experiments.run_directory import RunDirectory


class Memory(loggers.Logger):
    """Keeps the rows it is given."""

    def __init__(self):
        self.rows = []
        self.closed = False

    def write(self, data):
        self.rows.append(data)

    def close(self):
        self.closed = True


def write(directory, node, frames):
    logger = logs.make_logger(directory, node)
    for number in frames:
        logger.write({"frames": number, "b": number / 8, "a": -0.5})
    logger.close()


def at(frames):
    """The counts of a checkpoint after so many frames learned from; actors are a little ahead."""
    return {"learner_frames": frames, "actor_frames": frames + 5}


def frames_of(directory, node):
    return [float(row["frames"]) for row in logs.read_rows(directory.logs / f"{node}.csv")]


def test_rows_go_to_csv_and_tensorboard(directory):
    logger = logs.make_logger(directory, "actor_3")
    logger.write({"frames": 10, "episode_return": 1.5})
    logger.close()
    rows = logs.read_rows(directory.logs / "actor_3.csv")
    assert rows == [{"episode_return": "1.5", "frames": "10"}]
    events = list((directory.tensorboard / "actor_3").glob("events*"))
    assert len(events) == 1
    assert b"actor/episode_return" in events[0].read_bytes()


def test_a_row_can_be_read_as_soon_as_it_is_written(directory):
    logger = logs.make_logger(directory, "learner")
    for number in (1, 2, 3):
        logger.write({"frames": number})
        assert frames_of(directory, "learner")[-1] == number


def test_an_event_is_in_its_file_as_soon_as_it_is_written(directory):
    """Actors and evaluator end without closing their loggers."""
    logger = logs.make_logger(directory, "evaluator")
    logger.write({"frames": 10, "episode_return": 1.5})
    (events,) = (directory.tensorboard / "evaluator").glob("events*")
    assert b"evaluator/episode_return" in events.read_bytes()
    logger.close()


def test_a_throttle_passes_the_first_row_and_then_one_every_few_seconds():
    memory = Memory()
    throttle = logs.Throttle(memory, 0.3)
    start = time.monotonic()
    number = 0
    while time.monotonic() - start < 1.0:
        throttle.write({"frames": number})
        number += 1
        time.sleep(0.01)
    assert memory.rows[0] == {"frames": 0}
    assert 3 <= len(memory.rows) <= 4


def test_a_throttle_gives_the_row_it_held_back_when_it_is_closed():
    memory = Memory()
    throttle = logs.Throttle(memory, 1e9)
    for number in range(3):
        throttle.write({"frames": number})
    throttle.close()
    assert memory.rows == [{"frames": 0}, {"frames": 2}]
    assert memory.closed


def test_a_throttle_gives_no_row_twice():
    memory = Memory()
    throttle = logs.Throttle(memory, 1e9)
    throttle.write({"frames": 0})
    throttle.close()
    assert memory.rows == [{"frames": 0}]


def test_a_throttle_of_no_time_passes_everything():
    memory = Memory()
    throttle = logs.Throttle(memory, 0.0)
    for number in range(5):
        throttle.write({"frames": number})
    assert len(memory.rows) == 5


def test_what_was_logged_after_the_checkpoint_is_taken_out_everywhere(directory):
    write(directory, "learner", [10, 20, 30])
    write(directory, "actor_0", [15, 20, 20, 25])
    write(directory, "evaluator", [30])
    logs.cut_back(directory, at(20))
    assert frames_of(directory, "learner") == [10, 20]
    assert frames_of(directory, "actor_0") == [15, 20, 20]
    assert frames_of(directory, "evaluator") == []
    assert not list(directory.logs.glob("*.new"))


def test_what_was_acted_after_the_checkpoint_is_taken_out_too(directory):
    """A row may be of few frames learned from, as the actor knew of them when it wrote it."""
    logger = logs.make_logger(directory, "actor_0")
    for learned, acted in [(10, 12), (10, 25), (20, 26)]:
        logger.write({"frames": learned, "actor_frames": acted})
    logger.close()
    logs.cut_back(directory, at(20))
    rows = logs.read_rows(directory.logs / "actor_0.csv")
    assert [row["actor_frames"] for row in rows] == ["12", "25"]


def test_without_a_checkpoint_everything_is_taken_out(directory):
    write(directory, "learner", [0, 10])
    logs.cut_back(directory, {})
    assert frames_of(directory, "learner") == []


def test_what_is_kept_is_kept_as_it_was(directory):
    write(directory, "learner", [10, 20])
    before = logs.read_rows(directory.logs / "learner.csv")
    logs.cut_back(directory, at(20))
    assert logs.read_rows(directory.logs / "learner.csv") == before
    assert before[0] == {"a": "-0.5", "b": "1.25", "frames": "10"}


@pytest.mark.parametrize("kept", [1, 5, 8])
def test_a_row_cut_short_by_a_crash_is_left_out_and_taken_out(directory, kept):
    write(directory, "learner", [10, 20])
    path = directory.logs / "learner.csv"
    whole = path.read_bytes()
    row = b"-0.5,3.75,30\r\n"
    path.write_bytes(whole + row[:kept])
    assert frames_of(directory, "learner") == [10, 20]
    logs.cut_back(directory, at(100))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", ["", "a,b,fra", "a,b,frames\r\n"])
def test_a_log_without_a_whole_row_is_empty(directory, content):
    path = directory.logs / "learner.csv"
    path.write_text(content)
    assert logs.read_rows(path) == []
    logs.cut_back(directory, at(100))
    write(directory, "learner", [1])
    assert frames_of(directory, "learner") == [1]


def test_there_need_not_be_a_log():
    assert logs.read_rows(RunDirectory("/nowhere").logs / "learner.csv") == []


def test_a_continued_log_is_one_table(directory):
    write(directory, "learner", [10, 20])
    logs.cut_back(directory, at(15))
    write(directory, "learner", [16, 32])
    lines = (directory.logs / "learner.csv").read_text().splitlines()
    assert lines == ["a,b,frames", "-0.5,1.25,10", "-0.5,2.0,16", "-0.5,4.0,32"]


def test_a_run_continued_by_code_that_measures_other_things_keeps_its_columns(directory):
    """Else numbers would stand under the names of others."""
    write(directory, "learner", [10])
    logger = logs.make_logger(directory, "learner")
    logger.write({"a_new_one": 5, "frames": 20, "b": 0.5})
    logger.write({"a_new_one": 5, "frames": 30, "b": 0.25})
    logger.close()
    assert logs.read_rows(directory.logs / "learner.csv") == [
        {"a": "-0.5", "b": "1.25", "frames": "10"},
        {"a": "", "b": "0.5", "frames": "20"},
        {"a": "", "b": "0.25", "frames": "30"},
    ]
    logs.cut_back(directory, at(20))
    assert frames_of(directory, "learner") == [10, 20]


def test_not_a_number_is_kept(directory):
    logger = logs.make_logger(directory, "actor_0")
    logger.write({"frames": 1, "score": math.nan})
    logger.close()
    logs.cut_back(directory, at(1))
    assert math.isnan(float(logs.read_rows(directory.logs / "actor_0.csv")[0]["score"]))


def test_any_csv_reader_reads_it(directory):
    write(directory, "learner", [10, 20])
    with open(directory.logs / "learner.csv", newline="") as file:
        assert [row["frames"] for row in csv.DictReader(file)] == ["10", "20"]
