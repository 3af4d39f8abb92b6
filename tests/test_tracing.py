"""Graphs are traced without AutoGraph, but for functions that need it."""

import acme
import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
from acme.utils import loggers

from acme_impala import IMPALA, IMPALAConfig, environments
from acme_impala.tracing import graph_function


def absolute(x):
    return x if x > 0 else -x


def total(xs):
    result = 0.0
    for x in xs:
        result += x
    return result


def count(n):
    result = 0
    for _ in range(n):
        result += 1
    return result


@pytest.mark.parametrize(
    ("function", "inputs", "expected"),
    [
        (absolute, [2.0, -3.0], [2.0, 3.0]),
        (total, [[1.0, 2.0], [4.0, 8.0]], [3.0, 12.0]),
        (count, [3, 5], [3, 5]),
    ],
)
def test_pythons_control_flow_may_depend_on_tensors(function, inputs, expected):
    first, second = map(tf.constant, inputs)
    traced = graph_function(function, first)
    assert [traced(x).numpy() for x in (first, second)] == expected


def test_other_functions_are_traced_once_and_not_converted():
    statuses = []

    def double(x, times):
        statuses.append(tf.__internal__.autograph.control_status_ctx().status.name)
        return times * x

    traced = graph_function(double, tf.constant([1.0]), 2)
    np.testing.assert_array_equal(traced(tf.constant([3.0]), 2), [6.0])
    traced.get_concrete_function(tf.constant([4.0]), 2)
    assert statuses == ["DISABLED"]
    traced(tf.constant([3.0]), 4)
    assert len(statuses) == 2


def test_what_the_function_raises_is_raised():
    def fails(x):
        raise ValueError(f"not {x.shape}")

    with pytest.raises(ValueError, match="not \\(1,\\)"):
        graph_function(fails, tf.constant([1.0]))


class Doubting(snt.Module):
    """Heads that give the policy up where the value is low."""

    def __init__(self, num_actions):
        super().__init__()
        self._policy, self._value = snt.Linear(num_actions), snt.Linear(1)

    def __call__(self, x):
        logits, value = self._policy(x), tf.squeeze(self._value(x), -1)
        if tf.reduce_mean(value) < 0.0:
            logits = 0.0 * logits
        return logits, value


def test_a_network_of_the_users_own_may_need_it():
    environment = environments.Catch(seed=0)
    spec = acme.make_environment_spec(environment)
    network = snt.DeepRNN([snt.Flatten(), Doubting(spec.actions.num_values)])
    agent = IMPALA(spec, network, IMPALAConfig(unroll_length=5, batch_size=2))
    acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger()).run(num_steps=40)
    assert agent.learner.steps > 1
