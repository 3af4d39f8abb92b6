"""Settings by name: the paper's, and small ones for small tasks."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from acme_impala.config import Adam, IMPALAConfig, LinearSchedule, RMSProp
from acme_impala.networks import NetworkConfig
from acme_impala.replay_config import ReplayConfig


class Preset(NamedTuple):
    """Agent, network, the shape of observations and the actors' size, which belong together."""

    agent: IMPALAConfig
    network: NetworkConfig
    last_action_and_reward: bool = False  # Whether observations hold them (types.OAR).
    environments_per_actor: int | None = None  # None: as `ActorLayout` has it.


def atari(num_frames: int) -> Preset:
    """The paper's for single Atari games (table G.1), with the shallow network, without LSTM.

    Args:
        num_frames: environment frames of the run, over which the learning rate goes to zero; the
            paper's 200 million.
    """
    return Preset(
        IMPALAConfig(
            unroll_length=20,
            batch_size=32,
            discount=0.99,
            baseline_cost=0.5,
            entropy_cost=0.01,
            reward_clipping="abs_one",
            optimizer=RMSProp(decay=0.99, epsilon=0.01, momentum=0.0),
            learning_rate=LinearSchedule(6e-4, 0.0, num_frames),
            max_gradient_norm=40.0,
            frames_per_step=4,
        ),
        NetworkConfig(torso="atari"),
    )


def atari57(num_frames: int) -> Preset:
    """The paper's for all of Atari-57 at once: the deep network on single games' settings.

    Args:
        num_frames: environment frames of the run, over which the learning rate goes to zero; the
            paper's 200 million of each game.
    """
    return atari(num_frames)._replace(network=NetworkConfig(torso="deep"))


def atari_quick(num_frames: int) -> Preset:
    """For an hour on a few cores: not the paper's, found by trying on Pong.

    The paper's settings have 200 million frames to learn from. With a tenth of them what counts is
    many updates: small batches, each three quarters replayed from what few games acted a moment
    ago, and a learning rate that is high and stays so for long. The optimizer is the paper's: with
    Adam most units of the network were soon inactive (docs/profile.md).

    Args:
        num_frames: environment frames of the run, over which the learning rate falls; 15 million
            were enough for Pong.
    """
    single = atari(num_frames)
    agent = dataclasses.replace(
        single.agent,
        batch_size=16,
        learning_rate=LinearSchedule(1e-3, 1e-4, num_frames),
        replay=ReplayConfig(fraction=0.75, capacity=400, single_unrolls=True),
    )
    return Preset(agent, NetworkConfig(torso="shallow"), environments_per_actor=8)


def dmlab(num_frames: int) -> Preset:
    """The paper's for a single DeepMind Lab task (tables D.1 and D.3).

    Where the paper sweeps (learning rate, entropy cost, epsilon) these are the defaults of its
    public source.

    Args:
        num_frames: environment frames of the run, over which the learning rate goes to zero.
    """
    return Preset(
        IMPALAConfig(
            unroll_length=100,
            batch_size=32,
            discount=0.99,
            baseline_cost=0.5,
            entropy_cost=0.00025,
            reward_clipping="abs_one",
            optimizer=RMSProp(decay=0.99, epsilon=0.1, momentum=0.0),
            learning_rate=LinearSchedule(4.8e-4, 0.0, num_frames),
            max_gradient_norm=None,
            frames_per_step=4,
        ),
        NetworkConfig(torso="deep", core="lstm", lstm_size=256),
        last_action_and_reward=True,
        environments_per_actor=4,  # Each is a process of 200 MiB, and keeps a core busy.
    )


def dmlab30(num_frames: int) -> Preset:
    """The paper's for DMLab-30 at once: another reward clipping, costs as its public source's run.

    Args:
        num_frames: environment frames of the run, over which the learning rate goes to zero; the
            paper's ten billion.
    """
    single = dmlab(num_frames)
    agent = dataclasses.replace(
        single.agent,
        entropy_cost=0.00334,
        reward_clipping="soft_asymmetric",
        learning_rate=LinearSchedule(3.187e-4, 0.0, num_frames),
    )
    return single._replace(agent=agent)


def classic_control(num_frames: int) -> Preset:
    """For cheap vector observations such as CartPole's: not the paper's, found by trying.

    Args:
        num_frames: environment frames of the run, over which the learning rate goes to zero.
    """
    return Preset(
        IMPALAConfig(
            unroll_length=20,
            batch_size=8,  # Small, for many updates: larger ones learn less from as many steps.
            discount=0.99,
            baseline_cost=0.5,
            entropy_cost=0.01,
            reward_scale=0.1,
            reward_clipping="none",
            optimizer=Adam(),
            learning_rate=LinearSchedule(1e-3, 0.0, num_frames),
            max_gradient_norm=None,
        ),
        NetworkConfig(torso="mlp", hidden_sizes=(64, 64)),
    )


def pendulum(num_frames: int) -> Preset:
    """For Pendulum's continuous torque and large costs: not the paper's, found by trying.

    Rewards are -16 to 0. Scaled as `classic_control` scales them, a run had its standard deviation
    fall to the least there is, and learned nothing; hence a smaller scale, and clipped gradients.

    Args:
        num_frames: environment frames of the run, over which learning rate and entropy cost go to
            zero. With 500,000 the one run that was made ended at a mean return of -243.
    """
    classic = classic_control(num_frames)
    agent = dataclasses.replace(
        classic.agent,
        batch_size=32,
        discount=0.9,
        entropy_cost=LinearSchedule(0.005, 0.0, num_frames),
        reward_scale=0.02,
        learning_rate=LinearSchedule(1e-3, 0.0, num_frames),
        max_gradient_norm=10.0,
    )
    return classic._replace(agent=agent)


def catch(num_frames: int) -> Preset:
    """For Catch and the memory task: small batches, fast learning.

    Args:
        num_frames: environment frames of the run (the rate is constant).
    """
    del num_frames
    return Preset(
        IMPALAConfig(
            unroll_length=10,
            batch_size=4,
            discount=0.99,
            baseline_cost=0.5,
            entropy_cost=0.003,
            reward_clipping="none",
            optimizer=Adam(),
            learning_rate=4e-3,
            max_gradient_norm=40.0,
        ),
        NetworkConfig(torso="mlp", hidden_sizes=(128,)),
        environments_per_actor=8,
    )


PRESETS: dict[str, Callable[[int], Preset]] = {
    "atari": atari,
    "atari57": atari57,
    "atari_quick": atari_quick,
    "dmlab": dmlab,
    "dmlab30": dmlab30,
    "classic_control": classic_control,
    "pendulum": pendulum,
    "catch": catch,
}


def preset_for(environment_name: str) -> str:
    """The preset that fits an environment's name; of several tasks the first decides."""
    first = environment_name.split(",")[0]
    if first.startswith("gym:Pendulum-"):
        return "pendulum"
    kind = first.split(":")[0]
    return {"gym": "classic_control", "memory": "catch"}.get(kind, kind)
