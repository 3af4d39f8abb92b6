"""The tasks that are measured."""

import dataclasses

import acme
from acme import specs

from acme_impala import environments, networks
from acme_impala.config import IMPALAConfig
from acme_impala.experiments import layout, presets

# Longer than anyone measures: schedules stand still, and no evaluation comes between.
NUM_FRAMES = 10**9


@dataclasses.dataclass(frozen=True)
class Task:
    """An environment, a network without memory, and the sizes of unrolls, batches and actors.

    Attributes:
        name: by which it is chosen.
        environment: as `launch/train.py --env` takes it.
        preset: where all other settings come from.
        network: the network.
        unroll_length: T, in agent steps.
        batch_size: B, unrolls in a batch.
        environments_per_actor: environments of an actor, in all its batches.
        loss_unroll_length: T of the batch on which the loss is held against a learner step; None:
            it is not measured.
    """

    name: str
    environment: str
    preset: str
    network: networks.NetworkConfig
    unroll_length: int
    batch_size: int
    environments_per_actor: int
    loss_unroll_length: int | None = None

    @property
    def agent(self) -> IMPALAConfig:
        """The hyperparameters."""
        return dataclasses.replace(
            presets.PRESETS[self.preset](NUM_FRAMES).agent,
            unroll_length=self.unroll_length,
            batch_size=self.batch_size,
        )

    @property
    def environment_factory(self) -> environments.EnvironmentFactory:
        """Makes the environment."""
        return environments.EnvironmentFactory(self.environment)

    def environment_spec(self) -> specs.EnvironmentSpec:
        """The environment's spec; makes an environment to find out."""
        return acme.make_environment_spec(self.environment_factory(0))

    @property
    def actors(self) -> layout.ActorLayout:
        """The actors that `launch/train.py` would start here."""
        return layout.ActorLayout.make(self.environment_factory, None, self.environments_per_actor)

    @property
    def environments_per_batch(self) -> int:
        """N, environments for which an actor calls the policy at once."""
        return self.actors.environments_per_batch

    @property
    def unrolls_per_item(self) -> int:
        """K, unrolls in one Reverb item."""
        return self.actors.unrolls_per_item(self.batch_size)

    @property
    def train_flags(self) -> list[str]:
        """The flags by which `launch/train.py` trains on this task, without end or evaluation."""
        sizes = ",".join(map(str, self.network.hidden_sizes))
        return [
            f"--env={self.environment}",
            f"--preset={self.preset}",
            f"--torso={self.network.torso}",
            *([f"--hidden_sizes={sizes}"] if self.network.torso == "mlp" else []),
            f"--unroll_length={self.unroll_length}",
            f"--batch_size={self.batch_size}",
            f"--environments_per_actor={self.environments_per_actor}",
            f"--num_frames={NUM_FRAMES}",
            f"--evaluate_every={NUM_FRAMES}",
        ]

    def describe(self) -> str:
        """One line for a reader."""
        torso = self.network.torso
        if torso == "mlp":
            torso += " " + "x".join(map(str, self.network.hidden_sizes))
        return (
            f"{self.environment}, {torso}, unroll {self.unroll_length}, batch {self.batch_size}, "
            f"{self.actors.num_actors} x {self.environments_per_actor} environments"
        )


TASKS = {
    task.name: task
    for task in (
        Task(
            name="breakout",
            environment="atari:breakout",
            preset="atari",
            network=networks.NetworkConfig(torso="shallow"),
            unroll_length=20,
            batch_size=32,
            environments_per_actor=16,
            loss_unroll_length=100,
        ),
        Task(
            name="cartpole",
            environment="gym:CartPole-v1",
            preset="classic_control",
            network=networks.NetworkConfig(torso="mlp", hidden_sizes=(64, 64)),
            unroll_length=20,
            batch_size=128,
            environments_per_actor=128,
        ),
    )
}
