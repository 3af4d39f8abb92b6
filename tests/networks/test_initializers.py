import numpy as np
import pytest
import tensorflow as tf

from acme_impala.networks.initializers import VarianceScaling, split_seed


def test_weights_do_not_depend_on_the_global_seed_or_on_earlier_draws():
    first = VarianceScaling(3)([4, 5]).numpy()
    tf.random.set_seed(17)
    np.random.seed(17)
    np.testing.assert_array_equal(VarianceScaling(3)([4, 5]), first)
    assert not np.array_equal(VarianceScaling(4)([4, 5]), first)


@pytest.mark.parametrize(("shape", "fan_in"), [([300, 400], 300), ([5, 5, 12, 400], 300)])
def test_the_variance_is_the_scale_over_the_fan_in(shape, fan_in):
    weights = VarianceScaling(0, scale=2.0)(shape).numpy()
    np.testing.assert_allclose(weights.var(), 2 / fan_in, rtol=0.02)
    np.testing.assert_allclose(weights.mean(), 0, atol=1e-3)
    assert weights.dtype == np.float32


def test_a_seed_splits_into_different_ones_that_follow_from_it():
    assert split_seed(5, 3) == split_seed(5, 3)
    assert len({*split_seed(5, 3), *split_seed(6, 3)}) == 6


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        split_seed(seed, 2)
