"""Measures the parts of an agent step, training end to end, and how near that is to the limit.

All of a task is in memory at once and runs in turn, so that a machine that becomes slower or faster
meanwhile, as shared ones do, does so for all.

python -m benchmarks
python -m benchmarks --tasks=breakout --parts=environment,policy
python -m benchmarks --acme --json=measured.json
"""

import contextlib
import datetime
import json
import os
import pathlib
import signal
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
from absl import app, flags

from acme_impala.checks import require_writable
from acme_impala.experiments import launching
from benchmarks import acme_tf, end_to_end, machine, parts, report, transport
from benchmarks.processes import FreshProcess
from benchmarks.tasks import TASKS, Task

PARTS = {
    "environment": parts.environment,
    "policy": parts.policy,
    "transport": transport.transport,
    "learner": parts.learner,
    "loss": parts.loss,
}
END_TO_END, ACME_TF = "end_to_end", "acme_tf"
_PART_SECONDS, _OTHER_SECONDS = 2.0, 5.0  # Of a turn.
_MOST_SECONDS = 300.0  # After which a measurement has failed.

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", list(TASKS), "What to measure on.")
flags.DEFINE_list("parts", [*PARTS, END_TO_END], "What to measure.")
flags.DEFINE_enum("launcher", "local_mp", end_to_end.LAUNCHERS, "Of training end to end.")
flags.DEFINE_float(
    "seconds",
    30.0,
    "How long training is measured, after it is warm, in turns of some "
    f"{_OTHER_SECONDS:.0f} s, of which each part, and Acme's agent, has as many.",
    _OTHER_SECONDS,
    3600.0,
)
flags.DEFINE_bool("acme", False, "Also measure Acme's own TF IMPALA.")
flags.DEFINE_string("json", None, "A file for everything that was measured.")


def main(_):
    """Measures, shows the table and writes the file; exits with 1 where something fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # And takes along what it has started.
    try:
        tasks = [TASKS[name] for name in _known("tasks", TASKS)]
        names = _known("parts", [*PARTS, END_TO_END])
        if FLAGS.json:
            require_writable("--json", pathlib.Path(FLAGS.json))
        if FLAGS.acme and (missing := acme_tf.missing_packages()):
            raise ValueError(f"--acme needs {' and '.join(missing)}: pip install '.[interop]'")
        for task in tasks:
            if set(names) == {"loss"} and not task.loss_unroll_length and not FLAGS.acme:
                raise ValueError(f"--parts=loss: it is not measured on {task.name}.")
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
        measured = report.summarize(_measure(task, names), described["cores"])
        print(report.show(measured), flush=True)
        train_flags = [f"--launcher={FLAGS.launcher}", *task.train_flags]
        result["tasks"][task.name] = {"train_flags": train_flags, **measured}
        if FLAGS.json:  # After every task, in case the next one fails.
            pathlib.Path(FLAGS.json).write_text(json.dumps(result, indent=2) + "\n")


def _measure(task: Task, names: list[str]) -> list[dict[str, Any]]:
    """Measures all in turn, as often as there are rounds."""
    num_rounds = round(FLAGS.seconds / _OTHER_SECONDS)
    seconds = FLAGS.seconds / num_rounds
    with contextlib.ExitStack() as stack:
        parts_turns, other_turns = {}, {}
        for name, part in PARTS.items():
            if name in names and (name != "loss" or task.loss_unroll_length):
                _say(name)
                process = FreshProcess(
                    name,
                    part,
                    task,
                    seconds=_MOST_SECONDS,
                    environment=launching.MALLOC,  # As in a program's nodes.
                )
                parts_turns[name] = stack.enter_context(process)
        if FLAGS.acme:
            _say("Acme's TF IMPALA")
            process = FreshProcess(ACME_TF, acme_tf.acme_tf, task, seconds=_MOST_SECONDS)
            other_turns[ACME_TF] = stack.enter_context(process)
        if END_TO_END in names:
            _say(END_TO_END)
            training = end_to_end.end_to_end(task, FLAGS.launcher)
            other_turns[END_TO_END] = stack.enter_context(training)
        rounds = []
        for index in range(num_rounds):
            _say(f"round {index + 1} of {num_rounds}")
            measured = {name: turn(_PART_SECONDS) for name, turn in parts_turns.items()}
            others = {name: turn(seconds) for name, turn in other_turns.items()}
            rounds.append({"parts": measured, **others})
    return rounds


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
