"""Simulated actors on simulated hosts: they do everything but act.

A simulated host is a name under which its actors share the learner's weights; actors are threads.
What an actor writes was recorded once, and an unroll takes as long as it is told to.
"""

import os
import threading
import time
import traceback
from multiprocessing.connection import Connection

import acme
import courier
import numpy as np
import reverb

from acme_impala import environments, replay
from acme_impala.acting import NewestVariables
from acme_impala.experiments.host_weights import HostVariables
from acme_impala.experiments.remote import Remote
from acme_impala.types import VARIABLE_NAMES
from benchmarks.scale.setting import Addresses, Setting, Way
from benchmarks.tasks import Task
from benchmarks.transport import Row, record, write_for_ever


def run_actors(task: Task, setting: Setting, way: Way, addresses: Addresses, orders: Connection):
    """Runs actors, and starts more of them when it is told to.

    Args:
        task: what they do.
        setting: how fast, and on how many hosts.
        way: how they come by weights.
        addresses: of the learner's host.
        orders: gives lists of numbers of actors to start; each is answered when they run.
    """
    threading.excepthook = _end_process
    batch = environments.make_batch(task.environment_factory, 0, 1)
    rows = record(batch, task.unroll_length)
    batch.close()
    while True:
        threads = [
            threading.Thread(target=_run_actor, args=(number, rows, setting, way, addresses))
            for number in orders.recv()
        ]
        for thread in threads:
            thread.start()
        orders.send(len(threads))


def _run_actor(number: int, rows: list[Row], setting: Setting, way: Way, addresses: Addresses):
    learner = Remote(courier.Client(addresses.weights), "learner", threading.Event())
    host = number // setting.actors_per_host
    variables = _variables(learner, way, f"{addresses.weights} simulated host {host}")
    writer = replay.UnrollWriter(reverb.Client(addresses.unrolls))
    # Not all at the same moment.
    time.sleep(np.random.default_rng(number).uniform(0, setting.unroll_seconds))

    def begin_unroll() -> int:
        _, (version,) = variables.get_variables(VARIABLE_NAMES)
        return int(version)

    for begins in write_for_ever(writer, rows, begin_unroll):
        if begins:  # The rest then comes at once.
            time.sleep(setting.unroll_seconds)


def _variables(learner: acme.VariableSource, way: Way, name: str) -> NewestVariables:
    if way.max_age is None:
        return NewestVariables(learner)
    return HostVariables(learner, name, max_age=way.max_age)


def _end_process(failure: threading.ExceptHookArgs):
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)  # One actor less would be no failure to see.
