"""Imported before any test: the package sets what TensorFlow reads when it is imported."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One process of tests at a time, on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import acme_impala  # noqa: F401
