"""The learning curve, drawn anew while a run goes on."""

import gc
import importlib
import time

from acme_impala import environments
from acme_impala.experiments import learning_curve
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.processes import POLL_SECONDS
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.watcher import Watcher

# Of the time, at most: an evaluation may be over in less than its picture takes.
_SHARE = 0.05
# What a picture needs: a second of imports, which the end of a run should not wait for.
_MODULES = ("matplotlib.figure", "matplotlib.backends.backend_agg")


class CurveDrawer(Watcher):
    """Draws the learning curve after evaluations, in a thread, and by the end of a run.

    In the process that launches, for it has time: where actors are, a picture takes Python's lock
    from them. Evaluations that follow each other quickly share a picture.
    """

    def __init__(self, directory: RunDirectory, config: ExperimentConfig):
        super().__init__("curve_drawer")
        self._directory = directory
        self._title = getattr(config.environment_factory, "name", "")
        self._tasks = environments.task_names(config.environment_factory)
        self._drawn: int | None = None  # What `_logged` gave when the picture was begun.

    def _watch(self):
        for module in _MODULES:
            importlib.import_module(module)
        pause = POLL_SECONDS
        while not self._stop.wait(pause):
            pause = POLL_SECONDS
            if self._logged() not in (0, self._drawn):
                begin = time.monotonic()
                self._draw()
                pause = max(pause, (time.monotonic() - begin) / _SHARE)

    def _conclude(self):
        if self._drawn != self._logged():
            self._draw()

    def _draw(self):
        self._drawn = self._logged()
        learning_curve.plot(self._directory, self._title, self._tasks)
        # A picture's parts refer to each other, and Python looks for such garbage the more seldom
        # the larger a process is: beside TensorFlow after ten pictures, which are 30 MiB.
        gc.collect()

    def _logged(self) -> int:
        """When the last evaluation was logged, in nanoseconds; 0: there was none."""
        try:
            log = (self._directory.logs / "evaluator.csv").stat()
        except FileNotFoundError:
            return 0
        return log.st_mtime_ns if log.st_size else 0
