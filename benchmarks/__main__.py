"""Measures the parts of an agent step, training end to end, and how near that is to the limit.

python -m benchmarks
python -m benchmarks --tasks=breakout --parts=environment,policy
python -m benchmarks --acme --json=measured.json
"""

import datetime
import json
import os
import pathlib
import signal
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
from absl import app, flags

from acme_impala.experiments import launching
from benchmarks import acme_tf, end_to_end, machine, parts, report, transport
from benchmarks.processes import call_in_fresh_process
from benchmarks.tasks import TASKS, Task
from benchmarks.timing import Timing

PARTS = {
    "environment": parts.environment,
    "policy": parts.policy,
    "transport": transport.transport,
    "learner": parts.learner,
    "loss": parts.loss,
}
END_TO_END = "end_to_end"
# After which a measurement has failed.
_PART_SECONDS = 120.0
_ACME_SECONDS = 300.0

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", list(TASKS), "What to measure on.")
flags.DEFINE_list("parts", [*PARTS, END_TO_END], "What to measure.")
flags.DEFINE_enum("launcher", "local_mp", end_to_end.LAUNCHERS, "Of training end to end.")
flags.DEFINE_float("seconds", 30.0, "How long training is measured, after it is warm.", 5.0)
flags.DEFINE_bool("acme", False, "Also measure Acme's own TF IMPALA.")
flags.DEFINE_string("json", None, "A file for everything that was measured.")


def main(_):
    """Measures, shows the table and writes the file; exits with 1 where something fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # And takes along what it has started.
    try:
        tasks = [TASKS[name] for name in _known("tasks", TASKS)]
        names = _known("parts", [*PARTS, END_TO_END])
        if FLAGS.acme and (missing := acme_tf.missing_packages()):
            raise ValueError(f"--acme needs {' and '.join(missing)}: pip install '.[interop]'")
        _measure_all(tasks, names)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))


def _measure_all(tasks: list[Task], names: list[str]):
    described = machine.describe()
    print(machine.in_words(described), flush=True)
    result = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": described,
        "tasks": {},
    }
    for task in tasks:
        print(f"\n{task.name}: {task.describe()}", flush=True)
        measured = report.add_ratios(_measure(task, names), described["cores"])
        print(report.show(measured), flush=True)
        train_flags = [f"--launcher={FLAGS.launcher}", *task.train_flags]
        result["tasks"][task.name] = {"train_flags": train_flags, **measured}
        if FLAGS.json:  # After every task, in case the next one fails.
            pathlib.Path(FLAGS.json).write_text(json.dumps(result, indent=2) + "\n")


def _measure(task: Task, names: list[str]) -> dict[str, Any]:
    measured: dict[str, Any] = {"parts": {}}
    for name in PARTS:
        if name in names and (name != "loss" or task.loss_unroll_length):
            _say(name)
            measured["parts"][name] = call_in_fresh_process(
                PARTS[name],
                task,
                Timing(),
                seconds=_PART_SECONDS,
                environment=launching.MALLOC,  # As in a program's nodes.
            )
    if END_TO_END in names:
        _say(END_TO_END)
        measured["end_to_end"] = end_to_end.end_to_end(task, FLAGS.seconds, FLAGS.launcher)
    if FLAGS.acme:
        _say("Acme's TF IMPALA")
        measured["acme_tf"] = call_in_fresh_process(acme_tf.acme_tf, task, seconds=_ACME_SECONDS)
    return measured


def _say(what: str):
    print(f"... {what}", file=sys.stderr, flush=True)


def _known(flag: str, known: Any) -> list[str]:
    """The values of a flag that is a list, each of which must be known."""
    chosen = FLAGS[flag].value
    if not chosen or not set(chosen) <= set(known):
        raise ValueError(f"--{flag}={','.join(chosen)}: there are {', '.join(known)}.")
    return chosen


if __name__ == "__main__":
    app.run(main)
