"""A run on Ray whose processes are killed one after the other until it is told to end."""

import collections
import csv
import random
import signal
import statistics
import time

from acme_impala.experiments import accounts, checkpointing
from acme_impala.experiments.run_directory import RunDirectory
from tests.chaos import cartpole
from tests.chaos.remains import Remains
from tests.experiments import runs

# A life of each: actor and evaluator; actor; learner, replay and counter.
PROCESSES = ("actor_0", "actor_1", "learner")
RESUME_SECONDS = 30.0
# Between the moment at which all is well again and the next kill, at most.
_MOST_PAUSE_SECONDS = 15.0
# Some are killed again while they start, so many seconds after they have come back, at most.
_MOST_START_SECONDS = 6.0
_AGAIN = 0.2


def endure(path, number, seed):
    """Kills so many times; returns what does not hold."""
    directory = RunDirectory(str(path / "run"))
    flags = ("--launcher=ray", "--num_actors=2", "--max_deaths=1000")
    command = cartpole.train(path, directory, *flags)
    try:
        remains = Remains(command)
        story = _Story(command, directory)
        command.wait_until(lambda: runs.learned(directory) > 0)
        faults = _kill_in_turn(story, remains, number, random.Random(seed))
        story.wait_until_solved()
        remains.look()
        status, seconds = command.stop(signal.SIGTERM)
        print(f"ended {seconds:.1f} s after SIGTERM with status {status}", flush=True)
        if status != runs.ENDED_EARLY:
            faults.append(f"The run has ended with status {status}:\n{command.output[-3000:]}")
        faults += [f"It is left: {what}" for what in remains.find()]
        return faults + _check(directory, path / "evaluate")
    finally:
        command.kill()


def _kill_in_turn(story, remains, number, rng):
    """Kills one process after the other, each when learning goes on; returns what took too long."""
    took, late = [], []
    begin = time.monotonic()
    print("\nkill  seconds after  process   while it      learns again after", flush=True)
    while story.kills < number:
        name = PROCESSES[len(took) % len(PROCESSES)]
        time.sleep(rng.uniform(0.0, _MOST_PAUSE_SECONDS))
        remains.look()
        story.kill(name)
        doing = "runs"
        if story.kills < number and rng.random() < _AGAIN:
            story.wait_for_start(name)
            time.sleep(rng.uniform(0.0, _MOST_START_SECONDS))
            story.kill(name)
            doing = "runs, starts"
        killed_at = time.monotonic()
        story.wait_until_resumed(name)
        took.append(time.monotonic() - killed_at)
        print(
            f"{story.kills:4}  {killed_at - begin:13.1f}  {name:8}  {doing:12}  {took[-1]:5.1f} s",
            flush=True,
        )
        if took[-1] > RESUME_SECONDS:
            late.append(f"Learning has resumed {took[-1]:.1f} s after a death of {name}.")
    print(
        f"{story.kills} kills in {time.monotonic() - begin:.0f} s; learning again after "
        f"{statistics.median(took):.1f} s (median), {max(took):.1f} s (worst)",
        flush=True,
    )
    return late


def _check(directory, path):
    """Returns what is wrong with what the run has left, if anything is."""
    try:
        print(f"frames: {runs.assert_balanced(directory)}")
        print(f"newest checkpoint: {cartpole.load_checkpoints(directory)} frames")
        mean = _evaluate(directory, path)
        print(f"launch/evaluate.py: {mean:.1f}", flush=True)
        assert mean >= cartpole.SOLVED, f"The newest checkpoint's mean return is {mean}."
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return []


class _Story:
    """Who has been killed how often, and how the run is."""

    def __init__(self, command, directory):
        self._command = command
        self._directory = directory
        self._lives = collections.Counter()
        self._last = {}

    @property
    def kills(self):
        return self._lives.total()

    def wait_for_start(self, name):
        """Waits until there is a process of this name, other than that which was killed last."""
        self._command.wait_until(
            lambda: self._command.nodes().get(name, self._last.get(name)) != self._last.get(name)
        )

    def kill(self, name):
        self.wait_for_start(name)
        self._last[name] = self._command.nodes()[name]
        self._last[name].kill()
        self._lives[name] += 1

    def wait_until_resumed(self, name):
        """Waits until a new life of a process does its work, and learning goes on.

        An actor's new life has had an unroll taken by the queue, and the learner has learned more
        since; a new life of the learner has learned what its checkpoint has not.
        """
        before = 0
        if name != "learner":
            self._command.wait_until(lambda: self._confirmed(name) > 0)
            before = self._learned()
        self._command.wait_until(lambda: self._learned() > before)

    def wait_until_solved(self):
        """Waits for an evaluation after the last kill that solves the task."""
        frames = checkpointing.newest_whole(self._directory.checkpoints).counts["learner_frames"]

        def is_solved():
            evaluations = zip(
                runs.column(self._directory, "evaluator", "frames"),
                runs.column(self._directory, "evaluator", "episode_return"),
                strict=False,
            )
            return any(at > frames and mean >= cartpole.SOLVED for at, mean in evaluations)

        self._command.wait_until(is_solved)

    def _confirmed(self, name):
        """Frames of an actor's life with the learner's that the queue has taken."""
        with_learner = accounts.actors_with(self._directory, self._lives["learner"])
        entry = with_learner.get((name, self._lives[name]))
        return entry.confirmed if entry else 0

    def _learned(self):
        """Frames that this life of the learner has taken."""
        entry = accounts.learners(self._directory).get(self._lives["learner"])
        return entry.taken if entry else 0


def _evaluate(directory, path):
    """The mean return of the newest checkpoint."""
    table = path / "scores.csv"
    command = runs.Command(
        path, "launch/evaluate.py", f"--workdir={directory.root}", f"--output={table}"
    )
    assert command.wait() == 0, command.output
    with open(table) as file:
        return float(next(csv.DictReader(file))["mean"])
