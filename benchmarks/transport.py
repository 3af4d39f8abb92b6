"""The way of unrolls alone: from what an actor has recorded to a batch in the learner's hands."""

import gc
import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import dm_env
import numpy as np
import psutil
import reverb

from acme_impala import IMPALABuilder, replay
from acme_impala.environments import BatchedEnvironment
from benchmarks.tasks import Task
from benchmarks.timing import Turn, cpu_seconds, repeated

_STEPS_BEFORE_RECORDING = 200  # Until the environments are no longer at the same point.


class Row(NamedTuple):
    """What an actor tells its writer of one row; every field has N in front."""

    observation: np.ndarray
    first: np.ndarray
    action: np.ndarray
    logits: np.ndarray
    last: np.ndarray
    reward: np.ndarray
    discount: np.ndarray


def transport(task: Task) -> Turn:
    """Writers in one process, server and reader in this one, with nothing else to do.

    The costs are of both processes together: write, Reverb, read, restack. Between its turns the
    queue is full, and the writers wait. All goes on until the process is killed.
    """
    builder = IMPALABuilder(
        task.agent, unrolls_per_item=task.unrolls_per_item, learner_runs_alongside=True
    )
    server = reverb.Server(builder.make_replay_tables(task.environment_spec()))
    writers = multiprocessing.get_context("spawn").Process(
        target=_write, args=(task, server.port), daemon=True
    )
    writers.start()
    batches = builder.make_dataset_iterator(
        reverb.Client(f"localhost:{server.port}"), should_stop=lambda: not writers.is_alive()
    )
    writing = psutil.Process(writers.pid)

    def read():
        if next(batches, None) is None:
            # To name the server is also to keep it.
            raise RuntimeError(f"The writers to {server} ended with status {writers.exitcode}.")
        return task.unroll_length * task.batch_size

    def cpu():
        return cpu_seconds() + sum(writing.cpu_times()[:2])

    read()  # Comes as soon as the writers have imported TensorFlow and recorded.
    return repeated(read, cpu)


def _write(task: Task, port: int):
    """Writes recorded unrolls for ever, from a thread for each batch of an actor."""
    gc.freeze()  # As the process that reads has done, and a program's nodes do.
    threads = [
        threading.Thread(target=_write_batch, args=(task, port, batch))
        for batch in task.actors.make_batches(task.environment_factory, 0)
    ]
    for thread in threads:
        thread.start()


def _write_batch(task: Task, port: int, batch: BatchedEnvironment):
    writer = replay.UnrollWriter(reverb.Client(f"localhost:{port}"), batch.num_environments)
    for _ in write_for_ever(writer, record(batch, task.unroll_length)):
        pass


def write_for_ever(
    writer: replay.UnrollWriter, rows: list[Row], begin_unroll: Callable[[], int] = lambda: 0
) -> Iterator[bool]:
    """Writes recorded rows, again and again.

    Args:
        writer: of as many environments.
        rows: what they did.
        begin_unroll: called when an unroll begins; returns the version of the policy that acts.

    Yields:
        After every row, whether it was the first of an unroll.
    """
    version = 0
    for row in itertools.cycle(rows):
        writer.open_row(row.observation, row.first)
        begins = writer.unroll_begins
        if begins:
            writer.flush()
            version = begin_unroll()
        writer.act(row.action, row.logits, (), version)
        writer.act_nowhere(row.last)
        writer.close_row(row.reward, row.discount)
        yield begins


def record(batch: BatchedEnvironment, num_rows: int) -> list[Row]:
    """Plays with random actions."""
    num_actions = batch.action_spec().num_values
    rng = np.random.default_rng(0)
    rows = []
    timestep = batch.reset()
    for _ in range(_STEPS_BEFORE_RECORDING + num_rows):
        action = rng.integers(num_actions, size=batch.num_environments, dtype=np.int32)
        next_timestep = batch.step(action)
        rows.append(
            Row(
                observation=timestep.observation,
                first=timestep.step_type == dm_env.StepType.FIRST,
                action=action,
                logits=np.zeros((batch.num_environments, num_actions), np.float32),
                last=timestep.step_type == dm_env.StepType.LAST,
                reward=next_timestep.reward,
                discount=next_timestep.discount,
            )
        )
        timestep = next_timestep
    return rows[_STEPS_BEFORE_RECORDING:]
