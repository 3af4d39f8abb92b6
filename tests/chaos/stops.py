"""A run that is started again and again, and each time told to end at a random moment."""

import random
import signal
import time

from acme_impala.experiments import accounts
from acme_impala.experiments.run_directory import RunDirectory
from tests.chaos import cartpole
from tests.chaos.remains import Remains
from tests.experiments import runs

# Half of the moments lie so many seconds after the start, where there may be no more than imports.
_STARTING_SECONDS = (1.0, 15.0)
# The others, after it has begun to learn, at most.
_MOST_LEARNING_SECONDS = 8.0
_UNHEARD = ("Traceback", "did not terminate in time", "Frames are missing")


def endure(path, number, seed):
    """Stops so many starts; returns what does not hold."""
    rng = random.Random(seed)
    directory = RunDirectory(str(path / "run"))
    print("\nstop  seconds after start  of        status  ended after  frames in checkpoint")
    faults, frames = [], 0
    for start in range(1, number + 1):
        for ledger in directory.accounts.glob("*"):
            ledger.unlink()  # So that those that are there at the end are this start's.
        command = cartpole.train(path / f"start_{start}", directory, "--num_actors=2")
        try:
            remains = Remains(command)
            begin = time.monotonic()
            if rng.random() < 0.5:
                time.sleep(rng.uniform(*_STARTING_SECONDS))
            else:
                _wait_for_learning(command, directory, frames)
                time.sleep(rng.uniform(0.0, _MOST_LEARNING_SECONDS))
            name, process = ("launcher", command.process) if start % 2 else _node(command, rng)
            remains.look()
            told = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = command.wait()
            ended = time.monotonic()
        finally:
            command.kill()
        found = [f"It is left: {what}" for what in remains.find()]
        found += [f"It has said {words!r}." for words in _UNHEARD if words in command.output]
        if status != runs.ENDED_EARLY:
            found.append(f"It has ended with status {status}.")
        try:
            before, frames = frames, cartpole.load_checkpoints(directory)
            _check_frames(directory, before, frames)
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
        print(
            f"{start:4}  {told - begin:17.1f} s  {name:8}  {status:6}  {ended - told:9.1f} s  "
            f"{frames:20}",
            *found,
            flush=True,
        )
        if found:
            faults.append(f"Stop {start}: {' '.join(found)} Its output:\n{command.output[-3000:]}")
    return faults


def _wait_for_learning(command, directory, frames):
    command.wait_until(lambda: runs.learned(directory) > frames)


def _node(command, rng):
    """Chooses a node's process, which may have to come first; nodes that start are deaf."""
    command.wait_until(lambda: len(command.nodes()) == 3)
    name, process = rng.choice(sorted(command.nodes().items()))
    command.wait_until(lambda: runs.heeds_sigterm(process))
    return name, process


def _check_frames(directory, before, now):
    """Whether a start has begun where the one before has ended, and all it learned is saved."""
    entry = accounts.learners(directory).get(0)
    if entry:
        assert entry.taken_before == before, f"It began at {entry.taken_before}, not {before}."
        assert before + entry.taken == now, f"It learned {entry.taken} from {before}, has {now}."
        if entry.taken:
            runs.assert_balanced(directory)
    else:
        assert now == before, f"It has learned nothing, and there are {now} in place of {before}."
