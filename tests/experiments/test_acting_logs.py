"""What actor nodes log of their episodes: all of them, the last by the end."""

from acme.utils import counting

from acme_impala.experiments import logs, playing
from acme_impala.experiments.actor_node import ActingRecorder, TaskLog
from acme_impala.experiments.counts import make_counter
from acme_impala.experiments.playing import Episode

from .runs import catch_config


def make_recorder(directory):
    counter = counting.Counter(make_counter({"learner_frames": 70.0}), "actor", time_delta=0.0)
    config = catch_config(directory.root)
    return ActingRecorder(config, directory, "actor_0", counter, playing.EpisodeWindow(1000.0))


def test_episodes_since_the_last_row_are_logged_by_the_end(directory):
    recorder = make_recorder(directory)
    recorder.record(5, [Episode(1.0, 5, 1.0)], 1, 0)
    recorder.record(7, [Episode(3.0, 7, 3.0)], 1, 0)
    assert logs.read_rows(directory.logs / "actor_0.csv") == []
    recorder.close()
    (row,) = logs.read_rows(directory.logs / "actor_0.csv")
    assert (row["episodes"], row["episode_return"]) == ("2", "2.0")
    assert (row["frames"], row["actor_frames"]) == ("70.0", "5")  # As they were told last.


def test_who_has_recorded_nothing_logs_nothing(directory):
    make_recorder(directory).close()
    assert logs.read_rows(directory.logs / "actor_0.csv") == []


def test_so_it_is_with_one_of_several_tasks(directory):
    log = TaskLog(directory, "atari:pong", "actor_0")
    log.record(5, [Episode(1.0, 5, 1.0)], 60.0)
    log.record(7, [Episode(3.0, 7, 3.0)], 70.0)
    log.close()
    (path,) = directory.logs.glob(logs.task_pattern("atari:pong"))
    rows = logs.read_rows(path)
    assert [(row["frames"], row["episode_return"]) for row in rows] == [("70.0", "2.0")]
