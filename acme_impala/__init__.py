"""IMPALA for Acme: V-trace, learner, actors, Reverb transport and Launchpad programs."""

import os
import sys
import warnings


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


_prepare_tensorflow()

# ruff: noqa: E402
# isort: split
from acme_impala import environments, networks, vtrace
from acme_impala._version import __version__
from acme_impala.acting import IMPALAActor, IMPALABatchActor
from acme_impala.agent import IMPALA
from acme_impala.builder import IMPALABuilder
from acme_impala.config import Adam, IMPALAConfig, LinearSchedule, RMSProp
from acme_impala.experiments import ExperimentConfig, launch, make_program, run_experiment
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
