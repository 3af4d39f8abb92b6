"""Programs that are launched by a process that goes on afterwards, such as a notebook's."""

import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

from acme_impala import IMPALALearner
from acme_impala.experiments import checkpointing, launch, logs
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ROOT, catch_config, column


def test_a_second_program_in_one_process_ends_too_and_signals_are_its_own_again(tmp_path):
    threads = threading.active_count()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = catch_config(tmp_path, num_frames=400)
    for num_frames in (400, 800):
        config = dataclasses.replace(config, num_frames=num_frames)
        launch(config, 1, 4, launch_type="local_mt", accept_new_config=True)
        directory = RunDirectory(config.workdir)
        assert column(directory, "learner", "frames")[-1] >= num_frames
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
        # A thread that waited for a Reverb server that has gone would go on with that.
        assert threading.active_count() <= threads


def test_ctrl_c_ends_a_second_program_in_order_too(tmp_path):
    launch(catch_config(tmp_path / "one", num_frames=400), 1, 4, launch_type="local_mt")
    config = catch_config(tmp_path / "two", num_frames=10**9)
    directory = RunDirectory(config.workdir)

    def interrupt():
        # By the second row all is traced, which under load may outlast the ten seconds.
        while len(column(directory, "learner", "frames")) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    launch(config, 1, 4, launch_type="local_mt")
    assert checkpointing.newest_whole(directory.checkpoints).counts["learner_frames"] > 0


def test_where_the_learner_is_slow_unrolls_do_not_grow_old(tmp_path, monkeypatch):
    step = IMPALALearner.step

    def slow_step(learner):
        time.sleep(0.1)
        step(learner)

    monkeypatch.setattr(IMPALALearner, "step", slow_step)
    monkeypatch.setattr(logs, "LOG_SECONDS", 0.3)
    config = catch_config(tmp_path, num_frames=1600, evaluate_every=1600)
    launch(config, 1, config.agent.batch_size, launch_type="local_mt")
    lags = column(RunDirectory(config.workdir), "learner", "policy_lag_mean")
    assert len(lags) > 5
    assert statistics.mean(lags) < 2.5  # Two, and without the wait for the learner more than four.


def test_a_process_of_actors_imports_nothing_large_that_it_does_not_need():
    """Each megabyte counts as often as there are processes."""
    code = """if True:
        import sys
        from acme_impala.experiments import node_process, program

        print({"acme.tf.savers", "tensorflow_probability", "jax"} & set(sys.modules))
        import acme_impala

        print(acme_impala.IMPALALearner.__name__)
    """
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split("\n")[:2] == ["set()", "IMPALALearner"]
