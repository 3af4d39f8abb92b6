"""Distributions of actions against sums spelled out, against what they draw, and their bounds."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tree
from dm_env import specs

from acme_impala import distributions
from acme_impala.distributions import (
    Categorical,
    ClippedGaussian,
    GaussianParameters,
    MultiCategorical,
)

SPECS = {
    "discrete": specs.DiscreteArray(3, np.uint8),
    "one choice": specs.BoundedArray((), np.int32, 1, 3),
    "choices": specs.BoundedArray((2, 2), np.int16, [[0, -5], [0, 9]], [[1, -3], [0, 12]]),
    "continuous": specs.BoundedArray((2,), np.float64, [-1.0, 0.5], [3.0, 0.75]),
    "continuous scalar": specs.BoundedArray((), np.float32, -2.0, 2.0),
}
KINDS = {
    "discrete": Categorical,
    "one choice": MultiCategorical,
    "choices": MultiCategorical,
    "continuous": ClippedGaussian,
    "continuous scalar": ClippedGaussian,
}


def make_parameters(distribution, batch_shape, seed=0):
    """Random parameters, by a head's random outputs."""
    outputs = np.random.default_rng(seed).normal(size=(*batch_shape, distribution.num_outputs))
    return tree.map_structure(
        lambda x: x.numpy(), distribution.parameters(tf.constant(outputs, tf.float32))
    )


def log_softmax(logits):
    return logits - math.log(sum(math.exp(logit) for logit in logits))


def reference_log_prob(parameters, action):
    """Of one action, without leading dimensions."""
    if isinstance(parameters, GaussianParameters):
        densities = [
            math.exp(-0.5 * ((a - mean) / math.exp(log_std)) ** 2)
            / (math.exp(log_std) * math.sqrt(2 * math.pi))
            for a, mean, log_std in zip(action, *parameters, strict=True)
        ]
        return math.log(math.prod(densities))
    if isinstance(parameters, tuple):
        return sum(log_softmax(part)[a] for part, a in zip(parameters, action, strict=True))
    return log_softmax(parameters)[action]


@pytest.mark.parametrize("name", SPECS)
def test_each_action_space_has_its_distribution(name):
    distribution = distributions.for_actions(SPECS[name])
    assert isinstance(distribution, KINDS[name])
    parameters = make_parameters(distribution, (4,))
    assert distributions.kind_of(parameters) is KINDS[name]
    tree.map_structure(
        lambda spec, x: np.testing.assert_equal(x.shape, (4, *spec.shape)),
        distribution.parameters_spec,
        parameters,
    )


@pytest.mark.parametrize("name", SPECS)
def test_log_probabilities_are_those_spelled_out(name):
    distribution = distributions.for_actions(SPECS[name])
    parameters = make_parameters(distribution, (5, 4))
    actions = distribution.sample(parameters, np.random.default_rng(1))
    assert actions.shape == (5, 4, *distribution.drawn_spec.shape)
    result = distribution.log_prob(
        tree.map_structure(tf.constant, parameters), tf.constant(actions)
    ).numpy()
    assert result.shape == (5, 4)
    for index in np.ndindex(5, 4):
        one = tree.map_structure(lambda x, index=index: x[index], parameters)
        np.testing.assert_allclose(
            result[index], reference_log_prob(one, actions[index]), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", SPECS)
def test_entropies_are_minus_the_mean_log_probability_of_what_is_drawn(name):
    """And so sampling, log-probabilities and entropy fit each other."""
    distribution = distributions.for_actions(SPECS[name])
    one = make_parameters(distribution, (1,))
    many = tree.map_structure(lambda x: np.repeat(x, 20_000, axis=0), one)
    actions = distribution.sample(many, np.random.default_rng(1))
    log_probs = distribution.log_prob(
        tree.map_structure(tf.constant, many), tf.constant(actions)
    ).numpy()
    error = 4 * np.std(log_probs) / np.sqrt(len(log_probs)) + 1e-6
    entropy = distribution.entropy(tree.map_structure(tf.constant, one)).numpy()
    assert entropy.shape == (1,)
    np.testing.assert_allclose(entropy[0], -log_probs.mean(), atol=error)


@pytest.mark.parametrize("name", SPECS)
def test_no_action_is_likelier_than_the_mode(name):
    distribution = distributions.for_actions(SPECS[name])
    parameters = make_parameters(distribution, (100,), seed=3)
    tensors = tree.map_structure(tf.constant, parameters)
    mode = distribution.mode(parameters)
    drawn = distribution.sample(parameters, np.random.default_rng(1))
    assert mode.dtype == drawn.dtype
    best = distribution.log_prob(tensors, tf.constant(mode)).numpy()
    other = distribution.log_prob(tensors, tf.constant(drawn)).numpy()
    assert (best >= other - 1e-6).all()
    assert (best > other).any()


@pytest.mark.parametrize("name", SPECS)
def test_what_the_environment_gets_is_of_its_spec(name):
    spec = SPECS[name]
    distribution = distributions.for_actions(spec)
    parameters = tree.map_structure(lambda x: 3 * x, make_parameters(distribution, (500,)))
    drawn = distribution.sample(parameters, np.random.default_rng(1))
    assert drawn.dtype == distribution.drawn_spec.dtype
    given = distribution.to_environment(drawn)
    assert given.shape == (500, *spec.shape)
    for action in given:
        spec.validate(action)
    for bound in (spec.minimum, spec.maximum):  # All that there is can be done.
        bound = np.broadcast_to(bound, spec.shape)
        assert (given == bound).reshape(500, -1).any(axis=0).all()


def test_choices_count_from_the_minimum():
    distribution = distributions.for_actions(SPECS["choices"])
    drawn = np.array([[0, 0, 0, 0], [1, 2, 0, 3]], np.int32)
    np.testing.assert_array_equal(
        distribution.to_environment(drawn), [[[0, -5], [0, 9]], [[1, -3], [0, 12]]]
    )


def test_minus_one_to_one_is_scaled_to_the_bounds_and_all_else_clipped():
    distribution = distributions.for_actions(SPECS["continuous"])
    drawn = np.array([[-1, -1], [1, 1], [0, 0.5], [7, -1e30]], np.float32)
    np.testing.assert_allclose(
        distribution.to_environment(drawn), [[-1, 0.5], [3, 0.75], [1, 0.6875], [3, 0.5]]
    )


def test_a_network_shows_what_was_done_scaled_and_one_hot():
    choices = distributions.for_actions(specs.BoundedArray((2,), np.int32, [0, 4], [1, 6]))
    np.testing.assert_array_equal(
        choices.features(np.array([[1, 4], [0, 6], [0, 0]])),
        [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0]],  # 0 is no action of the second.
    )
    for name in ("continuous", "continuous scalar"):
        distribution = distributions.for_actions(SPECS[name])
        drawn = np.random.default_rng(0).uniform(-1, 1, (6, *distribution.drawn_spec.shape))
        np.testing.assert_allclose(
            distribution.features(distribution.to_environment(drawn)), drawn, atol=1e-6
        )


def test_a_gaussians_head_begins_in_the_middle_and_stays_between_its_limits():
    distribution = distributions.for_actions(SPECS["continuous"])
    mean, log_std = distribution.parameters(tf.zeros([1, 4]))
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(np.exp(log_std), math.sqrt(0.05 * 2.0), rtol=1e-5)
    _, extreme = distribution.parameters(tf.constant([[0, 0, -100.0, 100.0]]))
    np.testing.assert_allclose(np.exp(extreme), [[0.05, 2.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "has no action space. A policy can act by one dm_env.specs.DiscreteArray"),
        ([specs.DiscreteArray(2)] * 2, "has an action space of several parts"),
        (specs.Array((2,), np.float32), r"has the action space Array\(shape=\(2,\)"),
        (specs.BoundedArray((2,), bool, False, True), "has the action space BoundedArray"),
        (specs.BoundedArray((2,), np.float32, -np.inf, np.inf), "no finite bounds.*RescaleAct"),
        (specs.BoundedArray((2,), np.float32, [0, 0], [1, np.inf]), "no finite bounds"),
        (specs.BoundedArray((2,), np.float32, [0, 1], [1, 1]), "no finite bounds"),
        (specs.BoundedArray((0,), np.float32, 0, 1), "no finite bounds"),
        (specs.BoundedArray((0,), np.int32, 0, 1), "has no action"),
        (specs.BoundedArray((84, 84), np.uint8, 0, 255), "1806336 values in all.*10000 are the"),
        (specs.BoundedArray((), np.int64, -(2**63), 2**63 - 1), f"{2**64} values in all"),
    ],
)
def test_an_action_space_that_no_policy_can_act_by_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        distributions.for_actions(spec)


@pytest.mark.parametrize(
    ("name", "actions", "message"),
    [
        ("choices", np.zeros((3, 2), np.int32), r"\[..., 4\] .* got shape \(3, 2\)"),
        ("choices", np.zeros((3, 4), np.float32), "actions must be integers"),
        ("continuous", np.zeros((3, 1), np.float32), r"\[..., 2\] .* got shape \(3, 1\)"),
        ("continuous", np.zeros((3, 2), np.int32), "actions must be floating point, got int32"),
    ],
)
def test_actions_that_do_not_fit_are_named(name, actions, message):
    distribution = distributions.for_actions(SPECS[name])
    parameters = tree.map_structure(tf.constant, make_parameters(distribution, (3,)))
    with pytest.raises(ValueError, match=message):
        distribution.log_prob(parameters, tf.constant(actions))
