"""Measures what the learner's host spends on weights and unrolls as the number of actors grows.

python -m benchmarks.scale
python -m benchmarks.scale --actors=10,100 --seconds=5 --json=scale.json
"""

import datetime
import json
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
from absl import app, flags

from acme_impala.checks import require_writable
from benchmarks import machine
from benchmarks.processes import call_in_fresh_process
from benchmarks.scale import report
from benchmarks.scale.setting import WAYS, Setting
from benchmarks.scale.simulation import simulate
from benchmarks.tasks import TASKS

# For the processes to start in, and for every number of actors besides what it is measured for.
_START_SECONDS, _GROW_SECONDS = 120.0, 60.0

FLAGS = flags.FLAGS
flags.DEFINE_list("actors", ["10", "50", "100", "250", "500", "1000"], "Numbers, ascending.")
flags.DEFINE_float("seconds", 15.0, "For which each number of actors is measured.", 1.0)
flags.DEFINE_string("json", None, "A file for everything that was measured.")


def main(_):
    """Measures, shows the tables and writes the file; exits with 1 where something fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # And takes along what it has started.
    try:
        numbers = _numbers()
        if FLAGS.json:
            require_writable("--json", pathlib.Path(FLAGS.json))
        _measure_all(numbers)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))


def _measure_all(numbers: list[int]):
    described = machine.describe()
    task, setting = TASKS["breakout"], Setting()
    print(machine.in_words(described), flush=True)
    print(f"{task.describe().rsplit(',', 1)[0]}; {setting.describe()}", flush=True)
    result = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": described,
        "ways": {},
    }
    limit = _START_SECONDS + len(numbers) * (FLAGS.seconds + _GROW_SECONDS)
    for way in WAYS:
        measured = call_in_fresh_process(
            simulate, task, setting, way, numbers, FLAGS.seconds, seconds=limit
        )
        print(f"\n{way.name}\n{report.show(measured)}", flush=True)
        result["ways"][way.name] = measured
        if FLAGS.json:  # After every way, in case the next one fails.
            pathlib.Path(FLAGS.json).write_text(json.dumps(result, indent=2) + "\n")


def _numbers() -> list[int]:
    given = FLAGS.actors
    numbers = [int(one) for one in given if one.isdecimal()]
    if len(numbers) < len(given) or not numbers or numbers != sorted({0, *numbers})[1:]:
        raise ValueError(f"--actors={','.join(given)}: give ascending numbers of at least 1.")
    return numbers


if __name__ == "__main__":
    app.run(main)
