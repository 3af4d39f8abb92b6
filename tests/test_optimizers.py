"""The optimizers against TensorFlow 1's update rules written in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from acme_impala import optimizers
from acme_impala.config import Adam, RMSProp

RMSPROPS = [RMSProp(), RMSProp(decay=0.9, epsilon=0.1, momentum=0.5), RMSProp(epsilon=1e-7)]
ADAMS = [Adam(), Adam(beta1=0.0, beta2=0.99, epsilon=1e-3)]
SETTINGS = RMSPROPS + ADAMS
SHAPES = [(), (3,), (2, 4)]


class NumPyRMSProp:
    def __init__(self, settings, values, epsilon_outside=False, start=1.0):
        self.settings, self.epsilon_outside = settings, epsilon_outside
        self.mean_squares = [np.full_like(value, start) for value in values]
        self.velocities = [np.zeros_like(value) for value in values]

    def step(self, values, gradients, learning_rate):
        s = self.settings
        for i, gradient in enumerate(gradients):
            self.mean_squares[i] += (1 - s.decay) * (gradient**2 - self.mean_squares[i])
            if self.epsilon_outside:
                root = np.sqrt(self.mean_squares[i]) + s.epsilon
            else:
                root = np.sqrt(self.mean_squares[i] + s.epsilon)
            self.velocities[i] = s.momentum * self.velocities[i] + learning_rate * gradient / root
            values[i] = values[i] - self.velocities[i]


class NumPyAdam:
    def __init__(self, settings, values):
        self.settings, self.steps = settings, 0
        self.m = [np.zeros_like(value) for value in values]
        self.v = [np.zeros_like(value) for value in values]

    def step(self, values, gradients, learning_rate):
        s = self.settings
        self.steps += 1
        rate = learning_rate * np.sqrt(1 - s.beta2**self.steps) / (1 - s.beta1**self.steps)
        for i, gradient in enumerate(gradients):
            self.m[i] = s.beta1 * self.m[i] + (1 - s.beta1) * gradient
            self.v[i] = s.beta2 * self.v[i] + (1 - s.beta2) * gradient**2
            values[i] = values[i] - rate * self.m[i] / (np.sqrt(self.v[i]) + s.epsilon)


def make_variables(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [
        tf.Variable(rng.normal(size=shape).astype(dtype), name=f"variable_{i}")
        for i, shape in enumerate(SHAPES)
    ]


def make_gradients(num_steps, seed=1, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [
        [(rng.normal(size=shape) * 10.0 ** rng.integers(-3, 2)).astype(dtype) for shape in SHAPES]
        for _ in range(num_steps)
    ]


def numbers(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_graph", [False, True])
def test_steps_are_those_of_tensorflow_1(settings, dtype, in_graph):
    variables = make_variables(dtype=dtype)
    optimizer = optimizers.make_optimizer(settings, variables)
    expected = [variable.astype(np.float64) for variable in numbers(variables)]
    make_reference = NumPyRMSProp if isinstance(settings, RMSProp) else NumPyAdam
    reference = make_reference(settings, expected)

    def step(gradients, learning_rate):
        optimizer.apply(gradients, variables, learning_rate)

    step = tf.function(step) if in_graph else step
    for i, gradients in enumerate(make_gradients(8, dtype=dtype)):
        learning_rate = tf.constant(0.01 / (i + 1))  # annealed
        step([tf.constant(gradient) for gradient in gradients], learning_rate)
        wide = [gradient.astype(np.float64) for gradient in gradients]
        reference.step(expected, wide, learning_rate.numpy().astype(np.float64))
        for variable, value in zip(variables, expected, strict=True):
            # Adam's powers of beta are float32, as TensorFlow 1's are: 1 - 0.999 has 5 digits.
            np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=3e-6)


def test_rmsprop_is_to_the_last_digit_the_formula_in_float64():
    settings = RMSPROPS[1]
    variables = make_variables(dtype=np.float64)
    expected = numbers(variables)
    reference = NumPyRMSProp(settings, expected)
    optimizer = optimizers.make_optimizer(settings, variables)
    for gradients in make_gradients(5, dtype=np.float64):
        optimizer.apply(gradients, variables, tf.constant(0.01, tf.float64))
        reference.step(expected, gradients, 0.01)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-13)


def test_rmsprop_is_not_kerass():
    """With the paper's epsilon, the same settings take another path in Keras's RMSprop."""
    settings = RMSProp(epsilon=0.1)
    paths = {}
    for name in ("ours", "keras"):
        variables = make_variables()
        ours = optimizers.make_optimizer(settings, variables)
        keras = tf.keras.optimizers.RMSprop(
            0.01, rho=settings.decay, momentum=settings.momentum, epsilon=settings.epsilon
        )
        for gradients in make_gradients(3):
            if name == "ours":
                ours.apply([tf.constant(g) for g in gradients], variables, 0.01)
            else:
                keras.apply_gradients(zip(gradients, variables, strict=True))
        paths[name] = numbers(variables)
    other = numbers(make_variables())
    reference = NumPyRMSProp(settings, other, epsilon_outside=True, start=0.0)
    for gradients in make_gradients(3):
        reference.step(other, gradients, 0.01)
    for ours, keras, reimplemented in zip(paths["ours"], paths["keras"], other, strict=True):
        np.testing.assert_allclose(keras, reimplemented, rtol=1e-4, atol=1e-6)
        assert np.abs(ours - keras).max() > 1e-3


@pytest.mark.parametrize(
    ("epsilon_outside", "start"), [(True, 1.0), (False, 0.0)], ids=["epsilon", "start"]
)
def test_rmsprops_two_traits_each_matter(epsilon_outside, start):
    settings = RMSProp(epsilon=0.1)
    variables = make_variables()
    other = numbers(variables)
    optimizer = optimizers.make_optimizer(settings, variables)
    reference = NumPyRMSProp(settings, other, epsilon_outside, start)
    for gradients in make_gradients(3):
        optimizer.apply([tf.constant(g) for g in gradients], variables, 0.01)
        reference.step(other, gradients, 0.01)
    assert max(np.abs(v.numpy() - o).max() for v, o in zip(variables, other, strict=True)) > 1e-4


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_variable_without_gradient_stays_with_its_slots(settings):
    variables = make_variables()
    optimizer = optimizers.make_optimizer(settings, variables)
    first, second = make_gradients(2)
    optimizer.apply([tf.constant(g) for g in first], variables, 0.01)
    before = {v.ref(): v.numpy() for v in (*variables, *optimizer.variables)}
    optimizer.apply([second[0], None, second[2]], variables, 0.01)
    for variable in (*variables, *optimizer.variables):
        unchanged = np.array_equal(variable.numpy(), before[variable.ref()])
        if variable.name.startswith("variable_1"):
            assert unchanged, variable.name
        elif "velocity" not in variable.name and settings != ADAMS[1]:
            assert not unchanged, variable.name


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("in_graph", [False, True])
def test_sparse_gradients_are_applied_as_dense_ones(settings, in_graph):
    """An embedding's gradient: rows 2 and 0, row 2 twice."""
    rows = tf.constant([[1.0, 2.0], [3.0, -4.0], [5.0, 6.0]])
    sparse = tf.IndexedSlices(rows, tf.constant([2, 0, 2]), tf.constant([4, 2]))
    dense = tf.constant([[3.0, -4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 0.0]])
    results = []
    for gradient in (sparse, dense):
        variables = [tf.Variable(tf.ones([4, 2]))]
        optimizer = optimizers.make_optimizer(settings, variables)

        def step(gradient, optimizer=optimizer, variables=variables):
            optimizer.apply([gradient], variables, 0.1)

        step = tf.function(step) if in_graph else step
        step(gradient)
        step(gradient)
        results.append([*numbers(variables), *numbers(optimizer.variables)])
    for result, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_restored_optimizer_goes_on_bit_for_bit(settings, tmp_path):
    gradients = [[tf.constant(g) for g in step] for step in make_gradients(6)]
    variables = make_variables()
    optimizer = optimizers.make_optimizer(settings, variables)
    for step in gradients[:3]:
        optimizer.apply(step, variables, 0.01)
    path = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(tmp_path / "ckpt")
    for step in gradients[3:]:
        optimizer.apply(step, variables, 0.01)

    other = make_variables(seed=9)
    restored = optimizers.make_optimizer(settings, other)
    checkpoint = tf.train.Checkpoint(optimizer=restored, variables=other)
    checkpoint.restore(path).assert_consumed()  # at once: every slot is there already
    for step in gradients[3:]:
        restored.apply(step, other, 0.01)
    for a, b in zip((*variables, *optimizer.variables), (*other, *restored.variables), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_state_is_the_slots_and_nothing_of_the_network():
    variables = make_variables()
    rmsprop = optimizers.make_optimizer(RMSProp(), variables)
    adam = optimizers.make_optimizer(Adam(), variables)
    assert len(rmsprop.variables) == 2 * len(variables)
    assert len(adam.variables) == 2 * len(variables) + 2
    assert not rmsprop.trainable_variables
    assert not adam.trainable_variables
    names = [variable.name for variable in rmsprop.variables]
    assert "variable_1/mean_square:0" in names
    for variable in rmsprop.variables:
        start = 1.0 if "mean_square" in variable.name else 0.0
        np.testing.assert_array_equal(variable.numpy(), np.full(variable.shape, start))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_can_be_conditional(settings):
    """A batch that is not finite is left out: then nothing at all changes."""
    variables = make_variables()
    optimizer = optimizers.make_optimizer(settings, variables)
    gradients = [tf.constant(g) for g in make_gradients(1)[0]]

    @tf.function
    def step(taken, gradients):
        def apply():
            optimizer.apply(gradients, variables, 0.01)

        tf.cond(taken, apply, lambda: None)

    everything = (*variables, *optimizer.variables)
    before = numbers(everything)
    step(tf.constant(False), [tf.fill(g.shape, np.nan) for g in gradients])
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    step(tf.constant(True), gradients)
    for variable in variables:
        assert np.isfinite(variable.numpy()).all()
    assert not np.array_equal(variables[2].numpy(), before[2])


def test_what_does_not_fit_is_named():
    variables = make_variables()
    optimizer = optimizers.make_optimizer(RMSProp(), variables)
    gradients = [tf.constant(g) for g in make_gradients(1)[0]]
    with pytest.raises(ValueError, match="in the same order"):
        optimizer.apply(gradients[::-1], variables[::-1], 0.1)
    with pytest.raises(ValueError, match="in the same order"):
        optimizer.apply(gradients, make_variables(), 0.1)
    with pytest.raises(ValueError, match="Got 2 gradients for 3 variables"):
        optimizer.apply(gradients[:2], variables, 0.1)
    with pytest.raises(ValueError, match=r"gradient of variable_1:0 must have its shape \(3,\)"):
        optimizer.apply([gradients[0], tf.zeros([4]), gradients[2]], variables, 0.1)
    with pytest.raises(ValueError, match="no variables"):
        optimizers.make_optimizer(RMSProp(), [])
    with pytest.raises(ValueError, match="RMSProp"):
        optimizers.make_optimizer("sgd", variables)


@pytest.mark.parametrize(
    ("optimizer", "fields", "message"),
    [
        (RMSProp, {"decay": 1.0}, r"RMSProp's decay must be a number in \[0, 1\), got 1.0"),
        (RMSProp, {"decay": "0.9"}, "RMSProp's decay must be a number .* got '0.9'"),
        (RMSProp, {"momentum": -0.1}, "RMSProp's momentum .* got -0.1"),
        (RMSProp, {"epsilon": 0}, "RMSProp's epsilon must be a number above 0, got 0"),
        (Adam, {"beta1": 1}, "Adam's beta1"),
        (Adam, {"beta2": float("nan")}, "Adam's beta2 .* got nan"),
        (Adam, {"epsilon": None}, "Adam's epsilon .* got None"),
    ],
)
def test_impossible_settings_are_refused_by_name(optimizer, fields, message):
    with pytest.raises(ValueError, match=message):
        optimizer(**fields)
