"""Imported before any test: the package sets what TensorFlow reads when it is imported."""

import gc
import os

import hypothesis

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One process of tests at a time, on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes is a matter of what else the machine does.
hypothesis.settings.register_profile(
    "busy_machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy_machine")


def pytest_collectstart():
    """A process that only hands tests to others collects none, and need not import it."""
    import acme_impala  # noqa: F401


def pytest_collection_finish():
    """Walking all that was imported would take every full collection a third of a second."""
    gc.collect()
    gc.freeze()
