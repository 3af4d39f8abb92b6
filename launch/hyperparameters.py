"""The flags of agent and network, which several commands share."""

import dataclasses
import re

from absl import flags

from acme_impala import networks
from acme_impala.checks import require_positive_int
from acme_impala.config import CORRECTIONS, Adam, IMPALAConfig, LinearSchedule, RMSProp
from acme_impala.experiments import presets
from acme_impala.replay_config import PRIORITIES, SELECTORS, ReplayConfig

FLAGS = flags.FLAGS

flags.DEFINE_integer("num_frames", 1_000_000, "Environment frames to learn from.")
flags.DEFINE_enum(
    "preset", None, list(presets.PRESETS), "Settings to start from; the default fits the env."
)
flags.DEFINE_integer("seed", 0, "Of initial weights and everything else that is random.")
flags.DEFINE_enum("torso", None, list(networks.TORSOS), "The network's torso.")
flags.DEFINE_enum("core", None, list(networks.CORES), "The network's core.")
flags.DEFINE_list("hidden_sizes", None, "Units of the MLP torso's layers.")

# The hyperparameters, by their names in IMPALAConfig; those not given are the preset's.
_INTEGERS = ("unroll_length", "batch_size", "queue_size", "max_policy_lag", "actor_lag")
_NUMBERS = ("discount", "lambda_", "reward_scale", "baseline_cost")
_OPTIONAL_NUMBERS = (
    "clip_rho_threshold",
    "clip_pg_rho_threshold",
    "clip_c_threshold",
    "max_gradient_norm",
    "popart_step_size",
)
_SCHEDULES = ("learning_rate", "entropy_cost")
# And of ReplayConfig, with this before their names.
_REPLAY = "replay_"


def _described(config: type) -> dict[str, str]:
    """What a config's docstring says of each of its fields."""
    fields = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", config.__doc__ or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in fields}


_HELP = _described(IMPALAConfig)
_REPLAY_HELP = _described(ReplayConfig)
for _name in _INTEGERS:
    flags.DEFINE_integer(_name, None, _HELP[_name])
for _name in _NUMBERS:
    flags.DEFINE_float(_name, None, _HELP[_name])
for _name in _OPTIONAL_NUMBERS:
    flags.DEFINE_string(_name, None, f"{_HELP[_name]} A number, or 'none'.")
for _name in _SCHEDULES:
    flags.DEFINE_string(
        _name, None, f"{_HELP[_name]} A number, or two as in 1e-3:0 to anneal it over the run."
    )
flags.DEFINE_enum("correction", None, CORRECTIONS, _HELP["correction"])
flags.DEFINE_string("reward_clipping", None, _HELP["reward_clipping"])
flags.DEFINE_enum(
    "optimizer", None, ["rmsprop", "adam"], "With the preset's settings, where that has the same."
)
for _name, _define in {
    "fraction": flags.DEFINE_float,
    "capacity": flags.DEFINE_integer,
    "min_size": flags.DEFINE_integer,
    "single_unrolls": flags.DEFINE_bool,
    "priority_exponent": flags.DEFINE_float,
    "max_times_sampled": flags.DEFINE_integer,
    "samples_per_insert": flags.DEFINE_float,
    "error_buffer": flags.DEFINE_float,
}.items():
    _define(_REPLAY + _name, None, _REPLAY_HELP[_name])
for _name, _known in (("sampler", SELECTORS), ("remover", SELECTORS), ("priority", PRIORITIES)):
    flags.DEFINE_enum(_REPLAY + _name, None, _known, _REPLAY_HELP[_name])


def make_preset(environment_name: str) -> presets.Preset:
    """Finds the preset that the flags start from.

    Args:
        environment_name: as --env of launch/train.py.

    Raises:
        ValueError: the number of frames is impossible.
    """
    preset_name = FLAGS.preset or presets.preset_for(environment_name)
    require_positive_int("num_frames", FLAGS.num_frames)
    if preset_name not in presets.PRESETS:
        preset_name = "classic_control"  # The environment's own name is refused later.
    return presets.PRESETS[preset_name](FLAGS.num_frames)


def make_agent(preset: presets.Preset) -> IMPALAConfig:
    """Makes the agent's config: the preset's but for the flags that are given.

    Raises:
        ValueError: a flag's value is impossible; the message says what would do.
    """
    names = (*_INTEGERS, *_NUMBERS, *_OPTIONAL_NUMBERS, *_SCHEDULES)
    names += ("reward_clipping", "optimizer", "correction")
    given = {name: getattr(FLAGS, name) for name in names if getattr(FLAGS, name) is not None}
    for name in (*_OPTIONAL_NUMBERS, *_SCHEDULES):
        if name in given:
            given[name] = _parse(name, given[name])
    if "optimizer" in given:
        kind = {"rmsprop": RMSProp, "adam": Adam}[given["optimizer"]]
        own = preset.agent.optimizer
        given["optimizer"] = own if isinstance(own, kind) else kind()
    return dataclasses.replace(preset.agent, replay=_replay(preset.agent.replay), **given)


def make_network(preset: presets.Preset, num_values: int = 1) -> networks.NetworkConfig:
    """Makes the network's config: the preset's but for the flags that are given.

    Args:
        preset: what the flags start from.
        num_values: outputs of the baseline.

    Raises:
        ValueError: a flag's value is impossible.
    """
    given = {name: getattr(FLAGS, name) for name in ("torso", "core", "hidden_sizes")}
    given = {name: value for name, value in given.items() if value is not None}
    if "hidden_sizes" in given:
        given["hidden_sizes"] = _parse_sizes(given["hidden_sizes"])
    config = dataclasses.replace(preset.network, num_values=num_values, seed=FLAGS.seed, **given)
    if "hidden_sizes" in given and config.torso != "mlp":
        raise ValueError(
            f"--hidden_sizes means nothing to the torso {config.torso}: leave it out, or give "
            "--torso=mlp."
        )
    return config


def _replay(preset: ReplayConfig) -> ReplayConfig:
    names = [field.name for field in dataclasses.fields(ReplayConfig)]
    given = {name: getattr(FLAGS, _REPLAY + name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    config = dataclasses.replace(preset, **given)
    if given and not config.fraction and "fraction" not in given:
        raise ValueError(
            f"--{_REPLAY}{next(iter(given))} means nothing where nothing is replayed: leave it "
            f"out, or give --{_REPLAY}fraction."
        )
    return config


def _parse(name: str, text: str) -> float | LinearSchedule | None:
    if name in _OPTIONAL_NUMBERS and text.lower() == "none":
        return None
    try:
        numbers = [float(number) for number in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2 and name in _SCHEDULES:
        return LinearSchedule(*numbers, FLAGS.num_frames)
    raise ValueError(f"--{name}={text} is not understood: {FLAGS[name].help}")


def _parse_sizes(texts: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise ValueError(
            f"--hidden_sizes={','.join(texts)} is not understood: whole numbers, as in 64,64."
        ) from None
