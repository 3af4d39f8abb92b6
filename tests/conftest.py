"""Imported before any test: the package sets what TensorFlow reads when it is imported."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One process of tests at a time, on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collectstart():
    """A process that only hands tests to others collects none, and need not import it."""
    import acme_impala  # noqa: F401


def pytest_collection_finish():
    """Walking all that was imported would take every full collection a third of a second."""
    gc.collect()
    gc.freeze()
