"""A program with a replay table is killed, and goes on with it; every frame is accounted for."""

import signal

from acme_impala.experiments import checkpointing
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ENDED_EARLY, FOR_EVER, column, train
from .test_replay_runs import assert_balanced


def test_a_program_of_processes_balances_is_killed_and_goes_on_with_its_replay(tmp_path):
    directory = RunDirectory(str(tmp_path / "run"))
    found = None

    def has_learned_on(steps):
        nonlocal found
        before = found.counts["learner_steps"] if found else 0
        newest = checkpointing.newest_whole(directory.checkpoints)
        return bool(newest) and newest.counts["learner_steps"] > before + steps

    flags = (
        FOR_EVER, "--replay_fraction=0.5", "--checkpoint_seconds=0.2",
        "--num_actors=2",
    )  # fmt: skip
    command = train(tmp_path, *flags)
    command.wait_until(lambda: has_learned_on(50))
    command.kill()  # Five checkpoints a second: in the middle of one as likely as not.
    found = checkpointing.newest_whole(directory.checkpoints)
    assert found.replay

    command = train(tmp_path, *flags)
    command.wait_until(lambda: has_learned_on(50))
    status, _ = command.stop(signal.SIGINT)
    assert status == ENDED_EARLY, command.output
    frames = assert_balanced(directory)
    assert frames["dropped_filling"] == 0  # The table was full enough from the first.
    assert column(directory, "replay", "replay_size")[-1] > found.counts["learner_steps"]
    # Every checkpoint that is kept has its replay table, and nothing else is left.
    kept = {path.stem for path in directory.checkpoints.glob("*.index")}
    assert {path.name for path in directory.replay.glob("checkpoint-*")} == kept
    assert not list(directory.replay.glob("working/*"))
