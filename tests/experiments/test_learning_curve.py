"""The learning curve: a whole picture of what the logs hold, while a run goes on and by its end."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from acme_impala.experiments import learning_curve, logs
from acme_impala.experiments.curve_drawer import CurveDrawer


def write_training(directory, scores, node="actor_0"):
    logger = logs.make_logger(directory, node)
    for index, score in enumerate(scores):
        logger.write({"frames": 100 * index, "episode_return": 1.0, "score": score})
    logger.close()


def write_evaluations(directory, means):
    logger = logs.make_logger(directory, "evaluator")
    for index, mean in enumerate(means):
        logger.write(
            {
                "frames": 100 * index,
                "episode_return": mean,
                "episode_return_min": mean - 1,
                "episode_return_max": mean + 1,
            }
        )
    logger.close()


def picture(directory):
    with Image.open(directory.learning_curve) as image:
        image.load()  # Raises where the file is cut short.
        return np.asarray(image.convert("RGB")).astype(int)


def count(pixels, colour):
    """Pixels close to a colour."""
    return int((np.abs(pixels - colour).max(axis=-1) < 12).sum())


BLUE, ORANGE, GREY = (31, 119, 180), (255, 127, 14), (191, 191, 191)


def test_evaluations_are_a_line_and_training_dots(directory):
    write_training(directory, np.linspace(-1, 1, 30))
    write_evaluations(directory, np.linspace(-1, 1, 10))
    learning_curve.plot(directory, "catch")
    pixels = picture(directory)
    assert pixels.shape[0] >= 400
    assert pixels.shape[1] >= 600
    assert count(pixels, BLUE) > 300
    assert count(pixels, GREY) > 100
    assert not list(directory.root.glob("*.new*"))


def test_only_training(directory):
    write_training(directory, [0.0, 0.5], "actor_0")
    write_training(directory, [1.0], "actor_11")
    learning_curve.plot(directory, "catch")
    assert count(picture(directory), GREY) > 20


def test_only_evaluations(directory):
    write_evaluations(directory, [0.0, 1.0, 0.5])
    learning_curve.plot(directory, "catch")
    assert count(picture(directory), BLUE) > 300


def test_one_evaluation(directory):
    """A point, in the middle; the legend on the right has blue in it too."""
    write_evaluations(directory, [0.5])
    learning_curve.plot(directory, "catch")
    pixels = picture(directory)
    assert count(pixels[:, : pixels.shape[1] * 2 // 3], BLUE) > 10


def test_no_rows_at_all(directory):
    learning_curve.plot(directory, "catch")
    pixels = picture(directory)
    assert pixels.std() > 0
    height, width, _ = pixels.shape
    middle = pixels[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3]
    assert count(middle, (0, 0, 0)) > 20  # It says why there is nothing to see.


def test_scores_that_are_no_numbers_are_left_out(directory):
    """A second in which no whole game of Atari ended."""
    write_training(directory, [math.nan, 1.0, math.nan, 3.0])
    learning_curve.plot(directory, "atari:pong")
    assert count(picture(directory), GREY) > 20


def test_only_scores_that_are_no_numbers(directory):
    write_training(directory, [math.nan, math.nan])
    learning_curve.plot(directory, "atari:pong")
    assert picture(directory).std() > 0


def test_a_row_that_is_being_written_is_left_out(directory):
    write_training(directory, [0.0, 1.0])
    with open(directory.logs / "actor_0.csv", "a") as file:
        file.write("1.0,20")
    learning_curve.plot(directory, "catch")
    assert count(picture(directory), GREY) > 20


def test_every_task_has_a_picture_before_its_first_evaluation_too(directory):
    names = [logs.task_node(f"atari:{game}", "actor_0") for game in ("pong", "boxing", "qbert")]
    sizes = []
    for name in names:
        write_training(directory, np.linspace(0, 1, 10), name)
        tasks = ["atari:pong", "atari:boxing", "atari:qbert"]
        learning_curve.plot(directory, "three", tasks)
        sizes.append(count(picture(directory), GREY))
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_suite_has_a_picture_of_its_human_normalised_scores(directory):
    tasks = ["atari:pong", "atari:boxing"]
    logger = logs.make_logger(directory, "evaluator")
    for step in range(10):
        returns = {f"episode_return/{task}": step for task in tasks}
        logger.write({"frames": step, "episode_return": step, **returns})
    logger.close()
    learning_curve.plot(directory, "two", tasks)
    before = count(picture(directory), BLUE)
    (directory.logs / "evaluator.csv").unlink()
    logger = logs.make_logger(directory, "evaluator")
    for step in range(10):
        returns = {f"episode_return/{task}": step for task in tasks}
        suite = {f"human_normalized_{name}": step for name in ("mean_capped", "median")}
        logger.write({"frames": step, "episode_return": step, **returns, **suite})
    logger.close()
    learning_curve.plot(directory, "two", tasks)
    assert picture(directory).shape[0] > 600  # A second row of pictures.
    assert count(picture(directory), ORANGE) > 100
    assert before > 300


def test_whoever_looks_finds_a_whole_picture(directory):
    """It is drawn beside and moved over the old one."""
    write_evaluations(directory, np.zeros(100))
    learning_curve.plot(directory, "catch")
    done = threading.Event()

    def draw():
        for _ in range(4):
            learning_curve.plot(directory, "catch")
        done.set()

    thread = threading.Thread(target=draw)
    thread.start()
    looks = 0
    while not done.is_set():
        picture(directory)
        looks += 1
    thread.join()
    assert looks > 4


@pytest.fixture
def drawer(directory):
    return CurveDrawer(directory, SimpleNamespace(environment_factory=None))


@pytest.fixture
def rows_drawn(monkeypatch):
    """How many evaluations each picture had to show."""
    rows_drawn = []

    def plot(directory, *_):
        rows_drawn.append(len(logs.read_rows(directory.logs / "evaluator.csv")))
        real_plot(directory, *_)

    real_plot = learning_curve.plot
    monkeypatch.setattr(learning_curve, "plot", plot)
    return rows_drawn


def test_it_is_drawn_while_a_run_goes_on(directory, drawer):
    write_evaluations(directory, [0.0, 1.0, 0.5])
    with drawer:
        while not directory.learning_curve.exists():
            time.sleep(0.01)
        assert count(picture(directory), BLUE) > 300


def test_evaluations_that_follow_each_other_quickly_share_a_picture(directory, drawer, rows_drawn):
    logger = logs.make_logger(directory, "evaluator")
    with drawer:
        for index in range(20):
            logger.write({"frames": index, "episode_return": 1.0})
            while not rows_drawn:
                time.sleep(0.01)
    assert len(rows_drawn) == 2
    assert rows_drawn[-1] == 20


def test_no_evaluation_since_the_last_picture_is_no_reason_to_draw(directory, drawer, rows_drawn):
    write_evaluations(directory, [0.0, 1.0])
    with drawer:
        while not rows_drawn:
            time.sleep(0.01)
    assert rows_drawn == [2]


def test_a_run_without_evaluations_has_its_picture_by_its_end(directory, drawer, rows_drawn):
    write_training(directory, [0.0, 0.5])
    with drawer:
        time.sleep(1.0)
        assert not rows_drawn
    assert count(picture(directory), GREY) > 20


def test_the_last_picture_has_the_last_evaluation(directory, drawer, rows_drawn):
    """Of a run that is continued, and has a picture already."""
    write_evaluations(directory, [0.0, 1.0])
    learning_curve.plot(directory, "catch")
    with drawer:
        write_evaluations(directory, [2.0])
    assert rows_drawn[-1] == 3
