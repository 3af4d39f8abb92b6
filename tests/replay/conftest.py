"""What the iterators are made with that tf.data gives."""

import pytest
import tensorflow as tf


@pytest.fixture(name="tuned")
def _tuned(monkeypatch):
    """Whether tf.data tunes them, for each. Where it does, what destroys one may wait for a minute.

    That happens only now and then, so it cannot be waited for.
    """
    tuned = []
    make_iterator = tf.data.Dataset.__iter__

    def noted(dataset):
        tuned.append(dataset.options().autotune.enabled)
        return make_iterator(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", noted)
    return tuned
