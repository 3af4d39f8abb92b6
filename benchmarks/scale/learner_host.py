"""The learner's host as two processes, so that their CPU times can be told apart.

One serves weights by courier, as the learner's node does. The other takes unrolls: Reverb's server,
the dataset, and a pause in place of the gradient step.
"""

import ctypes
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

import courier
import numpy as np
import reverb

from acme_impala import IMPALABuilder, networks
from benchmarks.scale.setting import Setting
from benchmarks.tasks import Task


class Counts(ctypes.Structure):
    """What the two processes count, in memory that they share.

    Attributes:
        steps: of the learner; the version of the weights.
        unrolls: taken.
        lag_sum: of the policy lags of these, in learner steps.
        lag_max: the greatest of them since it was last set to 0.
        asked: how often weights or their version were asked for.
        sent: how often weights were sent.
        sent_bytes: of these.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("steps", "unrolls", "lag_sum", "lag_max", "asked", "sent", "sent_bytes")
    )


def serve_weights(task: Task, setting: Setting, counts: Any, address: Connection):
    """Serves the weights of the task's network, of the version that the other process counts."""
    del setting  # It takes whatever is asked.
    spec = task.environment_spec()
    network = networks.make_network(spec, task.network)
    policy = [variable.numpy() for variable in network.variables]
    size = sum(array.nbytes for array in policy)

    def get_variables(names: list[str]) -> list[list[np.ndarray]]:
        with counts.get_lock():
            version = counts.steps
            counts.asked += 1
            if "policy" in names:
                counts.sent += 1
                counts.sent_bytes += size
        values = {"policy": policy, "policy_version": [np.int64(version)]}
        return [values[name] for name in names]

    server = courier.Server()
    server.Bind("get_variables", get_variables)
    server.Start()
    address.send(f"localhost:{server.port}")
    server.Join()


def take_unrolls(task: Task, setting: Setting, counts: Any, address: Connection):
    """Takes unrolls in batches, as fast as a learner with so short a step would."""
    builder = IMPALABuilder(task.agent, learner_runs_alongside=True)
    with tempfile.TemporaryDirectory() as directory:
        server = reverb.Server(
            builder.make_replay_tables(task.environment_spec()),
            checkpointer=reverb.checkpointers.DefaultCheckpointer(directory),
        )
        address.send(f"localhost:{server.port}")
        for batch in builder.make_dataset_iterator(reverb.Client(f"localhost:{server.port}")):
            lags = counts.steps - batch.policy_version.numpy()
            time.sleep(setting.step_seconds)
            with counts.get_lock():
                counts.steps += 1
                counts.unrolls += len(lags)
                counts.lag_sum += int(lags.sum())
                counts.lag_max = max(counts.lag_max, int(lags.max()))
