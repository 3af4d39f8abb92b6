"""Gymnasium, Atari, DeepMind Lab and two small tasks behind dm_env, alone or in batches."""

from acme_impala.environments.atari import AtariEnvironment, AtariOptions
from acme_impala.environments.atari57 import ATARI_57
from acme_impala.environments.atari_vector import AtariVectorEnvironment
from acme_impala.environments.batch import (
    BackgroundEnvironmentList,
    BatchedEnvironment,
    EnvironmentList,
)
from acme_impala.environments.catch import Catch
from acme_impala.environments.dmlab import (
    RENDERERS,
    LabCrashedError,
    LabEnvironment,
    LabOptions,
)
from acme_impala.environments.dmlab30 import DMLAB_30
from acme_impala.environments.factory import (
    VECTORIZATIONS,
    EnvironmentFactory,
    batches_run_in_background,
    make_batch,
)
from acme_impala.environments.gymnasium_env import GymnasiumEnvironment
from acme_impala.environments.gymnasium_vector import GymnasiumVectorEnvironment
from acme_impala.environments.human_normalized import (
    SuiteScores,
    human_normalized_score,
    suite_scores,
)
from acme_impala.environments.memory import MemoryChain
from acme_impala.environments.suite import (
    SUITES,
    TaskSuite,
    is_suite,
    make_factory,
    task_names,
    tasks_of,
)
from acme_impala.environments.wrappers import (
    BatchedObservationActionReward,
    ObservationActionReward,
)

__all__ = [
    "ATARI_57",
    "DMLAB_30",
    "RENDERERS",
    "SUITES",
    "VECTORIZATIONS",
    "AtariEnvironment",
    "AtariOptions",
    "AtariVectorEnvironment",
    "BackgroundEnvironmentList",
    "BatchedEnvironment",
    "BatchedObservationActionReward",
    "Catch",
    "EnvironmentFactory",
    "EnvironmentList",
    "GymnasiumEnvironment",
    "GymnasiumVectorEnvironment",
    "LabCrashedError",
    "LabEnvironment",
    "LabOptions",
    "MemoryChain",
    "ObservationActionReward",
    "SuiteScores",
    "TaskSuite",
    "batches_run_in_background",
    "human_normalized_score",
    "is_suite",
    "make_batch",
    "make_factory",
    "suite_scores",
    "task_names",
    "tasks_of",
]
