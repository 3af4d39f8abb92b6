"""Compares the off-policy corrections (section 5.2.2): the paper's table 2 and figure E.1.

    python launch/corrections.py --workdir=runs/corrections

Table 2: every correction, with and without replay. Figure E.1: every correction with its actors
held behind the learner. Each run is one of launch/train.py in one process (--launcher=in_process),
where nothing but the settings decides how far actors are behind; each core has one at a time. The
same command with the same workdir goes on where it was stopped.

The task is Catch: a core learns it in half a minute, so there is time for every setting with
several seeds; its best return, 1, is known; and the ball's fall puts nine steps between an action
and its reward, which is what corrections are about.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # noqa: F401  Before TensorFlow: it turns on the kernels that it leaves off.

# ruff: isort: split
import numpy as np
import tqdm
from absl import app, flags

from acme_impala import environments
from acme_impala.config import CORRECTIONS
from acme_impala.experiments import (
    checkpointing,
    logs,
    presets,
    private_network,
    run_directory,
)

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/corrections", "Holds a run directory for each run.")
flags.DEFINE_string("output", None, "Where table and plots go; the default is the workdir.")
flags.DEFINE_string("env", "catch", "An environment of launch/train.py.")
flags.DEFINE_integer("num_frames", 20_000, "Environment frames that each run acts.")
flags.DEFINE_integer("seeds", 5, "Runs of every setting.")
flags.DEFINE_list("corrections", list(CORRECTIONS), "Which to compare.")
flags.DEFINE_list("entropy_costs", ["0.003", "0.03"], "Tried for each; table 2 shows the best.")
flags.DEFINE_list("lags", ["0", "20", "100"], "Learner steps that actors are held behind.")
flags.DEFINE_float("replay_fraction", 0.5, "Of a batch, with replay.")
flags.DEFINE_integer("replay_capacity", 10_000, "Unrolls in the replay table.")
flags.DEFINE_float("good_return", 0.8, "Table 2 also says after how many frames this is reached.")

flags.DEFINE_bool(
    "private", False, "In a network namespace of its own, which nothing outside can connect to."
)

_EVALUATIONS = 20
_EPISODES = 50
# A run's return is the mean of its last evaluations: one alone depends on chance.
_LAST_EVALUATIONS = 4
_STOPPED = "Stopped; the same command goes on from here."


class Cell(NamedTuple):
    """A setting, which several seeds are run of."""

    correction: str
    replay: bool
    lag: int
    entropy_cost: float

    def name(self, seed: int) -> str:
        """Names the run directory."""
        replay = "-replay" if self.replay else ""
        return f"{self.correction}{replay}-lag{self.lag}-entropy{self.entropy_cost:g}-seed{seed}"


class Result(NamedTuple):
    """What became of a run."""

    final_return: float
    frames: float  # Environment frames acted until the return was good; infinite: never.


class Study(NamedTuple):
    """What all runs have in common."""

    workdir: pathlib.Path
    env: str
    num_frames: int
    replay_fraction: float
    replay_capacity: int

    def claim(self):
        """Takes up the workdir, whose runs' names say only how they differ from one another.

        Raises:
            ValueError: it holds the runs of another study.
        """
        path = self.workdir / "study.json"
        mine = {name: value for name, value in self._asdict().items() if name != "workdir"}
        if path.exists() and (theirs := json.loads(path.read_text())) != mine:
            differences = [f"--{name}={theirs.get(name)}" for name in mine]
            raise ValueError(
                f"{self.workdir} holds runs of {' '.join(differences)}. Give these, or another "
                "--workdir."
            )
        self.workdir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(mine))

    def check(self, cells: Sequence[Cell]):
        """Finds what launch/train.py would refuse.

        Raises:
            ValueError: it is not one environment, or a setting is impossible.
            ImportError: packages are missing that the environment needs.
        """
        environment_factory = environments.make_factory(self.env)
        if environments.is_suite(self.env):
            raise ValueError(f"--env={self.env} is of several tasks, and each run plays one.")
        environment_factory(0).close()
        agent = presets.PRESETS[presets.preset_for(self.env)](self.num_frames).agent
        for cell in cells:
            dataclasses.replace(
                agent,
                correction=cell.correction,
                actor_lag=cell.lag,
                entropy_cost=cell.entropy_cost,
                replay=dataclasses.replace(
                    agent.replay,
                    fraction=self.replay_fraction if cell.replay else 0.0,
                    capacity=self.replay_capacity,
                ),
            )

    def directory(self, cell: Cell, seed: int) -> run_directory.RunDirectory:
        """The run directory of one run."""
        return run_directory.RunDirectory(str(self.workdir / cell.name(seed)))

    def command(self, cell: Cell, seed: int) -> list[str]:
        """The command of one run."""
        flags_ = {
            "env": self.env,
            "launcher": "in_process",
            "workdir": self.directory(cell, seed).root,
            "num_frames": self.num_frames,
            "seed": seed,
            "correction": cell.correction,
            "actor_lag": cell.lag,
            "entropy_cost": cell.entropy_cost,
            "evaluate_every": self.num_frames // _EVALUATIONS,
            "evaluation_episodes": _EPISODES,
            "replay_fraction": self.replay_fraction if cell.replay else 0.0,
            "replay_capacity": self.replay_capacity,
        }
        train = pathlib.Path(__file__).with_name("train.py")
        return [
            sys.executable,
            str(train),
            *(f"--{name}={value}" for name, value in flags_.items()),
        ]

    def has_ended(self, cell: Cell, seed: int) -> bool:
        """Whether a run is through."""
        found = checkpointing.newest_whole(self.directory(cell, seed).checkpoints)
        return found is not None and found.counts["learner_frames"] >= self.num_frames


def cells_of_table(corrections: Sequence[str], entropy_costs: Sequence[float]) -> list[Cell]:
    """Table 2: with and without replay."""
    return [
        Cell(correction, replay, 0, cost)
        for replay, correction, cost in itertools.product((False, True), corrections, entropy_costs)
    ]


def cells_of_figure(
    corrections: Sequence[str], lags: Sequence[int], entropy_cost: float
) -> list[Cell]:
    """Figure E.1: actors held behind, without replay."""
    return [
        Cell(correction, False, lag, entropy_cost)
        for lag, correction in itertools.product(lags, corrections)
    ]


def read(study: Study, cell: Cell, seed: int, good_return: float) -> Result:
    """Reads what became of a run that has ended."""
    rows = logs.read_rows(study.directory(cell, seed).logs / "evaluator.csv")
    returns = [float(row["episode_return"]) for row in rows]
    good = [float(row[logs.FRAMES]) for row in rows if float(row["episode_return"]) >= good_return]
    return Result(float(np.mean(returns[-_LAST_EVALUATIONS:])), min(good, default=np.inf))


def confidence(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean, and the 95% interval of the mean by the bootstrap."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


class RunFailedError(RuntimeError):
    """A run failed; the message is what it printed."""


def run_all(study: Study, runs: Sequence[tuple[Cell, int]]):
    """Runs what has not ended yet, one run on each core, with a progress bar.

    Raises:
        RunFailedError: a run failed; those that are going on are ended.
    """
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in os.sched_getaffinity(0):
        cores.put(core)
    going_on: set[subprocess.Popen] = set()
    stopping = threading.Event()
    starting = threading.Lock()  # So that no run is started that nobody would end.

    def run(cell: Cell, seed: int):
        if study.has_ended(cell, seed):
            return
        with starting:
            if stopping.is_set():
                return
            core = cores.get()
            process = subprocess.Popen(
                study.command(cell, seed),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process.
            )
            going_on.add(process)
        os.sched_setaffinity(process.pid, {core})  # It counts its cores later.
        output, _ = process.communicate()
        going_on.discard(process)
        cores.put(core)
        if process.returncode and not stopping.is_set():
            stopping.set()
            raise RunFailedError(f"{' '.join(process.args)}\n\n{output}")

    with futures.ThreadPoolExecutor(cores.qsize()) as pool:
        try:
            waiting = [pool.submit(run, cell, seed) for cell, seed in runs]
            for ended in tqdm.tqdm(futures.as_completed(waiting), total=len(runs), unit="run"):
                ended.result()
        finally:
            with starting:
                stopping.set()
            for process in list(going_on):
                process.terminate()


def write_table(
    path: pathlib.Path, results: dict[Cell, list[Result]], corrections: Sequence[str], good: float
):
    """Writes table 2: of every correction the better setting, by its mean final return."""
    lines = [
        "| correction | replay | final return, mean [95% interval] | entropy cost | "
        f"frames to {good:g}, median | seeds that got there |",
        "|---|---|---|---|---|---|",
    ]
    for replay, correction in itertools.product((False, True), corrections):
        best = best_cell(results, correction, replay)
        mean, low, high = confidence([result.final_return for result in results[best]])
        frames = [result.frames for result in results[best]]
        median = np.median(frames)
        lines.append(
            f"| {correction} | {'yes' if replay else 'no'} | {mean:.3f} [{low:.3f}, {high:.3f}] | "
            f"{best.entropy_cost:g} | {f'{median:.0f}' if np.isfinite(median) else 'never'} | "
            f"{np.isfinite(frames).sum()} of {len(frames)} |"
        )
    path.write_text("\n".join(lines) + "\n")


def best_cell(results: dict[Cell, list[Result]], correction: str, replay: bool) -> Cell:
    """Finds the setting with the highest mean final return."""
    cells = [c for c in results if (c.correction, c.replay, c.lag) == (correction, replay, 0)]
    return max(cells, key=lambda c: np.mean([result.final_return for result in results[c]]))


def plot_table(
    path: pathlib.Path, study: Study, best: dict[tuple[str, bool], Cell], seeds: Sequence[int]
):
    """Draws learning curves of table 2's settings: means with their 95% intervals."""
    from matplotlib import figure

    picture = figure.Figure(figsize=(10, 4.5), layout="constrained")
    for place, replay in enumerate((False, True)):
        axes = picture.add_subplot(1, 2, place + 1)
        for (correction, has_replay), cell in best.items():
            if has_replay == replay:
                _plot_curve(axes, study, cell, seeds, correction)
        title = f"replay of {study.replay_fraction:g}" if replay else "without replay"
        axes.set(xlabel="environment frames", ylabel="return", title=f"{study.env}, {title}")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    picture.savefig(path, dpi=120)


def _plot_curve(axes, study: Study, cell: Cell, seeds: Sequence[int], label: str):
    curves = []
    for seed in seeds:
        rows = logs.read_rows(study.directory(cell, seed).logs / "evaluator.csv")
        frames = [float(row[logs.FRAMES]) for row in rows]
        curves.append([float(row["episode_return"]) for row in rows])
    length = min(map(len, curves))
    points = [confidence([curve[i] for curve in curves]) for i in range(length)]
    mean, low, high = zip(*points, strict=True)
    (line,) = axes.plot(frames[:length], mean, label=label)
    axes.fill_between(frames[:length], low, high, alpha=0.15, color=line.get_color())


def plot_lags(
    path: pathlib.Path,
    study: Study,
    results: dict[Cell, list[Result]],
    corrections: Sequence[str],
    lags: Sequence[int],
    entropy_cost: float,
):
    """Draws figure E.1: final return against how far actors are held behind."""
    from matplotlib import figure

    picture = figure.Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.add_subplot()
    for number, correction in enumerate(corrections):
        points = [
            confidence(
                [r.final_return for r in results[Cell(correction, False, lag, entropy_cost)]]
            )
            for lag in lags
        ]
        mean, low, high = (np.array(values) for values in zip(*points, strict=True))
        places = np.arange(len(lags)) + 0.06 * (number - len(corrections) / 2)
        axes.errorbar(
            places, mean, yerr=[mean - low, high - mean], marker="o", capsize=3, label=correction
        )
    axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
    axes.set(
        xlabel="learner steps that actors are held behind",
        ylabel="final return",
        title=f"{study.env}: policy lag",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    picture.savefig(path, dpi=120)


def parse_flags() -> tuple[list[str], list[float], list[int]]:
    """Reads corrections, entropy costs and lags.

    Raises:
        ValueError: one is not understood.
    """
    unknown = set(FLAGS.corrections) - set(CORRECTIONS)
    if unknown or not FLAGS.corrections:
        raise ValueError(
            f"--corrections={','.join(FLAGS.corrections)}: there are {', '.join(CORRECTIONS)}."
        )
    try:
        costs = [float(text) for text in FLAGS.entropy_costs]
        lags = [int(text) for text in FLAGS.lags]
    except ValueError:
        costs = lags = []
    if not costs or not lags:
        raise ValueError("--entropy_costs and --lags are numbers, as in 0.003,0.03 and 0,20,100.")
    if FLAGS.seeds < 1:
        raise ValueError(f"--seeds={FLAGS.seeds} must be at least 1.")
    if FLAGS.num_frames < _EVALUATIONS:
        raise ValueError(
            f"--num_frames={FLAGS.num_frames} must be at least {_EVALUATIONS}: a run is evaluated "
            "so often."
        )
    if not 0 < FLAGS.replay_fraction < 1:
        raise ValueError(f"--replay_fraction={FLAGS.replay_fraction} must be between 0 and 1.")
    return list(FLAGS.corrections), costs, lags


def main(_):
    """Runs both studies; exits with 1 and a message where something is wrong."""
    if FLAGS.private:
        private_network.enter()
    study = Study(
        pathlib.Path(FLAGS.workdir),
        FLAGS.env,
        FLAGS.num_frames,
        FLAGS.replay_fraction,
        FLAGS.replay_capacity,
    )
    seeds = range(FLAGS.seeds)
    try:
        corrections, costs, lags = parse_flags()
        cells = cells_of_table(corrections, costs) + cells_of_figure(corrections, lags, costs[0])
        cells = list(dict.fromkeys(cells))  # A lag of 0 is in both.
        # Seed by seed: what is stopped half-way has something of everything.
        runs = [(cell, seed) for seed in seeds for cell in cells]
        study.check(cells)
        output = pathlib.Path(FLAGS.output or FLAGS.workdir)
        output.mkdir(parents=True, exist_ok=True)
        study.claim()
        # The runs, which are in sessions of their own, are then ended too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_STOPPED))
        run_all(study, runs)
    except (OSError, ValueError, ImportError, RunFailedError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(_STOPPED)
    results = {
        cell: [read(study, cell, seed, FLAGS.good_return) for seed in seeds] for cell in cells
    }
    write_table(output / "corrections.md", results, corrections, FLAGS.good_return)
    best = {
        (correction, replay): best_cell(results, correction, replay)
        for replay, correction in itertools.product((False, True), corrections)
    }
    plot_table(output / "corrections.png", study, best, seeds)
    plot_lags(output / "policy_lag.png", study, results, corrections, lags, costs[0])
    print((output / "corrections.md").read_text())
    print(f"Table and plots: {output}/corrections.md, corrections.png, policy_lag.png")


if __name__ == "__main__":
    app.run(main)
