"""Calls of functions leave nothing behind. Without the remedy these would leave 5 MB."""

import subprocess
import sys

PROGRAM = """
import psutil
import tensorflow as tf
from acme_impala import function_leak

double = tf.function(lambda x: x + x)
x = tf.constant(1.0)

def call(times):
    for _ in range(times):
        double(x)
    return psutil.Process().memory_info().rss

before = call(2000)
print(call(12000) - before)
function_leak.stop_leak()
before = call(2000)
print(call(12000) - before)
"""


def test_a_function_leaves_nothing_behind():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300
    )
    without, with_remedy = map(int, run.stdout.splitlines()[-2:])
    assert with_remedy < 1e6
    assert without > 2.5e6  # Else the remedy is not needed any more.
