"""Unrolls of environments side by side are those that single adders write, item by item."""

import dm_env
import numpy as np
import pytest
import tensorflow as tf
import tree
from dm_env import specs

from acme_impala import replay
from acme_impala.environments import Catch, EnvironmentList
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome
from acme_impala.frames import FrameStack, StackedFrames
from acme_impala.replay import ActingExtras

from .examples import environment_spec, sample, serving

NUM_ACTIONS = 3
T = 4


class Frames(EpisodicEnvironment):
    """Random frames, stacked; episodes of random lengths, some truncated."""

    def __init__(self, seed, stack_size=3):
        self._rng = np.random.default_rng(seed)
        self._shape = (5, 4, stack_size)
        self._stack = FrameStack((1, *self._shape), np.uint8)

    def observation_spec(self):
        return StackedFrames(self._shape, np.uint8, 0, 255)

    def action_spec(self):
        return specs.DiscreteArray(NUM_ACTIONS)

    def _push(self, first):
        newest = self._rng.integers(0, 256, (1, 5, 4), dtype=np.uint8)
        return self._stack.push(newest, np.array([first]))[0]

    def _begin(self):
        return self._push(first=True)

    def _advance(self, action):
        ends = self._rng.random() < 0.3
        terminated = ends and self._rng.random() < 0.5
        return Outcome(self._push(False), self._rng.normal(), terminated, ends and not terminated)


def signature(observations, unrolls_per_item=1):
    spec = environment_spec(observations, NUM_ACTIONS)
    return replay.unroll_signature(
        spec, (tf.TensorSpec((2,), tf.float32),), T, unrolls_per_item=unrolls_per_item
    )


def act(environment, row):
    """What environment number i does at its row: action, logits, recurrent state."""
    rng = np.random.default_rng([environment, row])
    return (
        np.int32(rng.integers(NUM_ACTIONS)),
        rng.normal(size=NUM_ACTIONS).astype(np.float32),
        (rng.normal(size=2).astype(np.float32),),
    )


def write_alone(client, environment, number, rows):
    """By an adder, as an actor in one environment does it."""
    adder = replay.UnrollAdder(client)
    timestep = environment.reset()
    adder.add_first(timestep)
    for row in range(rows):
        action, logits, state = act(number, row)
        was_last, timestep = timestep.last(), environment.step(action)
        if was_last:
            adder.add_first(timestep)
        else:
            adder.add(action, timestep, ActingExtras(logits, state, row // T))
    adder.flush()
    adder.close()
    return adder.unrolls_written


def write_together(client, batch, rows):
    """By one writer, as an actor in a batch of environments does it."""
    writer = replay.UnrollWriter(client, batch.num_environments)
    timestep = batch.reset()
    for row in range(rows):
        writer.open_row(timestep.observation, timestep.step_type == dm_env.StepType.FIRST)
        assert writer.unroll_begins == (row % T == 0)
        assert writer.next_unroll_begins == ((row + 1) % T == 0)
        done = [act(i, row) for i in range(batch.num_environments)]
        actions, logits, state = tree.map_structure(lambda *xs: np.stack(xs), *done)
        writer.act(actions, logits, state, row // T)
        writer.act_nowhere(timestep.step_type == dm_env.StepType.LAST)
        timestep = batch.step(actions)
        writer.close_row(timestep.reward, timestep.discount)
    writer.flush()
    writer.close()
    return writer.unrolls_written


@pytest.mark.parametrize(
    "make",
    [Frames, lambda seed: Frames(seed, stack_size=1), lambda seed: Catch(seed=seed)],
    ids=["frames", "single frames", "catch"],
)
@pytest.mark.parametrize("unrolls_per_item", [1, 3, 6])
def test_a_batch_writes_what_its_environments_would_write_alone(make, unrolls_per_item):
    observations, rows, number = make(0).observation_spec(), 41, 6
    alone = []
    for i in range(number):
        with serving(signature(observations), 100) as client:
            count = write_alone(client, make(i), i, rows)
            alone.append(sample(client, count))
    with serving(signature(observations, unrolls_per_item), 100) as client:
        batch = EnvironmentList([make(i) for i in range(number)])
        count = write_together(client, batch, rows)
        assert client.server_info()[replay.QUEUE].current_size == count // unrolls_per_item
        together = sample(client, count)
    assert count == number * (rows - 1) // T
    for k, unroll in enumerate(together):
        expected = alone[k % number][k // number]
        # Where an episode's last observation is row 0 the state is reset before it is used, and
        # the version is asked for a row later by an actor in one environment.
        if unroll.start_of_episode[1]:
            header = {"initial_state": (), "policy_version": ()}
            unroll, expected = unroll._replace(**header), expected._replace(**header)
        tree.map_structure(np.testing.assert_array_equal, unroll, expected)


@pytest.mark.parametrize("stack_size", [1, 3])
def test_stacked_frames_come_out_of_the_dataset_as_the_environment_stacked_them(stack_size):
    number, rows, batch_size = 4, 33, 8
    environments = [Frames(i, stack_size) for i in range(number)]
    with serving(signature(environments[0].observation_spec(), 2), 100) as client:
        write_together(client, EnvironmentList(environments), rows)
        dataset = replay.UnrollDataset(client, batch_size)
        batches = [next(dataset) for _ in range(4)]
    stacks = []
    for i in range(number):
        environment = Frames(i, stack_size)
        stacks.append([environment.reset().observation])
        stacks[i] += [environment.step(act(i, row)[0]).observation for row in range(rows)]
    for k, batch in enumerate(batches):
        assert batch.observation.shape == (T + 1, batch_size, 5, 4, stack_size)
        assert batch.observation.shape == dataset.element_spec.observation.shape
        for column in range(batch_size):
            unroll = k * batch_size + column
            first = unroll // number * T
            np.testing.assert_array_equal(
                batch.observation[:, column], stacks[unroll % number][first : first + T + 1]
            )


def test_the_environment_with_a_bad_reward_is_named():
    with serving(signature(Catch().observation_spec(), 1), 10) as client:
        writer = replay.UnrollWriter(client, 3, environment_name="Maze")
        writer.open_row(np.zeros((3, 10, 5), np.float32), np.ones(3, bool))
        writer.act(np.zeros(3, np.int32), np.zeros((3, 3), np.float32), (np.zeros((3, 2)),), 0)
        with pytest.raises(ValueError, match=r"environment 1 of Maze, episode 1, step 1.*nan"):
            writer.close_row(np.array([0, np.nan, 0], np.float32), np.ones(3, np.float32))
        writer.close()


def test_items_that_do_not_fit_are_refused():
    with serving(signature(Catch().observation_spec(), 4), 10) as client:
        with pytest.raises(ValueError, match="6 environments do not fill items of 4 unrolls"):
            replay.UnrollWriter(client, 6)
        with pytest.raises(ValueError, match="Items of 4 unrolls do not fill batches of 6"):
            replay.UnrollDataset(client, 6)
