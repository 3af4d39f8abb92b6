"""Programs that are launched by a process that goes on afterwards, such as a notebook's."""

import dataclasses
import signal

from acme_impala.experiments import launch
from acme_impala.experiments.run_directory import RunDirectory

from .runs import catch_config, column


def test_a_second_program_in_one_process_ends_too_and_signals_are_its_own_again(tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = catch_config(tmp_path, num_frames=400)
    for num_frames in (400, 800):
        config = dataclasses.replace(config, num_frames=num_frames)
        launch(config, 1, 4, launch_type="local_mt", accept_new_config=True)
        directory = RunDirectory(config.workdir)
        assert column(directory, "learner", "frames")[-1] >= num_frames
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
