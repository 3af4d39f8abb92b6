"""Makes the parts of an IMPALA agent, by the signatures of Acme's builders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import acme
import numpy as np
import reverb
from acme import adders, specs
from acme.utils import counting, loggers

from acme_impala import acting, environments, networks, replay, types
from acme_impala.config import IMPALAConfig

if TYPE_CHECKING:
    from acme_impala import learning


class IMPALABuilder:
    """Builds tables, adder, dataset, actor and learner.

    The methods have the signatures of dm-acme 0.4.0's `GenericActorLearnerBuilder` (which is not
    inherited: importing it needs jax), so that Acme's `LocalLayout` and `DistributedLayout` run it.
    Arguments after a `*` are this package's own.
    """

    def __init__(
        self,
        config: IMPALAConfig = IMPALAConfig(),
        state_spec: types.Nest = (),
        unrolls_per_item: int = 1,
        learner_runs_alongside: bool = False,
        task_names: Sequence[str] = (),
        action_spec: specs.Array | None = None,
    ):
        """Makes a builder.

        Args:
            config: the hyperparameters.
            state_spec: nest of tf.TensorSpec of the network's recurrent state, without a batch
                dimension: `networks.state_spec(network)`; () for a network without recurrence.
            unrolls_per_item: unrolls that actors write as one Reverb item; more than one only with
                `make_batch_actor`. With replay it may become less, so that they can be drawn.
            learner_runs_alongside: whether unrolls are taken from the queue while actors act, so
                that it need not hold a whole batch. It then holds one item, if `queue_size` is
                None: the less waits, the less grows old.
            task_names: of the tasks that are learned at once, where there are several. Each has a
                queue, and the same share of batches.
            action_spec: of the environment that `make_actor`'s actors act in, for Acme's signature
                tells them nothing of it; None: one discrete action.
        """
        self._config = config
        self._state_spec = state_spec
        self.unrolls_per_item = unrolls_per_item
        if config.replay.fraction:
            self.unrolls_per_item = config.replay.unrolls_per_item(
                unrolls_per_item, config.batch_size
            )
        self._writes_come_whole = self.unrolls_per_item == unrolls_per_item
        self._learner_runs_alongside = learner_runs_alongside
        self._task_names = task_names
        self._action_spec = action_spec

    def make_replay_tables(self, environment_spec: specs.EnvironmentSpec) -> list[reverb.Table]:
        """Makes the queue of unrolls, of each task, and with replay the table beside it."""
        num_tasks = max(1, len(self._task_names))
        signature = replay.unroll_signature(
            environment_spec,
            self._state_spec,
            self._config.unroll_length,
            self.unrolls_per_item,
            num_tasks,
        )
        config = self._config
        made = replay.make_queues(signature, self.queue_capacity, num_tasks)
        if config.replay.fraction:
            made.append(replay.make_replay(signature, config.replay, config.batch_size))
        return made

    @property
    def queue_capacity(self) -> int:
        """Unrolls that the queue has room for, besides one item (`make_queue`)."""
        config = self._config
        if config.queue_size:
            return config.queue_size
        if not self._learner_runs_alongside:
            return config.batch_size
        # A batch of environments writes all its items at once, and then waits until they are taken.
        return 0 if self._writes_come_whole else config.replay.most_fresh(config.batch_size)

    def make_dataset_iterator(
        self,
        replay_client: reverb.Client,
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> replay.UnrollDataset:
        """Makes the iterator over batches: of unrolls [T+1, B, ...]; with replay, `types.Batch`."""
        config = self._config
        if not config.replay.fraction:
            return replay.UnrollDataset(replay_client, config.batch_size, should_stop=should_stop)
        return replay.MixedDataset(
            replay_client, config.batch_size, config.replay, should_stop=should_stop
        )

    def make_adder(
        self,
        replay_client: reverb.Client,
        *,
        environment_name: str = "the environment",
        should_stop: Callable[[], bool] = lambda: False,
    ) -> replay.UnrollAdder:
        """Makes an adder that writes unrolls into the queue."""
        return replay.UnrollAdder(
            replay_client, environment_name=environment_name, should_stop=should_stop
        )

    def make_actor(
        self,
        random_key: int | np.ndarray,
        policy_network: networks.Network,
        adder: adders.Adder | None = None,
        variable_source: acme.VariableSource | None = None,
        *,
        greedy: bool = False,
    ) -> acme.Actor:
        """Makes an actor.

        Args:
            random_key: a seed, or one of jax's keys.
            policy_network: the network to act with.
            adder: where steps go; None for an evaluator.
            variable_source: the learner.
            greedy: take the likeliest action instead of sampling.
        """
        if adder and self._config.actor_lag:
            # Where the learner's own network is given, it must not be held behind with the actor's.
            policy_network = copy.deepcopy(policy_network)
            variable_source = self.variables_of_actors(variable_source)
        return acting.IMPALAActor(
            policy_network,
            adder=adder,
            variable_source=variable_source,
            seed=_seed(random_key),
            greedy=greedy,
            action_spec=self._action_spec,
        )

    def variables_of_actors(
        self, learner: acme.VariableSource | None
    ) -> acme.VariableSource | None:
        """Returns what actors take their weights from, which may be held behind the learner's."""
        return acting.HeldBehind(learner) if learner and self._config.actor_lag else learner

    def make_batch_actor(
        self,
        random_key: int | np.ndarray,
        policy_network: networks.Network,
        batch: environments.BatchedEnvironment,
        replay_client: reverb.Client,
        variable_source: acme.VariableSource,
        *,
        task: int = 0,
        environment_name: str = "the environment",
        should_stop: Callable[[], bool] = lambda: False,
    ) -> acting.IMPALABatchActor:
        """Makes an actor over a batch of environments, which writes its own unrolls.

        Args:
            random_key: a seed, or one of jax's keys.
            policy_network: the network to act with.
            batch: the environments.
            replay_client: of the server that holds the queue.
            variable_source: what `variables_of_actors` gives.
            task: which of several tasks the environments are of.
            environment_name: named in errors.
            should_stop: asked while waiting for room in the queue.
        """
        writer = replay.UnrollWriter(
            replay_client,
            batch.num_environments,
            task=task,
            environment_name=environment_name,
            should_stop=should_stop,
        )
        return acting.IMPALABatchActor(
            policy_network, batch, writer, variable_source, seed=_seed(random_key)
        )

    def make_learner(
        self,
        random_key: int | np.ndarray,
        networks: networks.Network,
        dataset: Iterator[types.Unroll],
        replay_client: reverb.Client | None = None,
        counter: counting.Counter | None = None,
        *,
        logger: loggers.Logger | None = None,
        metrics_every_seconds: float = 0.0,
    ) -> learning.IMPALALearner:
        """Makes the learner.

        Args:
            random_key: not used: learning draws no random numbers.
            networks: the network to train.
            dataset: what `make_dataset_iterator` made.
            replay_client: where priorities are written back, if the replay has any.
            counter: told of learner steps and environment frames.
            logger: told of the metrics at every step; None: Acme's default.
            metrics_every_seconds: how old the metrics may be that cost time.
        """
        from acme_impala import learning  # Not needed, and not small, in processes of actors.

        del random_key
        prioritized = self._config.replay.fraction and self._config.replay.is_prioritized
        if prioritized and not replay_client:
            raise ValueError("A prioritized replay needs the replay_client: priorities go back.")
        return learning.IMPALALearner(
            networks,
            dataset,
            self._config,
            counter=counter,
            logger=logger,
            metrics_every_seconds=metrics_every_seconds,
            update_priorities=(
                replay.PriorityWriter(replay_client).update if prioritized else None
            ),
            task_names=self._task_names,
        )


def _seed(random_key: int | np.ndarray) -> list[int]:
    return np.asarray(random_key).ravel().tolist()
