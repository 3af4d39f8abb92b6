"""TensorFlow's threads, in processes of their own."""

import multiprocessing
import os
import pathlib
import threading

import pytest
import tensorflow as tf

from acme_impala.experiments.threads import use_threads

_TASKS = pathlib.Path("/proc/self/task")


def cpu_ticks_of_others():
    """CPU time of all threads but this one."""
    own = str(threading.get_native_id())
    ticks = 0
    for task in _TASKS.iterdir():
        if task.name != own:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks


def convolve(of_one_call):
    """Returns the CPU time of other threads, and the sets of cores that threads may use."""
    use_threads(of_one_call)
    image, kernel = tf.ones((64, 84, 84, 4)), tf.ones((8, 8, 4, 16))
    before = cpu_ticks_of_others()
    for _ in range(500):
        tf.nn.conv2d(image, kernel, strides=4, padding="VALID")
    cores = {frozenset(os.sched_getaffinity(int(task.name))) for task in _TASKS.iterdir()}
    return cpu_ticks_of_others() - before, cores


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="There is one core.")
def test_a_call_that_is_to_have_one_thread_computes_in_no_other():
    # A process for each: TensorFlow's threads are set once.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        (of_one, cores), (of_two, _) = pool.map(convolve, [1, 2], chunksize=1)
    assert of_two > 10 * max(1, of_one)
    assert cores == {frozenset(os.sched_getaffinity(0))}
