"""Actors: one environment, or a batch of them."""

from collections.abc import Callable, Iterator, Sequence

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from acme.tf import variable_utils

from acme_impala import environments, networks, replay, types
from acme_impala.networks.cores import reset_state


class IMPALAActor(acme.Actor):
    """Acts in one environment by the newest policy and records unrolls.

    The weights change only between unrolls: they are fetched anew when an unroll begins, after the
    queue has taken the unrolls before (so that a wait for room does not make them old). Without an
    adder, as in an evaluator, they are fetched when an episode begins.

    The network may be anything that `networks.as_impala_network` takes. It acts on the CPU.
    """

    def __init__(
        self,
        network: networks.Network,
        *,
        adder: replay.UnrollAdder | None = None,
        variable_source: acme.VariableSource | None = None,
        seed: int | Sequence[int] = 0,
        greedy: bool = False,
    ):
        """Makes an actor.

        Args:
            network: the policy; its variables are overwritten by those of `variable_source`.
            adder: where steps go; None: nowhere.
            variable_source: the learner, or something that stands for it; None: the network is
                taken as it is.
            seed: of the actions' sampling.
            greedy: take the likeliest action instead of sampling.
        """
        self._network = networks.as_impala_network(network)
        self._adder = adder
        self._weights = Weights(self._network, variable_source)
        self._sample = ActionSampler(seed, greedy)
        self._policy = tf.function(self._network.__call__)
        self._state = None
        self._extras = None

    def observe_first(self, timestep: dm_env.TimeStep):
        """Starts an episode, with the initial recurrent state."""
        with tf.device("/CPU:0"):
            self._state = self._network.initial_state(1)
        if self._adder:
            self._adder.add_first(timestep)
        else:
            self._weights.take(_batch_of_one(timestep.observation))

    def select_action(self, observation: types.Nest) -> np.ndarray:
        """Samples an action for one observation, without a batch dimension."""
        if self._adder and self._adder.unroll_begins:
            self._adder.flush()
            self._weights.take(_batch_of_one(observation))
        with tf.device("/CPU:0"):
            (logits, _), next_state = self._policy(_batch_of_one(observation), self._state)
        logits = logits.numpy()[0]
        if self._adder:
            self._extras = replay.ActingExtras(
                behaviour_logits=logits,
                state=tree.map_structure(lambda x: x.numpy()[0], self._state),
                policy_version=self._weights.version,
            )
        self._state = next_state
        return self._sample(logits)

    def observe(self, action: types.Nest, next_timestep: dm_env.TimeStep):
        """Records a step."""
        if self._adder:
            self._adder.add(action, next_timestep, self._extras)

    def update(self, wait: bool = False):
        """Does nothing: weights are taken when an unroll begins, and only then."""


class BatchedPolicy:
    """Acts in a batch of environments: one call of the network for all of them.

    It keeps their recurrent states.
    """

    def __init__(self, network: networks.Network, num_environments: int, sample: "ActionSampler"):
        """Makes a policy.

        Args:
            network: anything that `networks.as_impala_network` takes; it acts on the CPU.
            num_environments: N.
            sample: draws the actions.
        """
        self._network = networks.as_impala_network(network)
        self._sample = sample
        self._step = None  # Traced at the first call, when the observations are known.
        with tf.device("/CPU:0"):
            self._initial_state = self._network.initial_state(num_environments)
        self.state = self._initial_state  # Before the newest observations, tensors [N, ...].
        self._next_state = tree.flatten(self._initial_state)

    def __call__(self, observation: types.Nest, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples actions.

        Args:
            observation: a nest of [N, ...].
            first: [N] bool: where an episode starts, from the initial recurrent state.

        Returns:
            Actions [N] int32, and the logits [N, A] that drew them.
        """
        with tf.device("/CPU:0"):
            inputs = [tf.constant(x) for x in (*tree.flatten(observation), first)]
            if self._step is None:
                self._step = self._trace(observation, [*inputs, *self._next_state])
            logits, state, self._next_state = self._step(*inputs, *self._next_state)
        self.state = tree.unflatten_as(self._initial_state, state)
        logits = logits.numpy()
        return self._sample(logits), logits

    def _trace(self, structure: types.Nest, inputs: list[tf.Tensor]) -> Callable:
        """Makes a graph with flat inputs, which is called in two thirds of a tf.function's time."""
        num_leaves = len(tree.flatten(structure))

        @tf.function
        def step(*inputs):
            observation = tree.unflatten_as(structure, inputs[:num_leaves])
            first, *state = inputs[num_leaves:]
            state = reset_state(
                first, self._initial_state, tree.unflatten_as(self._initial_state, state)
            )
            (logits, _), next_state = self._network(observation, state)
            return logits, tree.flatten(state), tree.flatten(next_state)

        return step.get_concrete_function(*inputs)


class IMPALABatchActor(acme.Worker):
    """Acts in batches of environments by the newest policy and writes their unrolls.

    As in `IMPALAActor` the weights change only between unrolls, which begin in all environments at
    the same row. There may be several batches: while those that run in the background take their
    steps, the policy is called for another.
    """

    def __init__(
        self,
        network: networks.Network,
        batches: Sequence[environments.BatchedEnvironment],
        writers: Sequence[replay.UnrollWriter],
        variable_source: acme.VariableSource,
        *,
        seed: int | Sequence[int] = 0,
    ):
        """Makes an actor.

        Args:
            network: the policy; its variables are overwritten by those of `variable_source`.
            batches: at least one batch of environments.
            writers: one for each batch.
            variable_source: the learner, or something that stands for it.
            seed: of the actions' sampling.
        """
        network = networks.as_impala_network(network)
        sample = ActionSampler(seed)
        self._weights = Weights(network, variable_source)
        self._parts = [
            (batch, writer, BatchedPolicy(network, batch.num_environments, sample))
            for batch, writer in zip(batches, writers, strict=True)
        ]

    @property
    def unrolls_written(self) -> int:
        """Unrolls written so far."""
        return sum(writer.unrolls_written for _, writer, _ in self._parts)

    def run(self):
        """Acts for ever."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[tuple[int, dm_env.TimeStep, np.ndarray]]:
        """Acts for ever; gives what every step of every batch led to.

        Yields:
            The batch's number, its timestep, and its `game_over`, [N] bool.
        """
        for number, (batch, writer, policy) in enumerate(self._parts):
            self._act(batch.reset(), batch, writer, policy, takes_weights=number == 0)
        while True:
            for number, (batch, writer, policy) in enumerate(self._parts):
                timestep = batch.receive()
                game_over = batch.game_over
                writer.close_row(timestep.reward, timestep.discount)
                self._act(timestep, batch, writer, policy, takes_weights=number == 0)
                yield number, timestep, game_over

    def _act(
        self,
        timestep: dm_env.TimeStep,
        batch: environments.BatchedEnvironment,
        writer: replay.UnrollWriter,
        policy: BatchedPolicy,
        takes_weights: bool,
    ):
        first = timestep.step_type == dm_env.StepType.FIRST
        writer.open_row(timestep.observation, first)
        if takes_weights and writer.unroll_begins:
            for _, other, _ in self._parts:
                other.flush()
            self._weights.take(timestep.observation)
        actions, logits = policy(timestep.observation, first)
        batch.send(actions)
        writer.act(actions, logits, policy.state, self._weights.version)
        writer.act_nowhere(timestep.step_type == dm_env.StepType.LAST)


class ActionSampler:
    """Draws actions from softmax policies."""

    def __init__(self, seed: int | Sequence[int] = 0, greedy: bool = False):
        """Makes a sampler.

        Args:
            seed: of the drawing.
            greedy: take the likeliest action instead of drawing one.
        """
        self._random = np.random.default_rng(seed)
        self._greedy = greedy

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Returns actions [...] int32 for logits [..., A]."""
        # Gumbel's trick: argmax(logits + noise) is distributed as softmax(logits).
        noise = 0.0 if self._greedy else self._random.gumbel(size=logits.shape)
        return np.argmax(logits + noise, axis=-1).astype(np.int32)


class Weights:
    """A network's weights, taken from a learner.

    Attributes:
        version: the learner step that they are of; 0 before they are first taken.
    """

    def __init__(self, network: networks.Network, source: acme.VariableSource | None):
        """Binds a network to a source; None: it keeps the weights that it has."""
        self._network = network
        self._source = source
        self._client: variable_utils.VariableClient | None = None
        self._version = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.version = 0

    def take(self, observation: types.Nest):
        """Fetches the newest weights, if they are newer.

        Args:
            observation: any batch of observations.
        """
        if not self._source:
            return
        if not self._client:
            # Sonnet makes variables at the first call, so there are none to fetch into before.
            with tf.device("/CPU:0"):
                batch_size = len(tree.flatten(observation)[0])
                self._network(observation, self._network.initial_state(batch_size))
            self._client = variable_utils.VariableClient(
                self._source,
                {"policy": self._network.variables, "policy_version": [self._version]},
            )
        elif int(self._source.get_variables(["policy_version"])[0][0]) == self.version:
            return
        self._client.update_and_wait()
        self.version = int(self._version)


def _batch_of_one(observation: types.Nest) -> types.Nest:
    return tree.map_structure(lambda x: np.asarray(x)[np.newaxis], observation)
