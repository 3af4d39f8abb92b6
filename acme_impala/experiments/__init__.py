"""Whole experiments: in one process, or as a Launchpad program of processes."""

from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.launching import NodeFailedError, launch
from acme_impala.experiments.presets import PRESETS, Preset
from acme_impala.experiments.program import make_program
from acme_impala.experiments.ray_cluster import RayOptions
from acme_impala.experiments.single_process import run_experiment

__all__ = [
    "PRESETS",
    "ExperimentConfig",
    "NodeFailedError",
    "Preset",
    "RayOptions",
    "launch",
    "make_program",
    "run_experiment",
]
