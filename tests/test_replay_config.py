"""What is replayed of each batch, and what cannot work together."""

import dataclasses

import hypothesis
import pytest
from hypothesis import strategies

from acme_impala import IMPALAConfig
from acme_impala.replay_config import ReplayConfig


@hypothesis.given(
    strategies.fractions(0, 1, max_denominator=40).filter(lambda f: f < 1),
    strategies.integers(1, 70),
)
def test_the_fraction_is_exact_over_time_and_never_off_by_a_whole_unroll(fraction, batch_size):
    config = ReplayConfig(fraction=float(fraction))
    total = 0
    for batch in range(200):
        replayed = config.num_replayed(batch, batch_size)
        total += replayed
        assert abs(replayed - fraction * batch_size) < 1
        assert batch_size - replayed <= config.most_fresh(batch_size)
        # As near to the fraction as whole unrolls allow, and exact where they do.
        assert total == (batch + 1) * fraction * batch_size // 1


def test_half_of_an_odd_batch_takes_turns():
    config = ReplayConfig(fraction=0.5)
    assert [config.num_replayed(batch, 7) for batch in range(4)] == [3, 4, 3, 4]
    assert [config.num_replayed(batch, 8) for batch in range(4)] == [4, 4, 4, 4]


@pytest.mark.parametrize(
    ("fields", "written_together", "batch_size", "drawn_together"),
    [
        ({"fraction": 0.5}, 16, 32, 16),
        ({"fraction": 0.5}, 32, 32, 16),
        ({"fraction": 0.25}, 16, 32, 8),
        ({"fraction": 0.5}, 7, 7, 1),  # 3 and 4 in turn.
        ({"fraction": 0.3}, 10, 10, 1),
        ({"fraction": 0.29}, 100, 100, 1),  # 28.999999999999996 in floating-point numbers.
        ({"fraction": 0.5, "single_unrolls": True}, 16, 32, 1),
        ({"fraction": 0.5, "sampler": "prioritized"}, 16, 32, 1),
        ({"fraction": 0.5, "remover": "prioritized"}, 16, 32, 1),
    ],
)
def test_unrolls_are_drawn_together_where_they_fill_every_replayed_part(
    fields, written_together, batch_size, drawn_together
):
    config = ReplayConfig(**fields)
    assert config.unrolls_per_item(written_together, batch_size) == drawn_together


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fraction": 1.0}, "fraction.*1.0"),
        ({"fraction": -0.1}, "fraction.*-0.1"),
        ({"capacity": 0}, "capacity.*0"),
        ({"min_size": 0}, "min_size.*0"),
        ({"sampler": "random"}, "sampler.*uniform, fifo, lifo, prioritized.*'random'"),
        ({"remover": "oldest"}, "remover.*'oldest'"),
        ({"priority": "loss"}, "priority.*advantage, td_error.*'loss'"),
        ({"priority_exponent": -1.0}, "priority_exponent.*-1.0"),
        ({"fraction": 0.5, "samples_per_insert": 2.0}, "samples_per_insert=2.0.*Make it 1 or"),
        ({"fraction": 0.75, "max_times_sampled": 2}, "max_times_sampled=2 is less than.*= 3"),
        (
            {"fraction": 0.5, "max_times_sampled": 2, "samples_per_insert": 1.0},
            "cannot both be set",
        ),
        ({"fraction": 0.5, "error_buffer": 500.0}, "error_buffer=500.0 is of samples_per_insert"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(fields, message):
    with pytest.raises(ValueError, match=message):
        ReplayConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"capacity": 63}, "capacity=63 is smaller than two batches of 32"),
        ({"capacity": 100, "min_size": 101}, "min_size=101 is more than capacity=100"),
        ({"samples_per_insert": 1.0, "error_buffer": 10.0}, "error_buffer=10.0 is too small"),
    ],
)
def test_what_does_not_fit_the_batches_is_refused_with_the_reason(fields, message):
    with pytest.raises(ValueError, match=message):
        IMPALAConfig(batch_size=32, replay=ReplayConfig(fraction=0.5, **fields))


def test_lags_that_would_drop_everything_are_refused():
    IMPALAConfig(actor_lag=3, max_policy_lag=5)
    with pytest.raises(ValueError, match="max_policy_lag=2 is smaller than actor_lag=3"):
        IMPALAConfig(actor_lag=3, max_policy_lag=2)
    with pytest.raises(ValueError, match=r"actor_lag.*-1"):
        IMPALAConfig(actor_lag=-1)


def test_without_replay_its_other_settings_do_not_matter():
    config = ReplayConfig(capacity=1, max_times_sampled=1, samples_per_insert=3.0)
    IMPALAConfig(replay=config)
    with pytest.raises(ValueError, match="samples_per_insert"):
        dataclasses.replace(config, fraction=0.2)
