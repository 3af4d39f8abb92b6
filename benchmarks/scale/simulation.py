"""Runs the simulation: the learner's host, and more and more actors."""

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import psutil

from benchmarks.scale.actors import run_actors
from benchmarks.scale.learner_host import Counts, serve_weights, take_unrolls
from benchmarks.scale.setting import Addresses, Setting, Way
from benchmarks.tasks import Task

# Simulated hosts are dealt out to so many processes at the most.
_MAX_ACTOR_PROCESSES = 4
_START_SECONDS = 120.0


def simulate(
    task: Task, setting: Setting, way: Way, numbers: Sequence[int], seconds: float
) -> list[dict[str, float]]:
    """Lets a number of actors after the other ask for weights and write unrolls.

    Args:
        task: what they do.
        setting: how fast, and on how many hosts.
        way: how they come by weights.
        numbers: of actors, ascending.
        seconds: for which each is measured.

    Returns:
        For each number what was measured. CPU times are in cores: seconds a second.
    """
    context = multiprocessing.get_context("spawn")
    counts = context.Value(Counts)
    processes, started = [], 0

    def start(function: Any, *arguments: Any) -> Any:
        here, there = context.Pipe()
        process = context.Process(target=function, args=(*arguments, there), daemon=True)
        process.start()
        processes.append(process)
        return here

    hosts = [start(function, task, setting, counts) for function in (serve_weights, take_unrolls)]
    addresses = Addresses(*map(_receive, hosts))
    num_processes = min(_MAX_ACTOR_PROCESSES, -(-max(numbers) // setting.actors_per_host))
    orders = [start(run_actors, task, setting, way, addresses) for _ in range(num_processes)]
    measured = []
    for number in numbers:
        for index, order in enumerate(orders):
            order.send(
                [
                    actor
                    for actor in range(started, number)
                    if actor // setting.actors_per_host % num_processes == index
                ]
            )
        for order in orders:
            _receive(order)
        started = number
        time.sleep(setting.settle_seconds)
        pids = [process.pid for process in processes]
        measured.append({"actors": number, **_measure(counts, pids, seconds)})
        for process in processes:
            if not process.is_alive():
                raise RuntimeError(f"A process has died with status {process.exitcode}.")
    return measured


def _receive(connection: Any) -> Any:
    if not connection.poll(_START_SECONDS):
        raise RuntimeError(f"A process has not started within {_START_SECONDS:.0f} s.")
    return connection.recv()


def _measure(counts: Any, pids: Sequence[int], seconds: float) -> dict[str, float]:
    serving, taking, *others = map(psutil.Process, pids)

    def read() -> dict[str, float]:
        with counts.get_lock():
            found = {name: getattr(counts, name) for name, _ in Counts._fields_}
        return {
            **found,
            "time": time.monotonic(),
            "serving": sum(serving.cpu_times()[:2]),
            "taking": sum(taking.cpu_times()[:2]),
            "acting": sum(sum(process.cpu_times()[:2]) for process in others),
            "machine_idle": psutil.cpu_times().idle,
        }

    counts.lag_max = 0
    before = read()
    time.sleep(seconds)
    after = read()
    gone = {name: after[name] - before[name] for name in before}
    elapsed = gone["time"]
    unrolls = max(1, gone["unrolls"])
    return {
        "unrolls_per_second": gone["unrolls"] / elapsed,
        "steps_per_second": gone["steps"] / elapsed,
        "asked_per_second": gone["asked"] / elapsed,
        "sent_per_second": gone["sent"] / elapsed,
        "sent_per_version": gone["sent"] / max(1, gone["steps"]),
        "sent_bytes_per_second": gone["sent_bytes"] / elapsed,
        "serving_cores": gone["serving"] / elapsed,
        "taking_cores": gone["taking"] / elapsed,
        "taking_cpu_us_per_unroll": gone["taking"] / unrolls * 1e6,
        "acting_cores": gone["acting"] / elapsed,
        "idle_cores": gone["machine_idle"] / elapsed,
        "policy_lag_mean": gone["lag_sum"] / unrolls,
        "policy_lag_max": after["lag_max"],
    }
