"""Actors: one environment, or a batch of them."""

import math
import threading
import time
from collections.abc import Iterator, Sequence

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from dm_env import specs

from acme_impala import distributions, environments, function_leak, networks, replay, types
from acme_impala.direct_call import DirectCall
from acme_impala.networks.cores import reset_state
from acme_impala.tracing import graph_function
from acme_impala.types import ACTOR_VARIABLE_NAMES, FIRST, LAST, VARIABLE_NAMES


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
        action_spec: specs.Array | None = None,
    ):
        """Makes an actor.

        Args:
            network: the policy; its variables are overwritten by those of `variable_source`.
            adder: where steps go; None: nowhere.
            variable_source: the learner, or something that stands for it; None: the network is
                taken as it is.
            seed: of the actions' sampling.
            greedy: take the likeliest action instead of sampling.
            action_spec: of the environment; None: one discrete action.
        """
        network = networks.as_impala_network(network)
        self._adder = adder
        self._weights = Weights(network, variable_source)
        self._sample = ActionSampler(seed, greedy, action_spec)
        self._policy = BatchedPolicy(network, 1, self._sample)
        self._drawn = None  # The newest action, as it was drawn from the policy.
        self._first = np.array([True])
        self._extras = None

    def observe_first(self, timestep: dm_env.TimeStep):
        """Starts an episode, with the initial recurrent state."""
        self._first[0] = True
        if self._adder:
            self._adder.add_first(timestep)
        else:
            self._weights.take(replay.block_of_one(timestep.observation))

    def select_action(self, observation: types.Nest) -> np.ndarray:
        """Samples an action for one observation, without a batch dimension."""
        observation = replay.block_of_one(observation)
        unroll_begins = self._adder and self._adder.unroll_begins
        if unroll_begins:
            self._adder.flush()
            self._weights.take(observation)
        actions, drawn, logits = self._policy(observation, self._first)
        self._drawn = drawn[0]
        self._first[0] = False
        if self._adder:
            self._extras = replay.ActingExtras(
                behaviour_logits=_only(logits),
                state=tree.map_structure(lambda x: x.numpy()[0], self._policy.state)
                if unroll_begins
                else (),  # It is not read.
                policy_version=self._weights.version,
            )
        return actions[0]

    def observe(self, action: types.Nest, next_timestep: dm_env.TimeStep):
        """Records a step.

        Where the environment takes another form of an action than what was drawn (see
        `distributions.py`), what was drawn by `select_action` is recorded.

        A FIRST is no step: the environment was lost in the middle of an episode and has begun
        another. The unroll in hand is dropped.
        """
        if next_timestep.first():
            if self._adder:
                self._adder.drop_rows()
            self.observe_first(next_timestep)
        elif self._adder:
            drawn = action if self._sample.acts_as_drawn else self._drawn
            self._adder.add(drawn, next_timestep, self._extras)

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
        function_leak.stop_leak()
        self._step = None  # Traced at the first call, when the observations are known.
        with tf.device("/CPU:0"):
            self._initial_state = self._network.initial_state(num_environments)
        # Before the newest observations, and after them.
        self._state = self._next_state = tree.flatten(self._initial_state)
        self._logits: types.Nest = None  # Their specs, once it is traced.

    @property
    def state(self) -> types.Nest:
        """The recurrent states before the newest observations: a nest of tensors [N, ...]."""
        return tree.unflatten_as(self._initial_state, self._state)

    def __call__(
        self, observation: types.Nest, first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, types.Nest]:
        """Samples actions.

        Args:
            observation: a nest of [N, ...].
            first: [N] bool: where an episode starts, from the initial recurrent state.

        Returns:
            Actions [N, ...] for the environments, the same as they were drawn, and the logits
            [N, A] (or the nest of another action space) that drew them. One discrete action is for
            the environment as it was drawn: [N] int32.

        Raises:
            ValueError: the policy is not one for the sampler's action spec.
        """
        inputs = [*tree.flatten(observation), first, *self._next_state]
        if self._step is None:
            self._step = self._trace(observation, inputs)
        outputs = self._step(inputs)
        size = len(self._next_state)
        self._state, self._next_state = outputs[:size], outputs[size : 2 * size]
        logits = tree.unflatten_as(self._logits, [x.numpy() for x in outputs[2 * size :]])
        drawn = self._sample(logits)
        return self._sample.to_environment(drawn), drawn, logits

    def _trace(self, structure: types.Nest, inputs: list[np.ndarray | tf.Tensor]) -> DirectCall:
        num_leaves = len(tree.flatten(structure))

        def step(*inputs):
            observation = tree.unflatten_as(structure, inputs[:num_leaves])
            first, *state = inputs[num_leaves:]
            state = reset_state(
                first, self._initial_state, tree.unflatten_as(self._initial_state, state)
            )
            (logits, _), next_state = self._network(observation, state)
            return tree.flatten(state), tree.flatten(next_state), logits

        with tf.device("/CPU:0"):
            tensors = [tf.constant(x) for x in inputs]
            traced = graph_function(step, *tensors).get_concrete_function(*tensors)
        *_, self._logits = traced.structured_outputs
        self._sample.check(self._logits)
        return DirectCall(traced)


class IMPALABatchActor(acme.Worker):
    """Acts in a batch of environments by the newest policy and writes their unrolls.

    As in `IMPALAActor` the weights change only between unrolls, which begin in all environments at
    the same row; they are fetched while the environments take the step before. Several actors in
    the threads of one process keep its cores busy: while the environments of one take their steps,
    another calls its policy.

    Where an environment is lost in the middle of an episode (its FIRST has no LAST before it) the
    unrolls in hand are dropped, those of the others too, which are written side by side with its
    own; the others' episodes go on.
    """

    def __init__(
        self,
        network: networks.Network,
        batch: environments.BatchedEnvironment,
        writer: replay.UnrollWriter,
        variable_source: acme.VariableSource,
        *,
        seed: int | Sequence[int] = 0,
    ):
        """Makes an actor.

        Args:
            network: the policy; its variables are overwritten by those of `variable_source`.
            batch: the environments.
            writer: takes their unrolls.
            variable_source: the learner, or something that stands for it; actors of one process
                share a `NewestVariables`.
            seed: of the actions' sampling.
        """
        network = networks.as_impala_network(network)
        self._batch = batch
        self._writer = writer
        self._weights = Weights(network, variable_source)
        self._policy = BatchedPolicy(
            network,
            batch.num_environments,
            ActionSampler(seed, action_spec=batch.action_spec()),
        )

    @property
    def unrolls_written(self) -> int:
        """Unrolls written so far."""
        return self._writer.unrolls_written

    @property
    def steps_acted(self) -> int:
        """Agent steps so far."""
        return self._writer.steps_acted

    @property
    def steps_in_hand(self) -> int:
        """Agent steps of unrolls that are not full yet."""
        return self._writer.steps_in_hand

    @property
    def steps_dropped_restart(self) -> int:
        """Agent steps of unrolls that were dropped because an environment was lost."""
        return self._writer.steps_dropped_restart

    @property
    def steps_confirmed(self) -> int:
        """Agent steps of unrolls that the queue is known to have taken."""
        return self._writer.steps_confirmed

    @property
    def environments_lost(self) -> int:
        """How often environments were lost: in an episode, or, as they say, between two."""
        return max(self._writer.environments_lost, self._batch.restarts)

    def run(self):
        """Acts for ever."""
        for _ in self.steps():
            pass

    def close(self, seconds: float) -> bool:
        """Ends the connection to the queue.

        Args:
            seconds: to wait for room in the queue.

        Returns:
            Whether the queue has taken all unrolls.
        """
        return self._writer.close(seconds)

    def steps(self) -> Iterator[tuple[dm_env.TimeStep, np.ndarray]]:
        """Acts for ever; gives what every step led to.

        Yields:
            The batch's timestep, and its `game_over`, [N] bool.
        """
        timestep = self._batch.reset()
        self._take_weights(timestep.observation)
        self._act(timestep)
        while True:
            restarts = timestep.step_type == LAST
            timestep = self._batch.receive()
            game_over = self._batch.game_over
            lost = (timestep.step_type == FIRST) & ~restarts
            num_lost = np.count_nonzero(lost)
            if num_lost:
                self._writer.act_nowhere(lost)
            self._writer.close_row(timestep.reward, timestep.discount)
            if num_lost:
                self._writer.drop_rows(num_lost)
                self._take_weights(timestep.observation)
            self._act(timestep)
            yield timestep, game_over

    def _act(self, timestep: dm_env.TimeStep):
        first = timestep.step_type == FIRST
        self._writer.open_row(timestep.observation, first)
        actions, drawn, logits = self._policy(timestep.observation, first)
        self._batch.send(actions)
        state = self._policy.state if self._writer.unroll_begins else ()  # Else it is not read.
        self._writer.act(drawn, logits, state, self._weights.version)
        self._writer.act_nowhere(timestep.step_type == LAST)
        if self._writer.next_unroll_begins:  # The environments take their step meanwhile.
            self._take_weights(timestep.observation)

    def _take_weights(self, observation: types.Nest):
        self._writer.flush()
        self._weights.take(observation)


class ActionSampler:
    """Draws actions from policies.

    Attributes:
        to_environment: makes of drawn actions [N, ...] those that environments take.
        acts_as_drawn: whether they are the same.
    """

    def __init__(
        self,
        seed: int | Sequence[int] = 0,
        greedy: bool = False,
        action_spec: specs.Array | None = None,
    ):
        """Makes a sampler.

        Args:
            seed: of the drawing.
            greedy: take the likeliest action instead of drawing one.
            action_spec: of the environment; None: one discrete action.

        Raises:
            ValueError: no policy can act by the action spec.
        """
        if action_spec is None:  # How many there are, the network knows.
            action_spec = specs.DiscreteArray(1)
        self._distribution = distributions.for_actions(action_spec)
        self.acts_as_drawn = isinstance(self._distribution, distributions.Categorical)
        self._random = np.random.default_rng(seed)
        self._greedy = greedy
        self.to_environment = self._distribution.to_environment

    def __call__(self, parameters: types.Nest) -> np.ndarray:
        """Returns drawn actions [...], or [..., D], for parameters as `distributions.py` says."""
        if self._greedy:
            return self._distribution.mode(parameters)
        return self._distribution.sample(parameters, self._random)

    def check(self, parameters: types.Nest):
        """Looks whether these are parameters of the action spec's distribution.

        Raises:
            ValueError: they are not.
        """
        kind = distributions.kind_of(parameters)
        if not isinstance(self._distribution, kind):
            raise ValueError(
                f"The network's policy is a {kind.__name__}, {parameters}, and does not fit the "
                "action spec, which without one given is taken for one discrete action. Give the "
                "actor or builder the action_spec of the environment that the network was made for."
            )


class NewestVariables(acme.VariableSource):
    """A learner's newest variables, each version of them fetched once for a whole process."""

    def __init__(self, source: acme.VariableSource, max_age: float = 0.0):
        """Stands between actors and `source`, the learner or something that stands for it.

        Args:
            source: of the variables.
            max_age: seconds for which what was the newest is given without asking again.
        """
        self._source = source
        self._max_age = max_age
        self._fetched: dict[str, list[np.ndarray]] = {"policy_version": [None]}
        self._newest_at = -math.inf
        self._lock = threading.Lock()

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """Returns variables by the names that the learner knows, all of the same learner step.

        The learner is asked after this call has begun; by whichever of several calls at once.
        """
        called_at = time.monotonic()
        with self._lock:
            if self._newest_at < called_at - self._max_age:
                self._newest_at = self._refresh()
            return [self._fetched[name] for name in names]

    def _refresh(self) -> float:
        """Fetches variables, if there are newer ones. One thread at a time calls it.

        Returns:
            When, by `time.monotonic`, they were the newest at the least.
        """
        now = time.monotonic()
        if self._source.get_variables(["policy_version"])[0] != self._fetched["policy_version"]:
            variables = self._source.get_variables(VARIABLE_NAMES)
            self._fetched = dict(zip(VARIABLE_NAMES, variables, strict=True))
        return now


class HeldBehind(acme.VariableSource):
    """A learner's variables as it gives them to actors, `config.actor_lag` steps behind."""

    def __init__(self, source: acme.VariableSource):
        """Stands between actors and `source`, the learner or something that stands for it."""
        self._source = source

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """Returns variables by the names that the learner has for the newest."""
        known = dict(zip(VARIABLE_NAMES, ACTOR_VARIABLE_NAMES, strict=True))
        return self._source.get_variables([known[name] for name in names])


class Weights:
    """A network's weights, taken from a learner.

    Attributes:
        version: the learner step that they are of; 0 before they are first taken.
    """

    def __init__(self, network: networks.Network, source: acme.VariableSource | None):
        """Binds a network to a source; None: it keeps the weights that it has."""
        if source and not isinstance(source, NewestVariables):
            source = NewestVariables(source)
        self._network = network
        self._source = source
        self._variables: Sequence[tf.Variable] | None = None
        self.version = 0

    def take(self, observation: types.Nest):
        """Fetches the newest weights, if they are newer.

        Args:
            observation: any batch of observations.
        """
        if not self._source:
            return
        version, values = self._source.get_variables(["policy_version", "policy"])
        if self._variables is None:
            # Sonnet makes variables at the first call, so there are none to assign to before.
            with tf.device("/CPU:0"):
                batch_size = len(tree.flatten(observation)[0])
                self._network(observation, self._network.initial_state(batch_size))
            self._variables = self._network.variables
        elif version == [self.version]:
            return
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self.version = int(version[0])


def _only(parameters: types.Nest) -> types.Nest:
    """Returns the parameters of a batch of one, without N."""
    if isinstance(parameters, np.ndarray):  # By far the most: no nest at all.
        return parameters[0]
    return tree.map_structure(lambda x: x[0], parameters)
