"""The live line: what it says, from logs that may be empty, cut short or still being written."""

import time

import pytest

from acme_impala.experiments import logs, progress


def write(directory, node, *rows):
    logger = logs.make_logger(directory, node)
    for row in rows:
        logger.write(row)
    logger.close()


def learner_row(frames, lag=1.25):
    return {"frames": frames, "policy_lag_mean": lag, "total_loss": 0.5}


def test_before_the_first_row_there_is_no_line(directory, capsys):
    with progress.LiveLine(directory, 1000):
        pass
    assert capsys.readouterr().out == ""


def test_the_line_says_how_far_the_run_is(directory, capsys):
    write(directory, "learner", learner_row(500_000))
    write(directory, "actor_0", {"frames": 5, "episode_return": 10.0})
    write(directory, "actor_1", {"frames": 5, "episode_return": 20.0})
    write(directory, "evaluator", {"frames": 5, "episode_return": 31.5})
    with progress.LiveLine(directory, 2_000_000):
        pass
    line = capsys.readouterr().out
    assert line.count("\n") == 1  # No terminal: whole lines, nothing written over.
    assert "\r" not in line
    bar, frames, speed, returns, lag, left = line.strip().split(" | ")
    assert bar == "[" + 6 * "=" + 18 * " " + "]  25%"
    assert frames == "500k/2M frames"
    assert speed == "0 frames/s"  # They were learned before this start.
    assert returns == "return 15.00 (evaluation 31.50)"
    assert lag == "lag 1.2"
    assert left == "? left"


@pytest.mark.parametrize("ago", [10, 31, 62])  # With no terminal a look is every 30 s.
def test_speed_and_time_left_follow_from_two_looks(directory, ago):
    line = progress.LiveLine(directory, 10_000)
    write(directory, "learner", learner_row(1000))
    line._line()
    seconds, frames = line._samples[0]
    line._samples = [(seconds - ago, frames)]  # As if the first look were so long ago.
    write(directory, "learner", learner_row(1000 + 200 * ago))
    text = line._line()
    assert " 200 frames/s" in text
    left = (9000 - 200 * ago) / 200
    assert any(f"{progress._duration(left - late)} left" in text for late in (0, 1))


def test_looks_longer_ago_than_a_minute_or_so_do_not_count(directory):
    line = progress.LiveLine(directory, 10_000)
    write(directory, "learner", learner_row(5000))
    line._samples = [(time.monotonic() - seconds, 0.0) for seconds in (500, 90)]
    line._samples += [(time.monotonic() - 40, 4000.0), (time.monotonic() - 20, 4500.0)]
    assert " 25 frames/s" in line._line()  # 1000 frames in 40 s.


def test_the_speed_of_a_continued_run_is_of_this_start(directory):
    write(directory, "learner", learner_row(5000))
    with progress.LiveLine(directory, 10_000) as line:
        assert line._samples[0][1] == 5000
        assert " 0 frames/s" in line._line()


@pytest.mark.parametrize("before", [0, 5000])  # Of the start before this one.
def test_the_time_that_a_run_takes_to_start_is_not_its_speed(directory, before):
    line = progress.LiveLine(directory, 10_000)
    if before:
        write(directory, "learner", learner_row(before))
    line._samples = [(time.monotonic() - 50, before)]
    line._look()
    line._samples = [(seconds - 10, frames) for seconds, frames in line._samples]
    write(directory, "learner", learner_row(before + 2000))
    assert " 200 frames/s" in line._line()


def test_a_run_beyond_its_end_is_at_100_percent(directory):
    write(directory, "learner", learner_row(1003))
    text = progress.LiveLine(directory, 1000)._line()
    assert "100%" in text
    assert "[" + 24 * "=" + "]" in text


def test_training_returns_may_be_missing(directory):
    write(directory, "learner", learner_row(10))
    assert "return - |" in progress.LiveLine(directory, 100)._line()
    write(directory, "evaluator", {"frames": 5, "episode_return": 1.0})
    assert "return - (evaluation 1.00)" in progress.LiveLine(directory, 100)._line()


@pytest.mark.parametrize("rest", ["", "7", "700,3.5", "700,3.5,0.5"])
def test_the_last_whole_row_is_read_when_another_is_being_written(directory, rest):
    path = directory.logs / "learner.csv"
    path.write_text("frames,policy_lag_mean,total_loss\r\n1,2,3\r\n4,5,6\r\n" + rest)
    assert progress.tail_row(path) == {
        "frames": "4",
        "policy_lag_mean": "5",
        "total_loss": "6",
    }


@pytest.mark.parametrize("content", ["", "frames,pol", "frames,b\r\n", "frames,b\r\n1,"])
def test_without_a_whole_row_there_is_none(directory, content):
    path = directory.logs / "learner.csv"
    path.write_text(content)
    assert progress.tail_row(path) is None
    assert progress.LiveLine(directory, 10)._line() == ""


def test_without_a_file_there_is_none(directory):
    assert progress.tail_row(directory.logs / "learner.csv") is None


def test_the_tail_of_a_long_log_is_the_last_row_of_it(directory):
    path = directory.logs / "learner.csv"
    rows = [f"{number},{'x' * (number % 97)}" for number in range(3000)]
    path.write_text("frames,text\r\n" + "".join(row + "\r\n" for row in rows))
    assert progress.tail_row(path) == {"frames": "2999", "text": "x" * (2999 % 97)}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (12_345, "12.3k"), (2e6, "2M"), (1.5e10, "15G")],
)
def test_numbers_are_short(number, text):
    assert progress._short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (None, "?"), (-1, "0:00")]
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert progress._duration(seconds) == text
