"""The machine that was measured on, without which no figure means anything."""

import importlib.metadata
import os
import pathlib
import platform
import re

import psutil

from acme_impala.experiments.cores import num_cores

PACKAGES = ("tensorflow", "dm-reverb", "dm-launchpad", "dm-acme", "ale-py", "gymnasium", "numpy")


def describe() -> dict[str, str | int | float | bool]:
    """Returns processor, memory and what runs on them."""
    return {
        "cpu": _cpu_model(),
        "cores": num_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        # acme_impala has set it, unless the user had; 2.8 leaves it off.
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1",
    }


def in_words(machine: dict[str, str | int | float | bool]) -> str:
    """One line of what `describe` gives."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"Python {machine['python']}, TensorFlow {machine['tensorflow']}, "
        f"oneDNN {'on' if machine['onednn'] else 'off'}"
    )


def _cpu_model() -> str:
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()
