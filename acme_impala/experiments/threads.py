"""TensorFlow's threads in a process."""

import os

import tensorflow as tf

from acme_impala.experiments.cores import keeping_to


def use_threads(of_one_call: int, parallel_calls: int = 1):
    """Sets how many threads TensorFlow has; before it has computed anything.

    oneDNN, which computes its convolutions, counts the cores that its first caller may use, and
    splits all work among so many threads, whatever TensorFlow has. Where a call is to have one
    thread it would hand half of every convolution to another, and wait for it: a quarter of the
    time of a policy's call. So there it is first called while one core is all that it may use.

    Args:
        of_one_call: threads for each call of a network.
        parallel_calls: calls that go on at the same time.

    Raises:
        RuntimeError: TensorFlow has computed something, with other threads.
    """
    tf.config.threading.set_intra_op_parallelism_threads(of_one_call)
    tf.config.threading.set_inter_op_parallelism_threads(parallel_calls)
    if of_one_call > 1:
        return
    with tf.device("/CPU:0"):
        image, kernel = tf.zeros((1, 8, 8, 1)), tf.zeros((8, 8, 1, 1))
        # TensorFlow has made its threads by now; they may use all cores.
        with keeping_to(min(os.sched_getaffinity(0))):
            tf.nn.conv2d(image, kernel, strides=1, padding="VALID")
