"""Calls of functions leave nothing behind. Without the remedy these would leave 12 MB."""

import subprocess
import sys

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
print(call(30000) - before)
"""


def bytes_left_behind(remedy):
    program = PROGRAM.format(remedy=remedy)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return int(run.stdout.splitlines()[-1])


def test_a_function_leaves_nothing_behind():
    assert bytes_left_behind(remedy=True) < 2e6
    assert bytes_left_behind(remedy=False) > 6e6  # Else the remedy is not needed any more.
