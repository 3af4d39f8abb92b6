"""What a node counts when the program's counter cannot be reached."""

import pytest

from acme_impala import IMPALAConfig
from acme_impala.experiments.counts import LearnerCounter, make_counter


class Flaky:
    """A program's counter behind a connection that may be down."""

    def __init__(self, **counts):
        self.counter = make_counter(counts)
        self.is_down = False

    def increment(self, **counts):
        if self.is_down:
            raise ConnectionError("the counter has gone")
        return self.counter.increment(**counts)


def test_the_learners_counts_go_on_from_the_programs_and_are_passed_on_once():
    program = Flaky(learner_steps=5, actor_steps=300)
    counter = LearnerCounter(program, IMPALAConfig(frames_per_step=4))
    counter.exchange()
    assert counter.get_counts()["learner_steps"] == 5
    assert counter.get_counts()["actor_steps"] == 300

    assert counter.increment(steps=1, frames=80)["learner_steps"] == 6
    program.counter.increment(actor_steps=20)
    counter.exchange(every_seconds=1000)
    assert program.counter.get_counts()["learner_steps"] == 5
    for _ in range(2):
        counter.exchange()
        assert program.counter.get_counts()["learner_steps"] == 6
        assert counter.get_counts()["learner_steps"] == 6
        assert counter.get_counts()["learner_frames"] == 80
        assert counter.get_counts()["actor_steps"] == 320


def test_what_was_learned_from_was_acted_even_before_the_actors_report_it():
    program = Flaky(learner_frames=400, actor_frames=400, actor_steps=100)
    counter = LearnerCounter(program, IMPALAConfig(frames_per_step=4))
    counter.exchange()
    counts = counter.increment(steps=1, frames=80)
    assert (counts["actor_frames"], counts["actor_steps"]) == (480, 120)
    counter.exchange()  # The program's own counts stay what the actors say.
    assert program.counter.get_counts()["actor_frames"] == 400


def test_the_learner_forgets_nothing_that_it_could_not_pass_on():
    program = Flaky(learner_steps=5)
    counter = LearnerCounter(program, IMPALAConfig(frames_per_step=4))
    counter.exchange()
    program.is_down = True
    counter.increment(steps=1, walltime=0.25)
    with pytest.raises(ConnectionError):
        counter.exchange()
    counter.increment(steps=1, walltime=0.25)
    assert counter.get_counts()["learner_steps"] == 7
    program.is_down = False
    counter.exchange()
    assert program.counter.get_counts()["learner_steps"] == 7
    assert counter.get_counts()["learner_walltime"] == 0.5
