"""Calls of functions leave nothing behind. Without the remedy these would leave 5 MB."""

import subprocess
import sys
from concurrent import futures

PROGRAM = """
import psutil
import tensorflow as tf
from acme_impala import function_leak

if {remedy}:
    function_leak.stop_leak()
double = tf.function(lambda x: x + x)
x = tf.constant(1.0)

def call(times):
    for _ in range(times):
        double(x)
    return psutil.Process().memory_info().rss

before = call(2000)
print(call(12000) - before)
"""


def bytes_left_behind(remedy):
    program = PROGRAM.format(remedy=remedy)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return int(run.stdout.splitlines()[-1])


def test_a_function_leaves_nothing_behind():
    with futures.ThreadPoolExecutor(2) as pool:
        with_remedy, without = pool.map(bytes_left_behind, (True, False))
    assert with_remedy < 1e6
    assert without > 2.5e6  # Else the remedy is not needed any more.
