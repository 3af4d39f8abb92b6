"""Programs that are launched by a process that goes on afterwards, such as a notebook's."""

import dataclasses
import signal
import subprocess
import sys

from acme_impala.experiments import launch
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ROOT, catch_config, column


def test_a_second_program_in_one_process_ends_too_and_signals_are_its_own_again(tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = catch_config(tmp_path, num_frames=400)
    for num_frames in (400, 800):
        config = dataclasses.replace(config, num_frames=num_frames)
        launch(config, 1, 4, launch_type="local_mt", accept_new_config=True)
        directory = RunDirectory(config.workdir)
        assert column(directory, "learner", "frames")[-1] >= num_frames
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


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
