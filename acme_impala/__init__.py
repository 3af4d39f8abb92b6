"""IMPALA for Acme: V-trace, learner, actors, Reverb transport and Launchpad programs."""

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING


def _prepare_tensorflow():
    """Sets what TensorFlow reads once, when it is imported.

    TensorFlow 2.8 has oneDNN's kernels but leaves them off; with them the learner makes about
    three times as many steps a second on a CPU.
    """
    if "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        return  # The user has decided.
    if "tensorflow" in sys.modules:
        warnings.warn(
            "TensorFlow was imported before acme_impala, so its oneDNN kernels stay off and "
            "convolutions on the CPU take about three times as long. Import acme_impala first, "
            "or set TF_ENABLE_ONEDNN_OPTS=1.",
            stacklevel=3,
        )
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"


def _import_tensorflow():
    """Imports TensorFlow without jax, for which TensorFlow Lite looks.

    It only converts jax's models by it; in each of a program's processes that would take 20 MiB
    and a quarter of a second.
    """
    if "jax" in sys.modules:
        return
    sys.modules["jax"] = None
    try:
        importlib.import_module("tensorflow")
    finally:
        del sys.modules["jax"]


_prepare_tensorflow()
_import_tensorflow()

# ruff: noqa: E402
# isort: split
from acme_impala import environments, networks, vtrace
from acme_impala._version import __version__
from acme_impala.acting import IMPALAActor, IMPALABatchActor
from acme_impala.agent import IMPALA
from acme_impala.builder import IMPALABuilder
from acme_impala.config import Adam, IMPALAConfig, LinearSchedule, RMSProp
from acme_impala.experiments import ExperimentConfig, launch, make_program, run_experiment

if TYPE_CHECKING:
    from acme_impala.learning import IMPALALearner

__all__ = [
    "IMPALA",
    "Adam",
    "ExperimentConfig",
    "IMPALAActor",
    "IMPALABatchActor",
    "IMPALABuilder",
    "IMPALAConfig",
    "IMPALALearner",
    "LinearSchedule",
    "RMSProp",
    "__version__",
    "environments",
    "launch",
    "make_program",
    "networks",
    "run_experiment",
    "vtrace",
]


def __getattr__(name: str):
    """Imports the learner when it is asked for: in actors' processes it would take 20 MiB."""
    if name == "IMPALALearner":
        return importlib.import_module("acme_impala.learning").IMPALALearner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
