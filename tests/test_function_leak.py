"""Calls of functions leave nothing behind. Without the remedy these would leave 5 MB."""

import subprocess
import sys

import numpy as np
import pytest
from acme import specs

from acme_impala import IMPALAConfig, IMPALALearner, acting, function_leak
from acme_impala.networks import NetworkConfig, make_network

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


@pytest.mark.parametrize(
    "make",
    [
        lambda network: acting.BatchedPolicy(network, 1, acting.ActionSampler(0)),
        lambda network: IMPALALearner(network, iter(()), IMPALAConfig()),
    ],
    ids=["policy", "learner"],
)
def test_who_calls_functions_again_and_again_has_the_remedy(make, monkeypatch):
    taken = []
    monkeypatch.setattr(function_leak, "stop_leak", lambda: taken.append(True))
    number = specs.Array((), np.float32)
    spec = specs.EnvironmentSpec(
        observations=specs.Array((2,), np.float32),
        actions=specs.DiscreteArray(2),
        rewards=number,
        discounts=number,
    )
    make(make_network(spec, NetworkConfig(hidden_sizes=(2,))))
    assert taken
